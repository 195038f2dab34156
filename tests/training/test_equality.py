"""A training that was interrupted learns what one that was not learns, to the last bit."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from workloads.errors import Preempted
from workloads.events import EventLog, read_events
from workloads.runtime import RunPaths
from workloads.stages.context import RunContext
from workloads.stages.runner import run_stages
from workloads.storage import manifest
from workloads.training.signals import StopRequest
from workloads.training.worker import train

pytestmark = pytest.mark.training

CONFIG: dict[str, Any] = {
    "max_steps": 36,
    "save_steps": 10,
    "val_size": 0.0,
    "lr_scheduler_type": "cosine",
    "warmup_steps": 5,
}
"""64 rows in batches of 4: three epochs of 16 steps, the last one not whole."""
CURVES = ("loss", "learning_rate", "grad_norm")


@dataclass(frozen=True)
class StopsAt(EventLog):
    """Asks for a stop when a step is logged, so that the next one is the last."""

    stop: StopRequest = StopRequest()  # noqa: RUF009 every use gives its own
    step: int = 0

    def append(self, event: str, **fields: Any) -> None:
        super().append(event, **fields)
        if event == "log" and fields["step"] == self.step:
            self.stop.request()


def _train(paths: RunPaths, *stops: int) -> str:
    """Trains to the end, stopped on the way after these steps; the weights' SHA-256."""
    context = RunContext.open(paths.root)
    run_stages(context, ["fetch", "prepare"])
    for step in stops:
        stop = StopRequest()
        events = StopsAt(paths.events, stop=stop, step=step - 1)
        with pytest.raises(Preempted, match=f"saved step {step} of"):
            train(context.config, paths, context.base_model, events, stop)
    outputs = train(context.config, paths, context.base_model, context.events, StopRequest())
    assert outputs["steps"] == CONFIG["max_steps"]
    recorded = manifest.read(paths.trained)
    assert recorded is not None
    [weights] = [each.sha256 for each in recorded.files if each.path.endswith(".safetensors")]
    return weights


def _curves(paths: RunPaths) -> dict[int, tuple[float, ...]]:
    logged = [event for event in read_events(paths.events)[0] if event["event"] == "log" and "loss" in event]
    assert [event["step"] for event in logged] == list(range(1, len(logged) + 1))
    return {event["step"]: tuple(event[name] for name in CURVES) for event in logged}


@pytest.mark.parametrize(
    ("config", "stops"),
    [
        ({"lora_dropout": 0.1}, (7, 23)),
        pytest.param({"finetuning_type": "full"}, (7, 23), marks=pytest.mark.slow),
        pytest.param({"finetuning_type": "freeze", "freeze_trainable_layers": 1}, (16,), marks=pytest.mark.slow),
        pytest.param(
            {"gradient_accumulation_steps": 3, "per_device_train_batch_size": 2}, (12,), marks=pytest.mark.slow
        ),
        pytest.param({"packing": True, "cutoff_len": 32}, (9,), marks=pytest.mark.slow),
        pytest.param({"neftune_noise_alpha": 5}, (9,), marks=pytest.mark.slow),
    ],
    ids=["lora", "full", "freeze", "accumulation", "packing", "noise"],
)
def test_a_training_that_was_interrupted_ends_with_the_same_bits(
    make_run: Callable[..., RunPaths],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    config: dict[str, Any],
    stops: tuple[int, ...],
) -> None:
    weights, curves = [], []
    for name, interruptions in (("whole", ()), ("interrupted", stops)):
        monkeypatch.setenv("TUNERY_RUNS", str(tmp_path / name))
        paths = make_run(CONFIG | config)
        weights.append(_train(paths, *interruptions))
        curves.append(_curves(paths))
    resumed = [event["step"] for event in read_events(paths.events)[0] if event["event"] == "resumed"]
    assert resumed == list(stops)
    assert curves[0] == curves[1]
    assert weights[0] == weights[1]
