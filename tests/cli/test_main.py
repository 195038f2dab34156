import importlib
import inspect
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from workloads.cli.main import VERBS, main

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "transformers", "llamafactory", "datasets", "pydantic", "httpx", "fastapi")


def _run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).parent / "tunery"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})


def _code(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    code = stop.value.code
    assert isinstance(code, int)
    return code


@pytest.mark.parametrize("verb", VERBS)
def test_the_line_in_the_list_of_verbs_is_the_one_of_its_function(verb: str) -> None:
    module, function, line = VERBS[verb]
    found = getattr(importlib.import_module(f"workloads.cli.{module}"), function)
    documentation = inspect.getdoc(found)
    assert documentation is not None
    assert documentation.splitlines()[0] == line
    assert "Example" in documentation


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_has_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert _code(verb, "--help") == 0
    assert "Example" in capsys.readouterr().out


def test_help_lists_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert _code("--help") == 0
    shown = capsys.readouterr().out
    assert all(verb in shown for verb in VERBS)
    assert "..." not in shown.partition("Commands:")[2]


@pytest.mark.parametrize("arguments", [["chekc"], ["--bogus"], ["run", "--bogus"], ["run"], ["promote", "x"]])
def test_a_wrong_command_line_ends_with_64_and_no_traceback(
    arguments: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    assert _code(*arguments) == 64
    assert "Traceback" not in capfd.readouterr().err


def test_a_misspelt_verb_gets_a_suggestion(capfd: pytest.CaptureFixture[str]) -> None:
    _code("chekc")
    assert "Did you mean 'check'?" in capfd.readouterr().err


def test_errors_are_json_where_json_was_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert _code("run", "--resume", "nothing", "--json") == 64
    answer = json.loads(capsys.readouterr().out)
    assert answer["ok"] is False
    assert "There is no run 'nothing'" in answer["problems"][0]["message"]


def test_version_and_completion() -> None:
    assert _run("--version").stdout.strip()
    shown = _run("", _TUNERY_COMPLETE="complete_bash", COMP_WORDS="tunery ch", COMP_CWORD="1")
    assert set(shown.stdout.split()) == {"check", "chat"}


@pytest.mark.parametrize("arguments", [["--help"], ["check", "configs/training/tiny-sft-lora.yaml"]])
def test_quick_verbs_import_nothing_heavy(arguments: list[str]) -> None:
    program = (
        "import sys\nfrom workloads.cli.main import main\n"
        f"try:\n    main({arguments!r})\nexcept SystemExit:\n    pass\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stderr.strip() == "[]"


def test_no_color_is_obeyed(tmp_path: Path) -> None:
    done = _run("check", str(tmp_path / "absent.yaml"), NO_COLOR="1", FORCE_COLOR="")
    assert done.returncode == 64
    assert "\x1b[" not in done.stderr + done.stdout
