"""A loss that is no number any more, or explodes: seen before it is saved, and answered by other batches.

A training whose loss has gone does not come back. It continues from a checkpoint of before, and the batches since
then, one of which may have been the reason, are left out: the rest of their epoch moves up, and its first batches,
which the model knows, fill the end.
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

_HISTORY = 20
_ENOUGH = 5
_TIMES = 3.0
_IN_A_ROW = 3
_LEAST = 1.0
"""Near zero, three times the usual loss is no explosion but one hard batch."""


class Diverged(Exception):  # noqa: N818 it is a state; the worker turns it into an error when nothing helps
    """Leaves the trainer when the loss has gone.

    Attributes:
        step: the last one whose batch may be the reason.
    """

    def __init__(self, step: int, reason: str) -> None:
        super().__init__(reason)
        self.step = step
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Window:
    """Steps whose batches are left out: those after ``start`` up to ``stop``."""

    start: int
    stop: int


class LossWatch(TrainerCallback):  # type: ignore[misc]  # transformers is not followed by mypy
    """Raises :class:`Diverged`, at the same step in every rank: the trainer logs the mean of all of them."""

    def __init__(self, windows: Sequence[Window], *, norms_may_overflow: bool = False) -> None:
        """Leaves ``windows`` out; with fp16 a gradient norm may overflow, and the step is then not taken."""
        self._windows = tuple(windows)
        self._norms_may_overflow = norms_may_overflow
        self._losses: deque[float] = deque(maxlen=_HISTORY)
        self._high = 0
        self._sampler: Skipping | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **named: Any
    ) -> None:
        if not self._windows:
            return
        loader = named["train_dataloader"]
        per_epoch = math.ceil(len(loader) / args.gradient_accumulation_steps)
        samples = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
        sampler = Skipping(None, self._windows, per_epoch, samples)
        holder: Any = loader.batch_sampler
        while not hasattr(holder, "sampler") and hasattr(holder, "batch_sampler"):  # one share of several ranks
            holder = holder.batch_sampler
        sampler.inner, holder.sampler = holder.sampler, sampler
        self._sampler = sampler

    def on_epoch_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if self._sampler is not None:
            self._sampler.epoch = state.global_step // self._sampler.steps

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> TrainerControl:
        if control.should_save:
            control.should_log = True  # what is saved has been looked at
        return control

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        if logs and "loss" in logs and (reason := self.look(float(logs["loss"]), logs.get("grad_norm"))):
            raise Diverged(state.global_step, reason)

    def look(self, loss: float, grad_norm: float | None = None) -> str | None:
        """Why the training has to go back; None while it need not."""
        if not math.isfinite(loss):
            return f"the loss became {loss}"
        if grad_norm is not None and not math.isfinite(grad_norm) and not self._norms_may_overflow:
            return f"the gradient's norm became {grad_norm}"
        usual = statistics.median(self._losses) if len(self._losses) >= _ENOUGH else None
        if usual is not None and loss > _TIMES * max(usual, _LEAST):
            self._high += 1
            if self._high >= _IN_A_ROW:
                return f"the loss rose from about {usual:.3g} to {loss:.3g}"
            return None
        self._high = 0
        self._losses.append(loss)
        return None


class Skipping:
    """A sampler that leaves windows of steps out of another one's order, and is as long."""

    def __init__(self, inner: Any, windows: Sequence[Window], steps: int, samples: int) -> None:
        """``steps`` is of an epoch, ``samples`` of a step, over all ranks."""
        self.inner = inner
        self.steps = steps
        self.epoch = 0
        self._windows = windows
        self._samples = samples

    def __len__(self) -> int:
        return len(self.inner)

    def __iter__(self) -> Iterator[Any]:
        order = list(self.inner)
        for window in self._windows:  # each one in the order that the one before left
            start = max(0, window.start - self.epoch * self.steps) * self._samples
            stop = max(0, min(self.steps, window.stop - self.epoch * self.steps)) * self._samples
            order = leave_out(order, start, stop)
        return iter(order)

    def set_epoch(self, epoch: int) -> None:
        """What accelerate tells a sampler that draws anew each epoch."""
        if hasattr(self.inner, "set_epoch"):
            self.inner.set_epoch(epoch)


def leave_out(order: list[Any], start: int, stop: int) -> list[Any]:
    """The order without a part of it, as long as before; as it is when nothing else is left."""
    rest = order[:start] + order[max(start, stop) :]
    return [*rest, *islice(cycle(rest), len(order) - len(rest))] if rest else order
