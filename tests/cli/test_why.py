"""``tunery why`` on a run of this machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from recorded_cluster.builders import RUN, failure

from workloads.cli.main import main


@pytest.fixture
def gated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A run whose model missed its gate."""
    monkeypatch.setenv("TUNERY_RUNS", str(tmp_path))
    folder = tmp_path / RUN
    folder.mkdir()
    (folder / "run.json").write_text("{}")
    events = failure(64, "rougeL is 0.31 and must be at least 0.4.", "evaluate", code="gate")
    (folder / "events.jsonl").write_text("".join(json.dumps(each) + "\n" for each in events))
    return RUN


def test_a_person_reads_the_cause_the_evidence_and_the_next_step(
    gated: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["why", gated[:12]])
    assert stop.value.code == 0
    first, *rest = capsys.readouterr().out.splitlines()
    assert first == f"The model of {gated} missed 1 of its gate's rules and was not exported."
    assert any("rougeL is 0.31" in line for line in rest)
    assert any(line.startswith("next: ") and f"tunery report {gated}" in line for line in rest)
    assert any("developer must act" in line and "gate-failed" in line for line in rest)


def test_a_program_reads_json(gated: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["why", gated, "--json"])
    found = json.loads(capsys.readouterr().out)
    assert (found["run"], found["cause"], found["who"]) == (gated, "gate-failed", "developer")


def test_a_run_that_nobody_knows_is_an_input_error(gated: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["why", "nothing-0000000000"])
    assert stop.value.code == 64
    assert "--on ENV" in capsys.readouterr().err
