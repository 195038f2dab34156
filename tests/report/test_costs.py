"""Where the time went: parts that add up, and losses that are neither hidden nor invented."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.report.costs import Costs, Kind, read_costs
from workloads.report.source import read_run
from workloads.report.timeline import read_timeline


def costs_of(run: Any) -> Costs:
    source = read_run(run.paths.root)
    return read_costs(source, read_timeline(source))


def parts_of(run: Any) -> dict[str, float]:
    return {part.label: round(part.seconds, 2) for part in costs_of(run).parts}


def start(run: Any, step: int = 0) -> None:
    run.event("stage_started", stage="train")
    run.event("train_started", 2.0, step=step, max_steps=60)


def test_the_parts_of_a_run_that_was_stopped_and_killed(run: Any) -> None:
    run.whole()
    assert parts_of(run) == {
        "fetch": 0.4, "prepare": 5.2, "loading software and model": 2.5, "training": 30.7, "saving checkpoints": 0.4,
        "evaluate": 6.1, "export": 1.2, "publish": 0.3, "serve": 2.2,
        "training done again": 3.0, "loading again after an interruption": 10.0, "stopped": 55.0,
    }  # fmt: skip
    assert costs_of(run).efficiency == pytest.approx(49 / 62)


def test_a_stop_after_a_checkpoint_loses_no_step(run: Any) -> None:
    start(run)
    run.logs(1, 10)
    run.save(10)
    run.event("preempted", step=10)
    start(run, 10)
    run.logs(11, 20)
    run.event("stage_finished", stage="train")
    assert "training done again" not in parts_of(run)


def test_a_training_that_begins_again_from_step_0_has_lost_everything_before(run: Any) -> None:
    start(run)
    run.logs(1, 10)
    run.save(10)
    start(run, 0)
    run.logs(1, 20)
    run.event("stage_finished", stage="train")
    assert parts_of(run)["training done again"] == 5.1
    assert parts_of(run)["training"] == 10.0


def test_a_damaged_checkpoint_takes_the_loss_back_into_earlier_attempts(run: Any) -> None:
    start(run)
    run.logs(1, 10)
    run.save(10)
    run.logs(11, 20)
    run.save(20)
    run.event("preempted", step=20)
    start(run, 20)
    run.logs(21, 30)
    start(run, 10)
    run.logs(11, 60)
    run.event("stage_finished", stage="train")
    assert parts_of(run)["training done again"] == pytest.approx(5.1 + 5.0)


def test_an_attempt_that_never_began_to_train_loses_only_its_loading(run: Any) -> None:
    start(run)
    run.logs(1, 10)
    run.save(10)
    run.event("preempted", step=10)
    run.event("stage_started", stage="train")
    run.event("stage_failed", 1.5, stage="train", problems=[])
    parts = parts_of(run)
    assert parts["loading again after an interruption"] == 1.5
    assert "training done again" not in parts


def test_a_failed_training_has_lost_what_came_after_its_last_checkpoint(run: Any) -> None:
    start(run)
    run.logs(1, 10)
    run.save(10)
    run.logs(11, 14)
    run.event("stage_failed", stage="train", problems=[])
    assert parts_of(run)["training done again"] == 2.0


def test_accelerator_time_counts_each_device_and_only_while_it_is_held(run: Any) -> None:
    run.record(spec={"resources": {"accelerator": "l4", "count": 2}})
    run.stage("prepare", 100.0)
    start(run)
    run.logs(1, 10)
    run.event("stage_finished", stage="train")
    run.stage("evaluate", 3.0)
    costs = costs_of(run)
    assert costs.devices == "2 x l4"
    assert costs.device_seconds(Kind.USEFUL) == pytest.approx(2 * (2.0 + 5.0 + 3.0))


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("stage"), st.sampled_from(["fetch", "prepare", "evaluate", "export"])),
        st.tuples(st.just("train"), st.integers(0, 30)),
        st.tuples(
            st.sampled_from(["preempted", "stage_skipped", "stage_failed", "checkpoint_saved"]), st.integers(0, 30)
        ),
    ),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(steps=STEPS, pauses=st.lists(st.floats(0, 100), min_size=12, max_size=12))
def test_the_parts_always_add_up_to_the_whole(new_run: Any, steps: list[tuple[str, Any]], pauses: list[float]) -> None:
    run = new_run()
    for (what, value), pause in zip(steps, pauses, strict=False):
        run.now += pause
        if what == "stage":
            run.stage(value, 1.0)
        elif what == "train":
            start(run, value)
            run.logs(value + 1, value + 5)
        else:
            run.event(what, stage="train", step=value, seconds=0.1)
    source = read_run(run.paths.root)
    timeline = read_timeline(source)
    costs = read_costs(source, timeline)
    assert sum(part.seconds for part in costs.parts) == pytest.approx(timeline.end - timeline.start, abs=0.01)
    assert all(part.seconds >= 0 for part in costs.parts)
    if costs.parts:
        assert sum(part.share for part in costs.parts) == pytest.approx(1, abs=0.01)
