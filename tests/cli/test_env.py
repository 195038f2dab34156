from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from workloads.cli.main import main

BUCKET = {
    "address": "google_storage_bucket.bucket-runs",
    "mode": "managed",
    "type": "google_storage_bucket",
    "name": "bucket-runs",
}


@pytest.fixture(autouse=True)
def _in_the_repository(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repository)


def _code(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main(["env", *arguments])
    code = stop.value.code
    assert isinstance(code, int)
    return code


def _shown(folder: Path, value: Any) -> str:
    path = folder / "shown.json"
    path.write_text(json.dumps(value))
    return str(path)


def test_the_environments_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert _code("list") == 0
    assert "example-llm-staging" in capsys.readouterr().out
    assert _code("list", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [each["environment"] for each in found] == ["dev", "prod", "staging"]


def test_an_environment_fits_on_one_screen_with_what_it_costs(capsys: pytest.CaptureFixture[str]) -> None:
    assert _code("show", "prod") == 0
    screen = capsys.readouterr().out
    assert len(screen.splitlines()) <= 60
    for word in ("g2-standard-24", "reservation llm-l4x2", "team-research", "artifactory-token", "gs://", "all of it"):
        assert word in screen
    assert "~" in screen  # flex-start's price is a guess, and says so
    assert "2025-03-06" in screen


def test_what_an_environment_is_can_be_read_by_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert _code("show", "dev", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["contract"]["cluster"] == "tunery-dev"
    assert found["costs"]["node_hour"]["l4x1"]["spot"]["expected"] > 0


def test_an_unknown_environment_is_wrong_input_with_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    assert _code("show", "prd") == 64
    assert "did you mean 'prod'?" in capsys.readouterr().err


def test_differences_are_shown_by_what_they_are_about(capsys: pytest.CaptureFixture[str]) -> None:
    assert _code("diff", "dev", "prod") == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["system", "min", "1", "3"] in lines
    assert any(line[:3] == ["egress", "yes", "no"] for line in lines)
    assert any(line[:4] == ["team", "support", "absent", "namespace"] for line in lines)
    assert _code("diff", "dev", "dev") == 0
    assert "nothing but their names" in capsys.readouterr().out
    assert _code("diff", "dev", "prod", "--json") == 0
    assert {"area", "key", "first", "second", "only_in"} == set(json.loads(capsys.readouterr().out)[0])


def test_losses_are_listed_from_a_state(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    resource = BUCKET | {"values": {"name": "example-llm-dev-dev-runs", "force_destroy": False}}
    state = _shown(tmp_path, {"format_version": "1.0", "values": {"root_module": {"resources": [resource]}}})
    assert _code("destroy-check", "dev", "--state", state) == 0
    shown = capsys.readouterr().out
    assert "would lose, for good" in shown
    assert "example-llm-dev-terraform" in shown
    assert _code("destroy-check", "dev", "--state", state, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [loss["name"] for loss in found["loses"]] == ["example-llm-dev-dev-runs"]


def test_a_plan_that_loses_data_is_refused_and_one_that_does_not_passes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change = {"actions": ["delete", "create"], "before": {}, "replace_paths": [["location"]]}
    plan = {"format_version": "1.2", "resource_changes": [BUCKET | {"change": change}]}
    assert _code("destroy-check", "dev", "--plan", _shown(tmp_path, plan)) == 64
    said = capsys.readouterr().err
    assert "google_storage_bucket.bucket-runs: It would be replaced because location changes" in said
    assert _code("destroy-check", "dev", "--plan", _shown(tmp_path, plan), "--json") == 64
    assert json.loads(capsys.readouterr().out)["problems"][0]["code"] == "protected-resource"
    plan["resource_changes"] = []
    assert _code("destroy-check", "dev", "--plan", _shown(tmp_path, plan)) == 0
    assert "loses no data" in capsys.readouterr().out


def test_a_state_and_a_plan_at_once_are_refused(tmp_path: Path) -> None:
    assert _code("destroy-check", "dev", "--plan", str(tmp_path), "--state", str(tmp_path)) == 64


def test_a_stack_that_is_not_here_is_unavailable_and_not_wrong(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TUNERY_PLATFORM", str(repository / "configs" / "platform"))
    monkeypatch.setenv("TUNERY_PRICES", str(repository / "configs" / "prices.json"))
    monkeypatch.chdir(tmp_path)
    assert _code("destroy-check", "dev") == 69
    assert "fix:" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["list"], ["show"], ["diff"], ["destroy-check"]])
def test_each_verb_of_an_environment_has_help_with_an_example(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert _code(*words, "--help") == 0
    assert f"Example: tunery env {words[0]}" in capsys.readouterr().out
