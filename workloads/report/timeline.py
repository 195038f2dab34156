"""The event log as stretches of work, stops between them, and the state that the run is in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import pairwise
from typing import Any

from workloads.report.source import Event, RunSource, objects, text
from workloads.runtime import STAGES


class Outcome(StrEnum):
    """How a stretch of work on a stage ended."""

    FINISHED = "finished"
    FAILED = "failed"
    PREEMPTED = "preempted"
    CUT = "cut"
    """Its process was gone before it said anything."""
    OPEN = "open"
    """It goes on, or its process was killed: the log can't tell."""


@dataclass(frozen=True, slots=True)
class Span:
    """One attempt at a stage; seconds since the epoch."""

    stage: str
    start: float
    end: float
    outcome: Outcome

    @property
    def seconds(self) -> float:
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Stop:
    """A time in which no process worked on the run; seconds since the epoch."""

    start: float
    end: float

    @property
    def seconds(self) -> float:
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class State:
    """Where the run stands.

    Attributes:
        name: ``finished``, ``failed``, ``gate``, ``preempted``, ``unfinished`` or ``empty``.
        title: two or three words for a badge.
        explanation: what it means and how to go on; empty for a finished run.
        problems: what a failed stage said, each as ``Problem.as_dict``.
    """

    name: str
    title: str
    explanation: str
    problems: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Timeline:
    """All attempts and stops, in order."""

    spans: tuple[Span, ...]
    stops: tuple[Stop, ...]

    @property
    def start(self) -> float:
        return min((span.start for span in self.spans), default=0.0)

    @property
    def end(self) -> float:
        return max((span.end for span in self.spans), default=0.0)

    @property
    def stopped(self) -> float:
        """Seconds in which nothing worked on the run."""
        return sum(stop.seconds for stop in self.stops)

    @property
    def worked(self) -> float:
        """Seconds from the first start to the last end, without the stops."""
        return max(0.0, self.end - self.start - self.stopped)


def read_timeline(source: RunSource) -> Timeline:
    """The timeline of the events; a stage that they do not mention is taken from its marker."""
    spans = _spans(source.events)
    named = {span.stage for span in spans}
    spans += [span for stage in source.markers if stage not in named and (span := _from_marker(source, stage))]
    spans.sort(key=lambda span: span.start)
    return Timeline(tuple(spans), tuple(_stops(source.events, spans)))


def _spans(events: Sequence[Event]) -> list[Span]:
    spans: list[Span] = []
    stage: str | None = None
    started = last = 0.0
    endings = {
        "stage_finished": Outcome.FINISHED,
        "stage_failed": Outcome.FAILED,
        "preempted": Outcome.PREEMPTED,
    }
    for event in events:
        if event.kind in ("stage_started", "stage_skipped"):
            if stage is not None:
                spans.append(Span(stage, started, last, Outcome.CUT))
            stage, started = (event.stage, event.time) if event.kind == "stage_started" else (None, 0.0)
        elif event.kind in endings and stage is not None:
            spans.append(Span(stage, started, event.time, endings[event.kind]))
            stage = None
        elif event.kind == "rolled_back" and stage is not None:  # the same process begins another attempt
            spans.append(Span(stage, started, event.time, Outcome.FAILED))
            started = event.time
        last = event.time
    if stage is not None:
        spans.append(Span(stage, started, last, Outcome.OPEN))
    return spans


def _from_marker(source: RunSource, stage: str) -> Span | None:
    marker = source.markers[stage]
    try:
        start, end = (datetime.fromisoformat(text(marker.get(key))).timestamp() for key in ("started", "finished"))
    except (ValueError, OverflowError):
        return None
    return Span(stage, start, end, Outcome.FINISHED) if 0 <= start <= end else None


def _stops(events: Sequence[Event], spans: Sequence[Span]) -> list[Stop]:
    """From the end of one process to the beginning of the next.

    A process is gone when its attempt did not finish, and it is another one that goes back to an earlier stage.
    """
    arrivals = [(event.time, event.stage) for event in events if event.kind in ("stage_started", "stage_skipped")]
    stops: list[Stop] = []
    for before, after in pairwise(spans):
        came = [
            time
            for time, stage in arrivals
            if before.end <= time <= after.start
            and (before.outcome is not Outcome.FINISHED or _order(stage) <= _order(before.stage))
        ]
        if came and came[0] > before.end:
            stops.append(Stop(before.end, came[0]))
    return stops


def _order(stage: str) -> int:
    return STAGES.index(stage) if stage in STAGES else len(STAGES)


def read_state(source: RunSource, timeline: Timeline) -> State:
    """What became of the run, from the last thing that happened to it."""
    again = f"tunery run --resume {text(source.record.get('id')) or source.paths.root.name}"
    if not timeline.spans:
        return State("empty", "Not started", "No stage of this run has started.")
    last = timeline.spans[-1]
    match last.outcome:
        case Outcome.FAILED:
            return _failed(source, last, again)
        case Outcome.PREEMPTED:
            return State(
                "preempted",
                "Stopped",
                f"It was told to stop during {last.stage} and saved a checkpoint first. Continue it with: {again}",
            )
        case Outcome.FINISHED:
            finished = {span.stage for span in timeline.spans if span.outcome is Outcome.FINISHED}
            missing = [stage for stage in source.planned if stage not in finished]
            if not missing or any(event.kind == "run_finished" for event in source.events):
                return State("finished", "Published" if source.outputs("publish") else "Finished", "")
            return State(
                "unfinished",
                "Not finished",
                f"The stage {last.stage} has finished and {missing[0]} has not started. "
                f"If nothing works on the run, continue it with: {again}",
            )
        case _:
            return State(
                "unfinished",
                "Not finished",
                f"The stage {last.stage} has started and not ended: it goes on, or its process was killed. "
                f"If nothing works on the run, continue it with: {again}",
            )


def _failed(source: RunSource, last: Span, again: str) -> State:
    failure = [event for event in source.events if event.kind == "stage_failed"][-1]
    problems = tuple(objects(failure.fields.get("problems")))
    if any(each.get("code") == "gate" for each in problems):
        return State("gate", "Stopped by the gate", "The model is not good enough to be published.", problems)
    return State("failed", f"Failed in {last.stage}", f"When the cause is removed, continue it with: {again}", problems)
