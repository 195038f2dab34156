"""The time of a sweep's trial: all of it is counted once, and only what was done again is lost."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.accounting.trials import TrialTime, trial_time
from workloads.report.source import Event


def events(*told: tuple[float, str, int | None]) -> list[Event]:
    return [Event(time, kind, {} if step is None else {"step": step}) for time, kind, step in told]


@pytest.mark.parametrize(
    ("told", "seconds", "time"),
    [
        ([], 0.0, TrialTime(0.0, 0.0)),
        ([], 60.0, TrialTime(60.0, 0.0)),
        # Two rungs: the second begins where the first ended. Loading and measuring are in the result's seconds.
        (
            [(0, "train_started", 0), (50, "log", 10), (900, "train_started", 10), (990, "log", 30)],
            200.0,
            TrialTime(200.0, 0.0),
        ),
        # A preemption that saved its last step loses nothing.
        (
            [(0, "train_started", 0), (50, "preempted", 10), (60, "train_started", 10), (90, "log", 30)],
            0.0,
            TrialTime(80.0, 0.0),
        ),
        # A node vanished at step 9, with a checkpoint of step 5: 40 of its 90 seconds are lost.
        (
            [
                (0, "train_started", 0),
                (50, "checkpoint_saved", 5),
                (90, "log", 9),
                (200, "train_started", 5),
                (260, "log", 12),
            ],
            70.0,
            TrialTime(110.0, 40.0),
        ),
    ],
)
def test_what_is_lost(told: list[tuple[float, str, int | None]], seconds: float, time: TrialTime) -> None:
    assert trial_time(events(*told), seconds) == time


KINDS = st.sampled_from(["train_started", "log", "checkpoint_saved", "preempted", "resumed", "stalled", "x"])


@given(st.lists(st.tuples(st.floats(0, 1e6), KINDS, st.none() | st.integers(0, 1000)), max_size=30), st.floats(0, 1e6))
def test_time_is_never_negative_and_never_more_than_there_was(told: list[Any], seconds: float) -> None:
    found = trial_time(events(*sorted(told, key=lambda each: each[0])), seconds)
    most = max(seconds, max((each[0] for each in told), default=0.0))
    assert found.useful >= -1e-6
    assert found.lost >= 0
    assert found.seconds <= most + 1e-6
