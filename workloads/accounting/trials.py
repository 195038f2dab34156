"""The time of a sweep's trials on an environment, where each works in pods of its own.

A pod's seconds are in the trial's result, but those of a pod that vanished are not: the events tell of these.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from workloads.accounting.actual import Actual, Part, Use
from workloads.accounting.rates import Rates
from workloads.report.costs import read_attempts
from workloads.report.source import Event
from workloads.report.timeline import Outcome, Span

_HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class TrialTime:
    """Seconds of one trial's pods; ``lost`` went into steps that had to be done again."""

    useful: float
    lost: float

    @property
    def seconds(self) -> float:
        return self.useful + self.lost


def trial_time(events: Sequence[Event], seconds: float) -> TrialTime:
    """The time of a trial.

    Args:
        events: what its training told, of all pods, in order.
        seconds: what its result says, which lacks pods that vanished.
    """
    attempts = read_attempts(events, _spans(events))
    lost = 0.0
    for before, after in pairwise(attempts):
        # A trial that goes on to the next rung begins where it ended: then nothing is done again.
        if max((step for _, step in before.progress), default=0.0) > after.first_step:
            lost += before.span.end - before.kept_until
    worked = max(seconds, sum(each.span.seconds for each in attempts))
    return TrialTime(worked - lost, lost)


def trial_bill(time: TrialTime, rates: Rates) -> Actual:
    """What a trial cost. Its inputs were brought in the time of its pods, of which nothing is known."""
    used = ((Use.USEFUL, time.useful), (Use.LOST, time.lost))
    parts = (
        Part(use, on_gpu=True, seconds=seconds, cost=None if rates.gpu is None else rates.gpu * (seconds / _HOUR))
        for use, seconds in used
        if seconds > 0
    )
    return Actual(tuple(parts), 0.0, rates.currency)


def _spans(events: Sequence[Event]) -> Iterator[Span]:
    """Each start of the training with what it told until the next."""
    starts = [number for number, event in enumerate(events) if event.kind == "train_started"]
    for start, end in pairwise([*starts, len(events)]):
        yield Span("train", events[start].time, events[end - 1].time, Outcome.CUT)
