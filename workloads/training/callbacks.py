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
from workloads.storage.atomic import write_json
from workloads.training.checkpoints import list_committed
from workloads.training.coordination import Alone, Ranks
from workloads.training.saving import Saver
from workloads.training.signals import StopRequest, grace_seconds

_SAFETY = 1.5
"""A save counts as fitting when this many times the longest so far is left: disks are slow when nodes end."""

_PROGRESS_SECONDS = 0.2
"""Nobody reads progress more often, and a replaced file costs a fast step something."""


class WorkerCallback(TrainerCallback):  # type: ignore[misc]  # transformers is not followed by mypy
    """Reports progress, commits checkpoints and stops when asked, all ranks at the same step.

    Attributes:
        finished: whether the trainer left its loop by itself, and the step it had reached.
    """

    def __init__(
        self,
        paths: RunPaths,
        events: EventLog,
        stop: StopRequest,
        saver: Saver,
        clock: Callable[[], float] = time.monotonic,
        ranks: Ranks | None = None,
        grace: float | None = None,
    ) -> None:
        """``grace`` is how many seconds are left after a stop was asked for; by default the environment says it."""
        self._ranks = Alone() if ranks is None else ranks
        self._grace = grace_seconds() if grace is None else grace
        self._saver = saver
        self._paths = paths
        self._events = events
        self._stop = stop
        self._clock = clock
        self._started = 0.0
        self._start_step = 0
        self._step_ended = 0.0
        self._tokens = 0
        self._tokens_at = self._told_at = 0.0
        self.finished = False
        self.global_step = 0
        self.max_steps = 0

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._started = self._tokens_at = self._clock()
        self._start_step = self.global_step = state.global_step
        self._tokens = int(state.num_input_tokens_seen)
        self.max_steps = state.max_steps
        self._events.append("train_started", step=state.global_step, max_steps=state.max_steps)
        if self._ranks.first:
            self._write_progress(state, {})

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> TrainerControl:
        self.global_step = state.global_step
        self._step_ended = self._clock()
        self._saver.check()
        age = self._ranks.longest(self._stop.age)
        if age is not None:
            if not self._ranks.decide(self._save_fits(age)):
                raise self._without_save(state)
            control.should_save = True
            control.should_training_stop = True
        return control

    def _save_fits(self, age: float) -> bool:
        """Whether there is time to save, ``age`` seconds after the stop was asked for.

        With no checkpoint yet there is nothing to lose by trying.
        """
        if self._grace is None or not (self._saver.committing or list_committed(self._paths.checkpoints)):
            return True
        return age + self._saver.seconds * _SAFETY < self._grace

    def _left(self) -> float | None:
        """Seconds of the grace that are left; None when nothing limits it."""
        return None if self._grace is None else max(0.0, self._grace / _SAFETY - (self._stop.age or 0.0))

    def _without_save(self, state: TrainerState) -> Preempted:
        saved = 0
        if self._ranks.first:
            self._saver.settle(self._left())
            saved = max((each.step for each in list_committed(self._paths.checkpoints)), default=0)
            self._events.append("preempted", step=saved, max_steps=state.max_steps, lost=state.global_step - saved)
        self._ranks.decide(True)  # no rank leaves before rank 0
        return Preempted.of(
            f"The training was told to stop at step {state.global_step} of {state.max_steps}, with too little time for "
            f"a save of {self._saver.seconds:.1f} s.",
            f"run it again: it continues from step {saved}; more frequent saves (save_steps) lose less",
        )

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
        due = now - self._told_at >= _PROGRESS_SECONDS or state.global_step >= state.max_steps
        if "loss" in numbers and due:
            self._told_at = now
            self._write_progress(state, numbers)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        if not self._ranks.first:
            self._saver.write_copies()  # rank 0 commits what it sees
        self._ranks.collect(folder)
        if self._ranks.first:
            best = state.best_model_checkpoint
            self._saver.begin(folder, state.global_step, self._step_ended, None if best is None else Path(best))
        stopping = self._ranks.longest(self._stop.age) is not None
        if stopping and state.global_step < state.max_steps:
            if self._ranks.first:
                self._saver.settle(self._left())
                self._events.append("preempted", step=state.global_step, max_steps=state.max_steps)
            self._ranks.decide(True)  # no rank leaves before rank 0 has committed
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


class Paused(Exception):  # noqa: N818 it is a state, not a mistake
    """Leaves the trainer, as a stop does, without what LLaMA-Factory does after a training."""


class PauseCallback(TrainerCallback):  # type: ignore[misc]  # transformers is not followed by mypy
    """Saves at a step and leaves before the next one, when every other callback has seen the checkpoint.

    A training that ends at that step ends as always.
    """

    def __init__(self, step: int) -> None:
        self._step = step

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if state.global_step >= self._step:
            raise Paused

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> TrainerControl:
        if state.global_step == self._step:
            control.should_save = True
        return control


def _finite(value: float) -> float | None:
    """JSON has no NaN or infinity: a loss that is neither a number nor finite becomes null."""
    return value if math.isfinite(value) else None
