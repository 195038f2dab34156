"""The stages on a time bar: working time to scale, stops shortened to a band with their length written on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from workloads.report.chart import Tick, nice_step
from workloads.report.formats import duration, moment, short_duration
from workloads.report.source import RunSource
from workloads.report.timeline import Outcome, Span, Timeline

_STOP_WIDTH = (0.03, 0.12)
"""A stop is drawn between these shares of the working time: a night must not squeeze the work out of sight."""
_STEPS_OF_TIME = (0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 43200, 86400)
_WORDS = {
    Outcome.FINISHED: "finished",
    Outcome.FAILED: "failed",
    Outcome.PREEMPTED: "stopped after a checkpoint",
    Outcome.CUT: "ended without a word",
    Outcome.OPEN: "has not ended",
}


@dataclass(frozen=True, slots=True)
class Bar:
    """One attempt at a stage, or one stop; ``left`` and ``width`` in percent of the bar's length."""

    left: float
    width: float
    outcome: str
    label: str


@dataclass(frozen=True, slots=True)
class Lane:
    """One stage."""

    stage: str
    bars: tuple[Bar, ...]
    total: str
    note: str


@dataclass(frozen=True, slots=True)
class TimeBar:
    """Every stage, and the ticks of the axis below them.

    Attributes:
        outcomes: how attempts ended, each once, with its words.
    """

    lanes: tuple[Lane, ...]
    stops: tuple[Bar, ...]
    ticks: tuple[Tick, ...]
    outcomes: tuple[tuple[str, str], ...]


def draw_time_bar(source: RunSource, timeline: Timeline) -> TimeBar | None:
    """The time bar, or None when nothing has run."""
    if not timeline.spans:
        return None
    worked = timeline.worked or 1.0
    shortest, longest = (share * worked for share in _STOP_WIDTH)
    shown = [(stop, min(max(stop.seconds, shortest), longest)) for stop in timeline.stops]
    length = worked + sum(width for _, width in shown)

    def position(time: float) -> float:
        """Percent from the left of a time since the epoch."""
        passed = time - timeline.start
        for stop, width in shown:
            if time > stop.start:
                into = min(time, stop.end) - stop.start
                passed += into * width / stop.seconds - into
        return min(max(passed / length * 100, 0.0), 100.0)

    named = dict.fromkeys((*source.planned, *(span.stage for span in timeline.spans)))
    return TimeBar(
        lanes=tuple(
            _lane(stage, [span for span in timeline.spans if span.stage == stage], position) for stage in named
        ),
        stops=tuple(
            Bar(position(stop.start), position(stop.end) - position(stop.start), "stop", duration(stop.seconds))
            for stop in timeline.stops
        ),
        ticks=_ticks(timeline, worked, position),
        outcomes=tuple(
            (outcome.value, _WORDS[outcome]) for outcome in dict.fromkeys(s.outcome for s in timeline.spans)
        ),
    )


def _lane(stage: str, spans: list[Span], position: Callable[[float], float]) -> Lane:
    bars = tuple(
        Bar(
            position(span.start),
            position(span.end) - position(span.start),
            span.outcome.value,
            f"{stage} {_WORDS[span.outcome]} after {duration(span.seconds)}, begun {moment(span.start)}",
        )
        for span in spans
    )
    if not spans:
        return Lane(stage, bars, "", "not reached")
    outcome = spans[-1].outcome
    attempts = f"{len(spans)} attempts" if len(spans) > 1 else ""
    note = attempts if outcome is Outcome.FINISHED else ", ".join(filter(None, (attempts, _WORDS[outcome])))
    return Lane(stage, bars, duration(sum(span.seconds for span in spans)), note)


def _ticks(timeline: Timeline, worked: float, position: Callable[[float], float]) -> tuple[Tick, ...]:
    """Round amounts of working time."""
    rough = worked / 5
    step = next((each for each in _STEPS_OF_TIME if each >= rough), nice_step(rough / 86400) * 86400)
    if rough < 0.25:
        step = nice_step(rough)
    return tuple(
        Tick(round(position(_clock(timeline, index * step)), 2), short_duration(round(index * step, 6)))
        for index in range(int(worked / step * (1 + 1e-9)) + 1)
    )


def _clock(timeline: Timeline, worked: float) -> float:
    """The time since the epoch at which ``worked`` seconds of work were done."""
    time = timeline.start + worked
    for stop in timeline.stops:
        if stop.start >= time:
            break
        time += stop.seconds
    return time
