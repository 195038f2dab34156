"""When a fault strikes an attempt, and what it does."""

from __future__ import annotations

import errno
import os
import re
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.faults.boundaries import HALF, Boundaries, Boundary
from benchmarks.faults.clock import CLOCK

Strike = Callable[[Path], None]
"""Prepares an attempt, in its own process, on the folder that it works in."""


def _send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


def _strike_file(folder: Path, boundary: Boundary, number: signal.Signals) -> None:
    if boundary.kind == HALF and number == signal.SIGKILL:
        path = folder / boundary.path
        os.truncate(path, path.stat().st_size // 2)
    _send(number)


@dataclass(frozen=True)
class InStep:
    """A signal when an optimizer step has its gradients and has changed no weight yet.

    Attributes:
        late: seconds that the step takes longer, in which the background may end what it does.
    """

    step: int
    number: signal.Signals
    late: float = 0.0

    def __call__(self, folder: Path) -> None:
        on_step(lambda step, loss: self._strike(step, loss))

    def _strike(self, step: int, loss: Any) -> Any:
        if step == self.step:
            CLOCK.sleep(self.late)
            _send(self.number)
        return loss


@dataclass(frozen=True)
class AtWrite:
    """A signal at the n-th change of a file whose path and kind match, counted from 0."""

    pattern: str
    number: signal.Signals
    nth: int = 0

    def __call__(self, folder: Path) -> None:
        seen = 0

        def meet(boundary: Boundary) -> None:
            nonlocal seen
            if not re.search(self.pattern, boundary.name):
                return
            if seen == self.nth:
                _strike_file(folder, boundary, self.number)
            seen += 1

        Boundaries(folder, meet).install()


@dataclass(frozen=True)
class KillAt:
    """SIGKILL at one boundary: the n-th one of its name, counted from 0."""

    name: str
    nth: int

    def __call__(self, folder: Path) -> None:
        seen = 0

        def meet(boundary: Boundary) -> None:
            nonlocal seen
            if boundary.name != self.name:
                return
            if seen == self.nth:
                _strike_file(folder, boundary, signal.SIGKILL)
            seen += 1

        Boundaries(folder, meet).install()


@dataclass(frozen=True)
class AtRead:
    """A signal when a file whose path matches is opened."""

    pattern: str
    number: signal.Signals

    def __call__(self, folder: Path) -> None:
        struck = False

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal struck
            if event == "open" and not struck and re.search(self.pattern, str(arguments[0])):
                struck = True
                _send(self.number)

        sys.addaudithook(hook)


@dataclass(frozen=True)
class FailingDisk:
    """From the first matching change of a file on, nothing can be written to the folder any more."""

    pattern: str
    code: int = errno.ENOSPC

    def __call__(self, folder: Path) -> None:
        full = False

        def meet(boundary: Boundary) -> None:
            nonlocal full
            full = full or bool(re.search(self.pattern, boundary.name))
            if full and boundary.kind not in ("remove", "rmdir"):
                raise OSError(self.code, os.strerror(self.code), str(folder / boundary.path))

        Boundaries(folder, meet).install()


@dataclass(frozen=True)
class ClockJump:
    """The date is set in a step."""

    step: int
    seconds: float

    def __call__(self, folder: Path) -> None:
        def jump(step: int, loss: Any) -> Any:
            if step == self.step:
                CLOCK.offset += self.seconds
            return loss

        on_step(jump)


@dataclass(frozen=True)
class BadLoss:
    """The loss of one step is not a number, nor are its gradients; once."""

    step: int

    def __call__(self, folder: Path) -> None:
        import torch
        from transformers import Trainer

        compute = Trainer.compute_loss
        spoilt = False

        def spoil(trainer: Any, *arguments: Any, **named: Any) -> Any:
            nonlocal spoilt
            loss = compute(trainer, *arguments, **named)
            if spoilt or trainer.state.global_step + 1 != self.step or not torch.is_grad_enabled():
                return loss
            spoilt = True
            return (loss[0] * float("nan"), *loss[1:]) if isinstance(loss, tuple) else loss * float("nan")

        Trainer.compute_loss = spoil


@dataclass(frozen=True)
class Hang:
    """A step never ends."""

    step: int

    def __call__(self, folder: Path) -> None:
        def hang(step: int, loss: Any) -> Any:
            while step == self.step:
                CLOCK.sleep(1)
            return loss

        on_step(hang)


@dataclass(frozen=True)
class All:
    """Several strikes at once."""

    strikes: tuple[Strike, ...]

    def __call__(self, folder: Path) -> None:
        for strike in self.strikes:
            strike(folder)


def on_step(hook: Callable[[int, Any], Any]) -> None:
    """Calls ``hook`` with the number and the loss of each step that has its gradients; it returns the loss."""
    from transformers import Trainer

    train = Trainer.training_step

    def watched(trainer: Any, *arguments: Any, **named: Any) -> Any:
        loss = train(trainer, *arguments, **named)
        return hook(trainer.state.global_step + 1, loss)

    Trainer.training_step = watched
