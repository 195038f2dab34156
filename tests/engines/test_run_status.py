from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from workloads.engines.run_status import Queue, RunStatus, read_status

START = 1_800_000_000.0


def write(folder: Path, *events: tuple[float, str, dict[str, Any]], spec: dict[str, Any] | None = None) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "run.json").write_text(json.dumps({"id": "demo-1", "spec": spec or {}}))
    lines = [json.dumps({"time": START + after, "event": name, **fields}) for after, name, fields in events]
    (folder / "events.jsonl").write_text("\n".join(lines) + "\n" if lines else "")
    return folder


def stamp(after: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(START + after, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def workflow(phase: str, *nodes: tuple[str, str, float], **more: Any) -> dict[str, Any]:
    made = {
        f"n{number}": {
            "type": "Suspend" if stage == "approve" else "Pod",
            "displayName": stage,
            "phase": state,
            "startedAt": stamp(after),
        }
        for number, (stage, state, after) in enumerate(nodes)
    }
    return {"status": {"phase": phase, "nodes": made}, **more}


def status(folder: Path, now: float = 0.0, **more: Any) -> RunStatus:
    return read_status(folder, "dev", now=START + now, **more)


def states(found: RunStatus) -> dict[str, str]:
    return {stage.name: stage.state for stage in found.stages}


def test_a_training_that_waits_for_quota(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "demo-1",
        (0, "stage_started", {"stage": "fetch"}),
        (60, "stage_finished", {"stage": "fetch"}),
        spec={"resources": {"count": 2, "nodes": 2}},
    )
    told = workflow("Running", ("fetch", "Succeeded", 0), ("prepare", "Succeeded", 60), ("train", "Running", 100))
    found = status(folder, 3700, workflow=told, queue=Queue(admitted=False, note="insufficient quota"))
    assert found.state == "running"
    assert states(found) | {} == {
        "fetch": "finished",
        "prepare": "finished",
        "train": "queued",
        "evaluate": "waiting",
        "export": "waiting",
    }
    assert found.note == "train: insufficient quota"
    assert found.hours.as_dict() == {"useful": 0.0, "lost": 0.0, "waiting": 4.0}


def test_admitted_but_no_word_yet_is_starting_and_then_running(tmp_path: Path) -> None:
    folder = write(tmp_path / "demo-1")
    told = workflow("Running", ("train", "Running", 0))
    assert states(status(folder, 5, workflow=told, queue=Queue(admitted=True, note="image")))["train"] == "starting"
    write(folder, (10, "stage_started", {"stage": "train"}))
    found = status(folder, 30, workflow=told, queue=Queue(admitted=True, note="image"))
    assert states(found)["train"] == "running"
    assert next(stage.seconds for stage in found.stages if stage.name == "train") == 20


def test_lost_and_useful_hours_of_a_preempted_training(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "demo-1",
        (0, "stage_started", {"stage": "train"}),
        (0, "train_started", {"step": 0}),
        (1800, "checkpoint_saved", {"step": 100, "seconds": 0}),
        (3600, "log", {"step": 200}),
        (3600, "preempted", {"step": 200}),
        (7200, "stage_started", {"stage": "train"}),
        (7200, "train_started", {"step": 100}),
        (9000, "log", {"step": 200}),
        (9000, "stage_finished", {"stage": "train"}),
        spec={"resources": {"nodes": 2}},
    )
    found = status(folder, 9000, workflow=workflow("Running", ("train", "Succeeded", 0)))
    assert found.hours.as_dict() == {"useful": 2.0, "lost": 1.0, "waiting": 2.0}


@pytest.mark.parametrize(
    ("told", "state"),
    [
        (workflow("Succeeded"), "finished"),
        (workflow("Failed"), "failed"),
        (workflow("Failed", spec={"shutdown": "Terminate"}), "stopped"),
        (workflow(""), "waiting"),
        (workflow("Pending"), "starting"),
        (None, "unknown"),
    ],
)
def test_the_state_of_the_whole(tmp_path: Path, told: dict[str, Any] | None, state: str) -> None:
    assert status(write(tmp_path / "demo-1"), workflow=told).state == state


def test_a_run_that_waits_for_a_person(tmp_path: Path) -> None:
    spec = {"publish": {"name": "x"}, "serve": {"approval": True}}
    folder = write(tmp_path / "demo-1", spec=spec)
    found = status(folder, workflow=workflow("Running", ("approve", "Running", 0)))
    assert (found.state, found.note) == ("waiting", "approve: a person must approve")
    assert [stage.name for stage in found.stages][-2:] == ["approve", "serve"]


def test_a_failure_is_explained_until_something_goes_on(tmp_path: Path) -> None:
    problems = [{"message": "No such file.", "fix": "correct it"}]
    failed = (
        (0.0, "stage_started", {"stage": "prepare"}),
        (1.0, "stage_failed", {"stage": "prepare", "problems": problems}),
    )
    folder = write(tmp_path / "demo-1", *failed)
    assert status(folder).problems == tuple(problems)
    write(folder, *failed, (2.0, "stage_started", {"stage": "prepare"}))
    assert status(folder).problems == ()


def test_finished_without_a_workflow(tmp_path: Path) -> None:
    stages = ("fetch", "prepare", "train", "evaluate", "export")
    events = [
        (float(number), f"stage_{what}", {"stage": stage})
        for number, stage in enumerate(stages)
        for what in ("started", "finished")
    ]
    assert status(write(tmp_path / "demo-1", *events)).state == "finished"


@pytest.mark.parametrize("nodes", [None, [], {"n": None}, {"n": {"displayName": 1, "type": "Pod"}}, "x"])
def test_a_workflow_of_any_shape_is_survived(tmp_path: Path, nodes: Any) -> None:
    found = status(write(tmp_path / "demo-1"), workflow={"status": {"nodes": nodes, "phase": "Running"}})
    assert json.loads(json.dumps(found.as_dict()))["state"] == "running"
