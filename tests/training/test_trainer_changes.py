"""The trainer as an interruptible training needs it."""

from collections.abc import Callable

import pytest
from transformers import TrainerCallback
from transformers.trainer_callback import CallbackHandler

from workloads.events import read_events
from workloads.runtime import RunPaths
from workloads.stages.context import RunContext
from workloads.stages.runner import run_stages
from workloads.training.signals import StopRequest
from workloads.training.trainer_changes import interruptible
from workloads.training.worker import train


def _handler(*callbacks: TrainerCallback) -> CallbackHandler:
    return CallbackHandler([*callbacks], None, None, None, None)


def test_the_last_callbacks_stay_the_last_in_their_order() -> None:
    ours, watch, given, added = TrainerCallback(), TrainerCallback(), TrainerCallback(), TrainerCallback()
    with interruptible(last=[ours, watch]):
        handler = _handler(ours, watch, given)
        handler.add_callback(added)
        assert handler.callbacks[-4:] == [given, added, ours, watch]
        other = _handler(given)
        other.add_callback(added)
        assert other.callbacks[-2:] == [given, added]
    after = _handler(ours)
    after.add_callback(added)
    assert after.callbacks[-1] is added


@pytest.mark.training
@pytest.mark.parametrize("steps", [6, 16], ids=["in an epoch", "at the end of an epoch"])
def test_a_resume_at_the_last_step_takes_no_step_more(make_run: Callable[..., RunPaths], steps: int) -> None:
    paths = make_run({"max_steps": steps, "save_steps": 4, "val_size": 0.0})
    context = RunContext.open(paths.root)
    run_stages(context, ["fetch", "prepare"])
    weights = []
    for _ in range(2):
        train(context.config, paths, context.base_model, context.events, StopRequest())
        weights.append((paths.trained / "adapter_model.safetensors").read_bytes())
    events = read_events(paths.events)[0]
    assert [event["step"] for event in events if event["event"] == "resumed"] == [steps]
    assert [event["step"] for event in events if event["event"] == "log" and "loss" in event] == [*range(1, steps + 1)]
    assert weights[0] == weights[1]
