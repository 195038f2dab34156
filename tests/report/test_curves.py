"""Logged numbers as lines, and lines as geometry."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.report.chart import HEIGHT, WIDTH, draw, nice_scale
from workloads.report.curves import MOST_POINTS, Series, read_series, thin
from workloads.report.source import read_run

DRAWABLE = st.floats(min_value=-1e29, max_value=1e29)
POINTS = st.lists(st.none() | DRAWABLE, min_size=1, max_size=400).map(
    lambda values: [(float(step), value) for step, value in enumerate(values)]
)


def series_of(run: Any) -> dict[str, Series]:
    return read_series(read_run(run.paths.root).events)


def test_what_a_resume_does_again_leaves_the_line(run: Any) -> None:
    run.logs(1, 36)
    run.event("resumed", step=30)
    run.logs(31, 40)
    loss = series_of(run)["loss"]
    assert [step for step, _ in loss.points] == list(range(1, 41))
    assert [[step for step, _ in part] for part in loss.repeated] == [[30, 31, 32, 33, 34, 35, 36]]


def test_a_log_that_goes_back_without_a_word_does_not_draw_a_loop(run: Any) -> None:
    run.logs(1, 10)
    run.logs(5, 12)
    steps = [step for step, _ in series_of(run)["loss"].points]
    assert steps == list(range(1, 13))


def test_values_that_are_not_finite_are_gaps_and_are_counted(run: Any) -> None:
    for step, loss in enumerate([2.0, None, float("nan"), float("inf"), 1.0, 0.5], start=1):
        run.event("log", step=step, loss=loss)
    loss = series_of(run)["loss"]
    assert loss.gaps == 3
    chart = draw("Loss", [("Training loss", loss)], [], [])
    line = chart.lines[0]
    assert line.dots.count("M") == 1  # the first point stands alone
    assert line.path.count("M") == 1
    assert chart.notes == ("Training loss: 3 of 6 logged values were not finite numbers.",)
    assert "not finite" in chart.readouts[1].text


def test_times_and_texts_are_no_series_but_every_other_number_is(run: Any) -> None:
    more = {"rewards/accuracies": 0.5, "eval_runtime": 3.0, "eval_samples_per_second": 2.0, "note": "x", "flag": True}
    run.event("log", step=1, epoch=0.1, loss=1.0, tokens_per_second=9.0, **more)
    assert list(series_of(run)) == ["loss", "tokens_per_second", "rewards/accuracies"]


@given(points=POINTS, most=st.integers(10, 60))
def test_thinning_keeps_the_ends_the_extremes_and_the_order(points: list[Any], most: int) -> None:
    kept = thin(points, most)
    assert len(kept) <= max(most + 4, min(len(points), most))
    assert [kept[0], kept[-1]] == [points[0], points[-1]]
    assert [step for step, _ in kept] == sorted(step for step, _ in kept)
    values = [value for _, value in points if value is not None]
    seen = [value for _, value in kept if value is not None]
    if values:
        assert (min(seen), max(seen)) == (min(values), max(values))


@given(values=st.lists(DRAWABLE, min_size=1, max_size=20))
def test_a_scale_holds_every_value_between_few_ticks(values: list[float]) -> None:
    scale, ticks = nice_scale(values)
    assert 2 <= len(ticks) <= 12
    assert all(-1e-6 <= scale(value) <= 1 + 1e-6 for value in values)


@given(points=POINTS.filter(lambda points: any(value is not None for _, value in points)))
def test_every_line_stays_inside_its_chart(points: list[Any]) -> None:
    chart = draw("Loss", [("Loss", Series("loss", points))], [1.0, 1e9], [2.0])
    line = chart.lines[0]
    numbers = [float(text) for text in re.findall(r"-?\d+\.\d+", line.path + line.dots)]
    assert len(numbers) > 0
    assert all(-0.1 <= x <= WIDTH + 0.1 for x in numbers[::2])
    assert all(-0.1 <= y <= HEIGHT + 0.1 for y in numbers[1::2])
    assert len(chart.readouts) <= MOST_POINTS
    assert sum(each.width for each in chart.readouts) == pytest.approx(100)
    assert all(0 <= tick.position <= 100 for tick in (*chart.x_ticks, *chart.resumes, *chart.checkpoints))


def test_a_checkpoint_after_the_last_log_is_in_the_chart() -> None:
    chart = draw("Loss", [("Loss", Series("loss", [(2.0, 1.0), (20.0, 0.5)]))], [], [10.0, 21.0])
    assert [tick.label for tick in chart.checkpoints] == ["checkpoint at step 10", "checkpoint at step 21"]
    assert chart.checkpoints[-1].position == 100
