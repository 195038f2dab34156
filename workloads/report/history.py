"""Checkpoints and interruptions, in the order they happened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from workloads.report.formats import duration, figure, size
from workloads.report.source import Event, RunSource, mapping, number, text
from workloads.report.timeline import Outcome, Timeline

_MOST_CHECKPOINTS = 40
_MOST_ROWS = 300


@dataclass(frozen=True, slots=True)
class Happening:
    """One row; ``after`` is how long after the run's start, ``kind`` a word for its colour."""

    after: str
    kind: str
    title: str
    detail: str


@dataclass(frozen=True, slots=True)
class History:
    """The rows to show, how many were left out, and the checkpoints in one sentence."""

    rows: tuple[Happening, ...]
    left_out: int
    checkpoints: str


def read_history(source: RunSource, timeline: Timeline) -> History:
    """What happened to the run; of very many checkpoints only the last are listed one by one."""
    timed: list[tuple[float, Happening]] = []
    furthest = 0.0
    for event in source.events:
        if row := _row(event, _after(event.time, timeline), furthest):
            timed.append((event.time, row))
        furthest = max(furthest, event.step or 0.0)
    timed += [
        (span.end, Happening(_after(span.end, timeline), "bad", "Process gone", f"{span.stage} ended without a word"))
        for span in timeline.spans
        if span.outcome is Outcome.CUT
    ]
    timed.sort(key=lambda each: each[0])
    rows = [row for _, row in timed]
    saves = [index for index, row in enumerate(rows) if row.kind == "save"]
    dropped = set(saves[:-_MOST_CHECKPOINTS])
    kept = [row for index, row in enumerate(rows) if index not in dropped][-_MOST_ROWS:]
    return History(tuple(kept), len(rows) - len(kept), _checkpoints(source.events))


def steps_of(events: Sequence[Event], kind: str) -> list[float]:
    """The steps at which events of ``kind`` happened."""
    return [event.step for event in events if event.kind == kind and event.step is not None]


def _row(event: Event, after: str, furthest: float) -> Happening | None:
    """The row for an event, or None for one that is no news here; ``furthest`` is the last step known before it."""
    step = figure(event.step) if event.step is not None else "?"
    match event.kind:
        case "checkpoint_saved":
            seconds, written = number(event.fields.get("seconds")), number(event.fields.get("bytes"))
            facts = [size(written)] if written is not None else []
            facts += [f"in {duration(seconds)}"] if seconds is not None else []
            return Happening(after, "save", f"Checkpoint at step {step}", " ".join(facts))
        case "preempted":
            lost = number(event.fields.get("lost"))
            words = (
                "it was told to stop and saved first" if not lost else f"too late for a save: {figure(lost)} steps lost"
            )
            return Happening(after, "stop", f"Stopped at step {step}", words)
        case "rolled_back":
            left = number(event.fields.get("left_at"))
            words = f"{text(event.fields.get('reason'))}; the batches up to step {figure(left or 0.0)} are left out"
            return Happening(after, "bad", f"Back to step {step}", words)
        case "stalled":
            waited = duration(number(event.fields.get("seconds")) or 0.0)
            words = f"nothing happened for {waited}; see {text(event.fields.get('stacks'))}"
            return Happening(after, "bad", f"Hung after step {step}", words)
        case "checkpoint_completed":
            return Happening(after, "go", f"Checkpoint at step {step} completed", "its process was killed too early")
        case "checkpoint_not_stored":
            words = text(event.fields.get("reason"))
            return Happening(after, "bad", f"Checkpoint at step {step} not uploaded", words)
        case "resumed":
            again = max(0.0, furthest - (event.step or 0.0))
            steps = f"{figure(again)} step{'s' if again != 1 else ''}" if again else "nothing"
            words = f"from {text(event.fields.get('checkpoint'))}; {steps} to do again"
            return Happening(after, "go", f"Resumed at step {step}", words)
        case "checkpoint_damaged":
            reasons = event.fields.get("reasons")
            listed = "; ".join(text(each) for each in reasons) if isinstance(reasons, list) else ""
            return Happening(after, "bad", f"Damaged: {text(event.fields.get('checkpoint'))}", listed)
        case "stage_failed":
            problems = event.fields.get("problems")
            first = mapping(problems[0]) if isinstance(problems, list) and problems else {}
            return Happening(after, "bad", f"{event.stage} failed", text(first.get("message")))
        case "gate_passed":
            return Happening(after, "go", "Gate passed", "")
        case "gate_failed":
            return Happening(after, "bad", "Gate not passed", "nothing is published")
        case "published":
            return Happening(after, "go", "Published", text(event.fields.get("reference")))
        case "served":
            return Happening(after, "go", "Served", "the published model answered through its API")
        case _:
            return None


def _after(time: float, timeline: Timeline) -> str:
    return f"+{duration(max(0.0, time - timeline.start))}"


def _checkpoints(events: Sequence[Event]) -> str:
    saved = [event.fields for event in events if event.kind == "checkpoint_saved"]
    if not saved:
        return ""
    took = [seconds for each in saved if (seconds := number(each.get("seconds"))) is not None]
    written = sum(number(each.get("bytes")) or 0.0 for each in saved)
    words = f"{len(saved):,} checkpoint{'s' if len(saved) != 1 else ''}, {size(written)} written"
    return f"{words}, {duration(sum(took) / len(took))} each, the slowest {duration(max(took))}" if took else words
