from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from workloads.cli.check import check
from workloads.cli.checking import run_plain
from workloads.cli.main import main

GOOD = "model_name_or_path: organisation/model\nstage: sft\ndo_train: true\ndataset: mine\ntemplate: llama3\n"


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "project"
    (folder / "data").mkdir(parents=True)
    monkeypatch.chdir(folder)
    rows = [{"instruction": "a", "input": "", "output": "b"}]
    Path("data/mine.json").write_text(json.dumps(rows), encoding="utf-8")
    Path("data/dataset_info.json").write_text('{"mine": {"file_name": "mine.json"}}', encoding="utf-8")
    Path("good.yaml").write_text(GOOD, encoding="utf-8")
    Path("bad.yaml").write_text(GOOD + "lora_rnak: 8\nlora_rank: abc\n", encoding="utf-8")
    return folder


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main(["check", *arguments])
    return int(stop.value.code or 0)


def test_a_good_config(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("good.yaml") == 0
    assert capsys.readouterr().out == "good.yaml: no errors\n"


def test_every_mistake_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("bad.yaml") == 64
    told = capsys.readouterr().err
    assert "bad.yaml:6:lora_rnak" in told
    assert "did you mean 'lora_rank'?" in told
    assert "bad.yaml:7:lora_rank" in told
    assert "Traceback" not in told


def test_overrides_go_over_the_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("good.yaml", "learning_rate=1e-4", "lora_rank=16") == 0
    assert run("good.yaml", "stage=ppo") == 64
    assert "command line:stage" in capsys.readouterr().err


def test_a_file_may_have_an_equals_sign_in_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    Path("rank=8.yaml").write_text(GOOD, encoding="utf-8")
    assert run("rank=8.yaml") == 0


def test_several_files_are_checked_though_one_cannot_be_read(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("none.yaml", "bad.yaml", "good.yaml") == 64
    told = capsys.readouterr().err
    assert "none.yaml" in told
    assert "lora_rnak" in told


def test_json_with_errors(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("bad.yaml", "--json") == 64
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is False
    assert [(each["key"], each["line"]) for each in report["problems"]] == [("lora_rnak", 6), ("lora_rank", 7)]


def test_json_without_errors(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--json", "good.yaml", "overwrite_output_dir=true") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is True
    assert [each["code"] for each in report["problems"]] == ["warn-overwrite"]


def test_warnings_do_not_fail(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("good.yaml", "overwrite_output_dir=true") == 0
    told = capsys.readouterr().out
    assert "command line:overwrite_output_dir" in told
    assert told.endswith("good.yaml: no errors (1 warning)\n")


def test_data_is_read_unless_told_not_to(capsys: pytest.CaptureFixture[str]) -> None:
    Path("data/mine.json").write_text("[5]", encoding="utf-8")
    assert run("good.yaml") == 64
    assert "row 1" in capsys.readouterr().err
    assert run("good.yaml", "--no-data") == 0


def test_two_configs_that_share_an_output_dir(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.yaml", "b.yaml"):
        Path(name).write_text(GOOD + "output_dir: out\n", encoding="utf-8")
    assert run("a.yaml", "b.yaml") == 0
    assert "b.yaml:6:output_dir: a.yaml writes to the same folder" in capsys.readouterr().out


def test_a_run_spec_is_checked_with_its_training_config(capsys: pytest.CaptureFixture[str]) -> None:
    Path("run.yaml").write_text("name: a\ntraining: bad.yaml\n", encoding="utf-8")
    assert run("run.yaml") == 64
    assert "bad.yaml:6:lora_rnak" in capsys.readouterr().err
    Path("run.yaml").write_text("name: a\ntraining: good.yaml\n", encoding="utf-8")
    assert run("run.yaml") == 0


@pytest.mark.parametrize("arguments", [(), ("a=1",), ("--json",), ("good.yaml", "--wrong")])
def test_a_command_line_that_names_no_config(arguments: tuple[str, ...]) -> None:
    assert run(*arguments) == 64


@pytest.mark.parametrize("arguments", [[], ["--help"], ["--json"], ["good.yaml", "--help"], ["good.yaml", "--wrong"]])
def test_what_the_short_way_leaves_to_the_parser(arguments: list[str]) -> None:
    assert run_plain(arguments) is False


def test_both_ways_report_alike(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_plain(["good.yaml", "--no-data", "overwrite_output_dir=true"]) is True
    short = capsys.readouterr().out
    check(["good.yaml", "overwrite_output_dir=true"], data=False)
    assert capsys.readouterr().out == short


def test_a_check_imports_nothing_heavy() -> None:
    code = (
        "import sys; from workloads.cli.checking import run_plain; run_plain(['good.yaml']);"
        "print([name for name in ('torch', 'transformers', 'llamafactory', 'datasets', 'pydantic', 'httpx', 'rich',"
        " 'typer', 'jsonschema') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["good.yaml: no errors", "[]"]
