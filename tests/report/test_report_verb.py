"""``tunery report``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from workloads.cli.main import main
from workloads.errors import ExitCode
from workloads.runtime import ENV_RUNS


@pytest.mark.parametrize("by", ["directory", "id", "prefix"])
def test_it_finds_the_run_writes_the_report_and_prints_its_path(
    run: Any, tmp_path: Path, by: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = type(run)(tmp_path / "demo-3f2a91c07b")
    root = found.whole()
    monkeypatch.setenv(ENV_RUNS, str(tmp_path))
    named = {"directory": str(root), "id": "demo-3f2a91c07b", "prefix": "demo-3f"}[by]
    with pytest.raises(SystemExit) as exit_:
        main(["report", named, "--json"])
    assert exit_.value.code == ExitCode.OK
    assert json.loads(capsys.readouterr().out) == {"report": str(found.paths.report)}
    assert found.paths.report.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_a_run_that_is_not_there_is_the_callers_mistake(
    run: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(ENV_RUNS, str(run.paths.root / "none"))
    with pytest.raises(SystemExit) as exit_:
        main(["report", "no-such-run"])
    assert exit_.value.code == ExitCode.INPUT
    assert "no-such-run" in capsys.readouterr().err
