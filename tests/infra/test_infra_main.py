"""The app's settings are read before anything slow is imported, and a wrong one is an exit code and a list."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from infra import main as app

ROOT = Path(__file__).parents[2]


def test_check_accepts_the_committed_environments(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["--check"]) == 0
    assert capsys.readouterr().out == "correct: dev, prod, staging\n"


def test_a_wrong_environment_exits_64_with_every_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (ROOT / "configs" / "environments" / "dev.yaml").read_text(encoding="utf-8")
    (tmp_path / "dev.yaml").write_text(text.replace("gpus: 2}", "gpus: 7}") + "storage: {run_days: 1}\n")
    monkeypatch.setenv(app.FOLDER, str(tmp_path))
    for arguments in ([], ["--check"]):
        assert app.main(arguments) == 64
        told = capsys.readouterr().err
        assert f"{tmp_path}/dev.yaml:" in told
        assert "pools.l4x2.gpus" in told
        assert "storage.run_days" in told


def test_an_unknown_argument_exits_64(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["--chek"]) == 64
    assert "usage" in capsys.readouterr().err


def test_a_wrong_setting_is_told_before_the_bindings_are_imported(tmp_path: Path) -> None:
    shutil.copy(ROOT / "configs" / "environments" / "dev.yaml", tmp_path / "other.yaml")
    program = (
        "import sys; from infra import main; code = main.main([]); "
        "print(code, [name for name in sys.modules if name.split('.')[0] in ('cdktf', 'jsii', 'constructs')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={app.FOLDER: str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "64 []\n"
    assert "dev" in done.stderr
