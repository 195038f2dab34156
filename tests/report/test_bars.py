"""The time bar: working time to scale, a stop never wider than it should be."""

from __future__ import annotations

from typing import Any

import pytest

from workloads.report.bars import TimeBar, draw_time_bar
from workloads.report.source import read_run
from workloads.report.timeline import read_timeline


def bar_of(run: Any) -> TimeBar:
    source = read_run(run.paths.root)
    bar = draw_time_bar(source, read_timeline(source))
    assert bar is not None
    return bar


def stopped_for(run: Any, seconds: float) -> TimeBar:
    run.event("stage_started", stage="train")
    run.event("preempted", 10.0, step=5)
    run.event("stage_started", seconds, stage="train")
    run.event("stage_finished", 10.0, stage="train")
    return bar_of(run)


@pytest.mark.parametrize(("seconds", "width"), [(0.01, 0.6 / 20.6), (1.0, 1 / 21), (8 * 3600.0, 2.4 / 22.4)])
def test_a_stop_takes_a_little_room_however_long_it_was(run: Any, seconds: float, width: float) -> None:
    bar = stopped_for(run, seconds)
    assert bar.stops[0].width == pytest.approx(width * 100, abs=0.2)
    train = next(lane for lane in bar.lanes if lane.stage == "train")
    assert train.bars[0].width == pytest.approx(train.bars[1].width, abs=0.01)
    assert train.note == "2 attempts"


def test_ticks_count_working_time(run: Any) -> None:
    ticks = stopped_for(run, 3600.0).ticks
    assert [tick.label.replace("\N{NO-BREAK SPACE}", " ") for tick in ticks] == ["0", "5 s", "10 s", "15 s", "20 s"]
    assert ticks[-1].position == 100
    assert ticks[1].position - ticks[0].position == pytest.approx(ticks[4].position - ticks[3].position, abs=0.02)


def test_a_stage_that_was_planned_and_not_reached_has_an_empty_lane(run: Any) -> None:
    run.stage("fetch", 1.0)
    lanes = {lane.stage: lane for lane in bar_of(run).lanes}
    assert list(lanes) == ["fetch", "prepare", "train", "evaluate", "export"]
    assert lanes["export"].bars == ()
    assert lanes["export"].note == "not reached"
