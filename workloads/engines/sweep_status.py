"""Where a sweep stands: what its results say, and what workflow and queue say of the trials at work. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workloads.accounting.trials import TrialTime, trial_time
from workloads.engines.remote_sweep import SweepNow, read_now
from workloads.explain.objects import seconds
from workloads.render.sweep import CHOOSE, TRIAL, trial_job
from workloads.report.source import mapping, objects, text
from workloads.sweep.trials import describe

_WORKING = ("Pending", "Running")
_BADLY = ("Failed", "Error")
_NOT_RUN = ("Omitted", "Skipped")
_WORDS = {
    "running": "running",
    "starting": "starting",
    "queued": "queued",
    "pruned": "stopped early",
    "failed": "failed",
    "skipped": "not started, the budget is spent",
}
_STEP = re.compile(rf"(rung|{CHOOSE})-\d+")
"""The workflow's nodes that stand in the place of the train stage."""
_TRY = re.compile(r"\(\d+\)$")
"""The end of the name of one try; a trial's own ends with ``(0:0)``, which is its place in the sequence."""


@dataclass(frozen=True, slots=True)
class Slot:
    """A node of the workflow that works on a trial."""

    rung: int
    slot: int
    node: Mapping[str, Any]

    def job(self, run: str) -> str:
        """The name of its Job."""
        return trial_job(run, str(self.rung), str(self.slot))


def slot_of(node: Mapping[str, Any]) -> Slot | None:
    """What a node works on; None when it is of no trial, or of one try of several."""
    if text(node.get("templateName")) != TRIAL or _TRY.search(text(node.get("displayName"))):
        return None
    given = {
        text(each.get("name")): text(each.get("value"))
        for each in objects(mapping(node.get("inputs")).get("parameters"))
    }
    rung, slot = given.get("rung", ""), given.get("slot", "")
    return Slot(int(rung), int(slot), node) if rung.isdecimal() and slot.isdecimal() else None


def slots(workflow: Mapping[str, Any] | None) -> Iterator[Slot]:
    """Every node of a workflow that works on a trial, or did."""
    for node in mapping(mapping(mapping(workflow).get("status")).get("nodes")).values():
        found = slot_of(mapping(node))
        if found is not None:
            yield found


def train_node(workflow: Mapping[str, Any] | None, rounds: int) -> dict[str, Any] | None:
    """The train stage of a sweep as if it were one node: from the first rung's start to the last choice's end."""
    nodes = {
        text(node.get("displayName")): node
        for each in mapping(mapping(mapping(workflow).get("status")).get("nodes")).values()
        if _STEP.fullmatch(text((node := mapping(each)).get("displayName")))
    }
    begun = [node for node in nodes.values() if node.get("startedAt") and node.get("phase") not in _NOT_RUN]
    if not begun:
        return None
    failed = next((node for node in begun if node.get("phase") in _BADLY), None)
    last = mapping(nodes.get(f"{CHOOSE}-{rounds - 1}"))
    ended = failed or (last if last.get("phase") == "Succeeded" else {})
    return {
        "displayName": "train",
        "phase": ended.get("phase", "Running"),
        "message": ended.get("message", ""),
        "startedAt": min(text(node.get("startedAt")) for node in begun),
        "finishedAt": ended.get("finishedAt"),
    }


def live(now: SweepNow, run: str, workflow: Mapping[str, Any] | None, queued: Mapping[str, str]) -> dict[str, Any]:
    """The sweep's summary with the trials that are in the cluster: ``queued``, ``starting`` or ``running``.

    Args:
        queued: Job -> what the queue says of it, of the Jobs that have not been admitted.
    """
    found = now.summary()
    for slot in slots(workflow):
        number = now.trial_in(slot.rung, slot.slot)
        if number is None or slot.rung in now.results[number].measured:
            continue
        row = found["trials"][number]
        if slot.node.get("phase") in _BADLY and row["state"] == "waiting":
            row |= {"state": "failed", "note": text(slot.node.get("message"))}
        elif slot.node.get("phase") in _WORKING and not now.results[number].problems:
            row |= {"state": _state(now, number, slot, run, queued), "rung_now": slot.rung}
            row |= {"note": queued[slot.job(run)]} if row["state"] == "queued" else {}
    for number, row in enumerate(found["trials"]):
        time = time_of(now, number)
        row |= {"seconds": round(time.seconds, 3), "lost_seconds": round(time.lost, 3)}
    return found


def _state(now: SweepNow, number: int, slot: Slot, run: str, queued: Mapping[str, str]) -> str:
    if slot.job(run) in queued:
        return "queued"
    began = seconds(slot.node.get("startedAt"))
    return "running" if any(event.time >= began for event in now.events[number]) else "starting"


def time_of(now: SweepNow, number: int) -> TrialTime:
    """The time that went into a trial."""
    return trial_time(now.events[number], now.results[number].seconds)


def waited(now: SweepNow, workflow: Mapping[str, Any] | None, at: float) -> float:
    """Seconds from a trial's turn to its first word, of all trials together; ``at`` is now, since the epoch."""
    total = 0.0
    for slot in slots(workflow):
        number, began = now.trial_in(slot.rung, slot.slot), seconds(slot.node.get("startedAt"))
        until = seconds(slot.node.get("finishedAt")) or at
        if number is not None and began:
            first = min((event.time for event in now.events[number] if event.time >= began), default=until)
            total += max(0.0, min(first, until) - began)
    return total


def in_a_line(found: Mapping[str, Any]) -> str:
    """Where a sweep stands: its rung, how many trials are measured, what became of the others, and the best so far."""
    rows, rounds = found["trials"], found["rungs"]
    if found["over"]:
        measured = sum(row["metric"] is not None for row in rows)
        parts = [f"{measured} of {len(rows)} trials measured"]
    else:
        now = current_rung(found)
        until = "to the end" if now["steps"] is None else f"to step {now['steps']}"
        parts = [f"rung {now['rung'] + 1} of {len(rounds)} ({until}): {now['measured']} of {now['trials']} measured"]
    for state, word in _WORDS.items():
        if count := sum(row["state"] == state for row in rows):
            parts.append(f"{count} {word}")
    if found["best"] is not None:
        row = rows[found["best"]]
        value = f"{found['metric']} {row['metric']:.4g}"
        best = "best" if found["over"] else "best so far"
        parts.append(f"{best} trial {row['trial']}: {value} with {describe(row['parameters'])}")
    return ", ".join(parts)


def current_rung(found: Mapping[str, Any]) -> dict[str, Any]:
    """The rung of a summary that trials work on; between two, the one that was reached."""
    working = [row["rung_now"] for row in found["trials"] if "rung_now" in row]
    reached = [row["rung"] for row in found["trials"] if row["rung"] is not None]
    chosen: dict[str, Any] = found["rungs"][max((*working, *reached), default=0)]
    return chosen


def about_sweep(run_dir: Path, run: str, workflow: Mapping[str, Any] | None = None, slot: Slot | None = None) -> str:
    """Where a run's sweep stands and which trial a slot works on, in a line; empty for a run without a sweep."""
    now = read_now(run_dir)
    if now is None:
        return ""
    line = in_a_line(live(now, run, workflow, {}))
    number = None if slot is None else now.trial_in(slot.rung, slot.slot)
    if number is None or slot is None:
        return line
    return f"{line}; this is trial {number} in rung {slot.rung + 1} ({describe(now.results[number].parameters)})"
