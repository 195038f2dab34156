"""What the worker hears from the trainer: progress out, checkpoints committed, stop requests obeyed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from workloads.errors import Preempted
from workloads.events import EventLog
from workloads.runtime import RunPaths
from workloads.storage import manifest
from workloads.storage.atomic import write_json
from workloads.training.signals import StopRequest


class WorkerCallback(TrainerCallback):  # type: ignore[misc]  # transformers is not followed by mypy
    """Reports progress, commits checkpoints and stops when asked.

    Attributes:
        finished: whether the trainer left its loop by itself, and the step it had reached.
    """

    def __init__(
        self,
        paths: RunPaths,
        events: EventLog,
        stop: StopRequest,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._paths = paths
        self._events = events
        self._stop = stop
        self._clock = clock
        self._started = 0.0
        self._start_step = 0
        self._step_ended = 0.0
        self._tokens = 0
        self._tokens_at = 0.0
        self.finished = False
        self.global_step = 0
        self.max_steps = 0

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._started = self._tokens_at = self._clock()
        self._start_step = self.global_step = state.global_step
        self._tokens = int(state.num_input_tokens_seen)
        self.max_steps = state.max_steps
        self._events.append("train_started", step=state.global_step, max_steps=state.max_steps)
        self._write_progress(state, {})

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> TrainerControl:
        self.global_step = state.global_step
        self._step_ended = self._clock()
        if self._stop.requested:
            control.should_save = True
            control.should_training_stop = True
        return control

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        if not state.is_world_process_zero or not logs or "train_loss" in logs:
            return  # the last one sums the training up; the events have it already
        now = self._clock()
        numbers = {
            name: _finite(value)
            for name, value in logs.items()
            if isinstance(value, int | float) and not name.startswith(("train_", "num_input"))
        }
        tokens = int(state.num_input_tokens_seen)
        if tokens > self._tokens and now > self._tokens_at:
            numbers["tokens_per_second"] = round((tokens - self._tokens) / (now - self._tokens_at), 1)
            self._tokens, self._tokens_at = tokens, now
        self._events.append("log", step=state.global_step, max_steps=state.max_steps, **numbers)
        if "loss" in numbers:
            self._write_progress(state, numbers)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if not state.is_world_process_zero:
            return
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        committed = manifest.commit(folder)
        seconds = round(self._clock() - self._step_ended, 3)  # from the step's end, so the save itself is in it
        self._events.append("checkpoint_saved", step=state.global_step, seconds=seconds, bytes=committed.size)
        if self._stop.requested and state.global_step < state.max_steps:
            self._events.append("preempted", step=state.global_step, max_steps=state.max_steps)
            # Leaving by an exception skips what LLaMA-Factory does after a training: it is not over.
            raise Preempted.of(
                f"The training was told to stop and saved step {state.global_step} of {state.max_steps}.",
                "run it again: it continues from there",
            )

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.finished = True
        self.global_step = state.global_step

    def _write_progress(self, state: TrainerState, numbers: dict[str, float | None]) -> None:
        elapsed = self._clock() - self._started
        done = state.global_step - self._start_step
        left = state.max_steps - state.global_step
        write_json(
            self._paths.progress,
            {
                "step": state.global_step,
                "max_steps": state.max_steps,
                "loss": numbers.get("loss"),
                "learning_rate": numbers.get("learning_rate"),
                "tokens_per_second": numbers.get("tokens_per_second"),
                "elapsed_seconds": round(elapsed, 1),
                "eta_seconds": round(elapsed / done * left, 1) if done else None,
            },
            durable=False,
        )


def _finite(value: float) -> float | None:
    """JSON has no NaN or infinity: a loss that is neither a number nor finite becomes null."""
    return value if math.isfinite(value) else None
