"""A sweep on an environment in the middle of its second rung, as its store and its workflow have it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from recorded_cluster.builders import NOW, RUN, Object, ago, node, workflow

SWEEP = {
    "method": "asha",
    "parameters": {"learning_rate": {"min": 1e-5, "max": 1e-1, "log": True}},
    "trials": 9,
    "reduction": 3,
    "min_steps": 10,
    "parallel": 2,
}
RATES = [1e-5, 1e-1, 5e-4, 2e-5, 1e-3, 5e-2, 3e-5, 2e-3, 4e-5]
LOSSES = [1.9, 3.0, 1.2, 1.8, 1.0, None, 1.7, 1.1, 1.6]
"""At the first rung; trial 5 failed. The best are 4, 7 and 2."""
HOUR = 3600.0


def write_sweep(folder: Path, *, created: float = 2 * HOUR) -> Path:
    """The run directory in a store."""
    trials = [{"learning_rate": rate} for rate in RATES]
    spec = {"name": "chat", "training": {"stage": "sft"}, "resources": {"capacity": "on-demand"}, "sweep": SWEEP}
    record = {
        "id": folder.name,
        "created": ago(created),
        "spec": spec,
        "trials": trials,
        "base": {"revision": "0" * 40},
    }
    _write(folder / "run.json", json.dumps(record))
    _events(
        folder / "events.jsonl",
        [(7000, "stage_started", {"stage": "fetch"}), (6900, "stage_finished", {"stage": "fetch"})],
    )
    for number, loss in enumerate(LOSSES):
        result: dict[str, Any] = {"number": number, "parameters": trials[number], "seconds": 600.0, "problems": []}
        result["measured"] = {} if loss is None else {"0": {"step": 10, "metrics": {"loss": loss}}}
        if loss is None:
            result["problems"] = [{"message": "Memory was too small in train.", "fix": "lower the batch size"}]
        _write(folder / "trials" / f"{number:03d}" / "result.json", json.dumps(result))
        _events(
            folder / "trials" / f"{number:03d}" / "events.jsonl",
            [(6000, "train_started", {"step": 0, "max_steps": 90}), (5500, "log", {"step": 10})],
        )
    _write(folder / "rungs" / "1.json", json.dumps({"trials": [2, 4, 7]}))
    # Of trial 2 a node vanished: what it did from step 10 to 25 was done again.
    again = [
        (3000, "train_started", {"step": 10}),
        (2500, "log", {"step": 18}),
        (2000, "log", {"step": 25}),
        (1500, "train_started", {"step": 10}),
        (600, "log", {"step": 30}),
    ]
    _events(folder / "trials" / "002" / "events.jsonl", again)
    measured = {"0": {"step": 10, "metrics": {"loss": 1.2}}, "1": {"step": 30, "metrics": {"loss": 0.8}}}
    result = {"number": 2, "parameters": trials[2], "seconds": 1500.0, "problems": [], "measured": measured}
    _write(folder / "trials" / "002" / "result.json", json.dumps(result))
    _events(
        folder / "trials" / "004" / "events.jsonl", [(300, "train_started", {"step": 10}), (60, "log", {"step": 14})]
    )
    return folder


def trial_node(rung: int, slot: int, phase: str, message: str = "", *, began: float = 400) -> Object:
    """The node of a trial as Argo writes it, which began so many seconds ago."""
    found = node(f"trial({slot}:{slot})", phase, message=message)
    found |= {"id": f"{RUN}-{rung}-{slot}", "templateName": "trial", "startedAt": ago(began)}
    values = {"rung": rung, "slot": slot}
    found["inputs"] = {"parameters": [{"name": name, "value": str(value)} for name, value in values.items()]}
    return found


def sweep_workflow(phase: str = "Running", *more: Object) -> Object:
    """Rung 1 under way: slot 0 is done, slot 1 works and slot 2 waits."""
    nodes = [
        node("fetch", "Succeeded"),
        node("rung-0", "Succeeded", "DAG"),
        *(trial_node(0, slot, "Succeeded", began=6000) for slot in range(9)),
        node("choose-0", "Succeeded"),
        node("rung-1", "Running", "DAG"),
        trial_node(1, 0, "Succeeded", began=3000),
        trial_node(1, 1, "Running"),
        trial_node(1, 2, "Running"),
        *more,
    ]
    return workflow(phase, *nodes)


def _write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def _events(path: Path, events: list[tuple[float, str, dict[str, Any]]]) -> None:
    lines = [json.dumps({"time": NOW - before, "event": name, **fields}) + "\n" for before, name, fields in events]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as stream:
        stream.writelines(lines)
