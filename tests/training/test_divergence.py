"""A loss that has gone: when it counts as gone, which batches are left out, and where the training goes on."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.errors import ExitCode, InputError
from workloads.events import EventLog, read_events
from workloads.runtime import RunPaths
from workloads.stages.context import RunContext
from workloads.stages.runner import run_stages
from workloads.storage import manifest
from workloads.training.checkpoints import list_checkpoints
from workloads.training.divergence import Diverged, LossWatch, Skipping, Window, leave_out
from workloads.training.rescue import left_out, roll_back
from workloads.training.signals import StopRequest
from workloads.training.worker import train

USUAL = [2.0, 1.9, 2.1, 1.8, 1.9, 2.0]


def _first_reason(losses: Sequence[float], norms: Sequence[float] = (), **watch: Any) -> tuple[int, str] | None:
    looking = LossWatch([], **watch)
    for index, loss in enumerate(losses):
        if reason := looking.look(loss, norms[index] if norms else None):
            return index, reason
    return None


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_no_number_counts_at_once(loss: float) -> None:
    assert _first_reason([loss]) == (0, f"the loss became {loss}")


def test_a_gradient_that_is_no_number_counts_unless_the_arithmetic_expects_it() -> None:
    assert _first_reason([2.0], [math.inf]) == (0, "the gradient's norm became inf")
    assert _first_reason([2.0], [math.inf], norms_may_overflow=True) is None


def test_a_loss_explodes_when_it_stays_high_and_not_by_one_hard_batch() -> None:
    assert _first_reason([*USUAL, 9.0, 9.0, 1.9, 9.0, 9.0]) is None
    index, reason = _first_reason([*USUAL, 9.0, 9.0, 11.0]) or (0, "")
    assert (index, reason) == (len(USUAL) + 2, "the loss rose from about 1.95 to 11")
    assert _first_reason([0.01] * 10 + [0.5] * 10) is None
    assert _first_reason([9.0] * 3) is None


def test_what_is_saved_has_been_looked_at() -> None:
    control: Any = SimpleNamespace(should_save=True, should_log=False)
    state: Any = SimpleNamespace(global_step=7)
    watch = LossWatch([])
    assert watch.on_step_end(SimpleNamespace(), state, control).should_log
    with pytest.raises(Diverged) as raised:
        watch.on_log(SimpleNamespace(), state, control, logs={"loss": math.nan})
    assert raised.value.step == 7


@given(st.lists(st.integers(), unique=True, max_size=30), st.integers(0, 40), st.integers(0, 40))
def test_an_order_without_a_part_is_as_long_and_has_nothing_of_it(order: list[int], start: int, more: int) -> None:
    found = leave_out(order, start, start + more)
    gone = order[start : start + more]
    assert len(found) == len(order)
    if len(gone) < len(order):
        assert not set(gone) & set(found)
        assert found[:start] == order[:start]
    else:
        assert found == order


def test_windows_are_of_their_epoch_and_of_all_ranks() -> None:
    sampler = Skipping(range(12), [Window(1, 2), Window(3, 4)], steps=3, samples=4)
    assert list(sampler) == [0, 1, 2, 3, 8, 9, 10, 11, 0, 1, 2, 3]
    sampler.epoch = 1
    assert list(sampler) == [4, 5, 6, 7, 8, 9, 10, 11, 4, 5, 6, 7]
    sampler.epoch = 2
    assert list(sampler) == list(range(12))
    assert len(sampler) == 12


@pytest.fixture
def paths(tmp_path: Path) -> RunPaths:
    return RunPaths(tmp_path)


def _save(paths: RunPaths, *steps: int) -> None:
    for step in steps:
        folder = paths.checkpoints / f"checkpoint-{step}"
        folder.mkdir(parents=True)
        (folder / "weights").write_text(str(step))
        manifest.commit(folder)


def test_it_goes_back_to_the_newest_and_when_that_does_not_help_to_the_one_before(paths: RunPaths) -> None:
    events = EventLog(paths.events)
    _save(paths, 5, 10)
    roll_back({}, paths, events, 2, Diverged(13, "the loss became nan"))
    assert [each.step for each in list_checkpoints(paths.checkpoints)] == [10, 5]
    roll_back({}, paths, events, 2, Diverged(12, "the loss became nan"))
    assert [each.step for each in list_checkpoints(paths.checkpoints)] == [5]
    assert left_out(paths) == [Window(10, 13), Window(5, 12)]
    with pytest.raises(InputError, match=r"after 2 times back.*learning_rate") as raised:
        roll_back({"learning_rate": 0.5}, paths, events, 2, Diverged(12, "the loss became nan"))
    assert raised.value.exit_code is ExitCode.INPUT


def test_without_a_checkpoint_it_begins_again_without_those_batches(paths: RunPaths) -> None:
    roll_back({}, paths, EventLog(paths.events), 1, Diverged(3, "the loss became nan"))
    assert left_out(paths) == [Window(0, 3)]


def test_of_a_stream_nothing_can_be_left_out(paths: RunPaths) -> None:
    with pytest.raises(InputError, match="does not get past it"):
        roll_back({"streaming": True}, paths, EventLog(paths.events), 3, Diverged(3, "the loss became nan"))


@pytest.mark.training
def test_a_training_goes_on_from_a_checkpoint_without_the_batches_since(
    make_run: Callable[..., RunPaths], monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = make_run({"val_size": 0.0, "max_steps": 20})
    context = RunContext.open(paths.root)
    run_stages(context, ["fetch", "prepare"])
    look, bad = LossWatch.look, [6, 14]
    seen: list[list[int]] = []
    order = Skipping.__iter__

    def fails(watch: LossWatch, loss: float, norm: float | None = None) -> str | None:
        logged = [event for event in read_events(paths.events)[0] if event["event"] == "log"]
        if bad and logged[-1]["step"] == bad[0]:
            return f"the loss went at {bad.pop(0)}"
        return look(watch, loss, norm)

    def watched(sampler: Skipping) -> Any:
        seen.append(list(order(sampler)))
        return iter(seen[-1])

    monkeypatch.setattr(LossWatch, "look", fails)
    monkeypatch.setattr(Skipping, "__iter__", watched)
    outputs = train(context.config, paths, context.base_model, context.events, StopRequest())
    assert outputs["steps"] == 20
    back = [event for event in read_events(paths.events)[0] if event["event"] == "rolled_back"]
    assert [(event["step"], event["left_at"]) for event in back] == [(4, 6), (12, 14)]
    assert all(len(each) == 64 for each in seen)
    assert len(set(seen[0])) == 64 - 2 * 4
    steps = [event["step"] for event in read_events(paths.events)[0] if event["event"] == "log" and "loss" in event]
    assert steps == [*range(1, 7), *range(5, 15), *range(13, 21)]


@pytest.mark.training
def test_a_learning_rate_beyond_hope_ends_the_run_with_the_reason(make_run: Callable[..., RunPaths]) -> None:
    paths = make_run({"learning_rate": 1e30, "finetuning_type": "full"}, {"recovery": {"rollbacks": 1}})
    context = RunContext.open(paths.root)
    with pytest.raises(InputError, match=r"does not get past it.*learning_rate \(it is 1e\+30\)"):
        run_stages(context, ["fetch", "prepare", "train"])
    assert len([event for event in read_events(paths.events)[0] if event["event"] == "rolled_back"]) == 1
