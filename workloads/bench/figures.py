"""From the marks of single steps to figures: tokens a second, step times, use of the device's arithmetic."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

PARTS = ("data", "forward", "backward", "optimizer", "other")
"""What a step's time goes to. ``data`` is what the training waits for the next rows; ``optimizer`` begins after the
last backward pass of a step, so it holds the clipping of gradients; ``other`` is the rest, most of it callbacks."""
FORMULA = "tokens/s x {0} x N / peak; N: weights of the matrices that a token passes, the head among them"


@dataclass(frozen=True, slots=True)
class Step:
    """One optimizer step of one process.

    Attributes:
        seconds: since the step before ended.
        tokens: real ones, without padding.
        slots: tokens that were computed, padding among them.
        parts: seconds by part, without ``other``.
    """

    seconds: float
    tokens: int
    slots: int
    parts: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Block:
    """What one process measured in one training, all steps of it.

    Attributes:
        device: its name.
        peak_flops: of a large matrix product on it, in FLOP a second, measured after the training.
        allocated: the most bytes that tensors took at once; on a CPU those of the process.
        reserved: the most bytes that PyTorch held; likewise.
        held: bytes in use on the device when the training ended, by any process; 0 on a CPU.
        starting: seconds from the process's start to the first step's end, and to the training's begin.
        losses: as logged, by step.
    """

    device: str
    peak_flops: float
    allocated: int
    reserved: int
    held: int
    starting: Mapping[str, float]
    steps: Sequence[Step]
    losses: Mapping[int, float]

    def as_dict(self) -> dict[str, Any]:
        """For JSON; :meth:`from_dict` reads it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Block:
        """What :meth:`as_dict` gave, after JSON."""
        steps = [Step(**step) for step in value["steps"]]
        losses = {int(step): loss for step, loss in value["losses"].items()}
        return cls(**{**value, "steps": steps, "losses": losses})


@dataclass(frozen=True, slots=True)
class Figures:
    """What the steps after the warm-up came to.

    Attributes:
        tokens_per_second: real tokens of all processes.
        padding: the share of computed tokens that were padding.
        p50, p95: seconds of a step.
        mfu: the share of the measured peak that the formula's arithmetic took, on average over the processes.
        parts: seconds of a step by part, on average.
        allocated, reserved, held: bytes, of the process with the most.
    """

    steps: int
    processes: int
    device: str
    tokens_per_second: float
    padding: float
    p50: float
    p95: float
    mfu: float
    peak_flops: float
    parts: Mapping[str, float]
    allocated: int
    reserved: int
    held: int
    to_first_step: float

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return asdict(self)


def figures(runs: Sequence[Sequence[Block]], flops_per_token: float, warmup: int) -> Figures:
    """Sums up the trainings of one config.

    Args:
        runs: for each training a block of each of its processes; all have as many processes.
        flops_per_token: by the formula.
        warmup: steps at the begin of each training that do not count.

    Raises:
        ValueError: no step is left.
    """
    kept = [[block.steps[warmup:] for block in processes] for processes in runs]
    first = [step for processes in kept for step in processes[0]]
    if not first:
        raise ValueError("no step is left after the warm-up")
    every = [step for processes in kept for steps in processes for step in steps]
    seconds = sum(step.seconds for step in first)
    rate = sum(step.tokens for step in every) / seconds
    blocks = [block for processes in runs for block in processes]
    processes, peak = len(runs[0]), statistics.median(block.peak_flops for block in blocks)
    times = sorted(step.seconds for step in first)
    parts = {name: sum(step.parts.get(name, 0.0) for step in first) / len(first) for name in PARTS[:-1]}
    return Figures(
        steps=len(first),
        processes=processes,
        device=blocks[0].device,
        tokens_per_second=rate,
        padding=1 - sum(step.tokens for step in every) / sum(step.slots for step in every),
        p50=statistics.median(times),
        p95=times[min(len(times) - 1, round(0.95 * (len(times) - 1)))],
        mfu=rate * flops_per_token / (processes * peak),
        peak_flops=peak,
        parts=parts | {"other": max(0.0, seconds / len(first) - sum(parts.values()))},
        allocated=max(block.allocated for block in blocks),
        reserved=max(block.reserved for block in blocks),
        held=max(block.held for block in blocks),
        to_first_step=statistics.median(processes[0].starting["first_step"] for processes in runs),
    )


def flops_per_token(training: Mapping[str, Any], model_config: Mapping[str, Any]) -> float:
    """Floating point operations a token: 2 N forward, and backward 2 N for the activations and, where all weights are
    trained, 2 N for these. Attention's own arithmetic is left out, and so is what is computed twice.
    """
    from workloads.training_config.model_shape import ModelShape

    shape = ModelShape.parse(model_config)
    passed = sum(matrix.active * matrix.inputs * matrix.outputs for matrix in shape.matrices)
    return factor(training) * float(passed + shape.vocabulary * shape.hidden)


def factor(training: Mapping[str, Any]) -> int:
    """The formula's factor of N: 6 where all weights are trained, else 4."""
    return 6 if training.get("finetuning_type", "lora") == "full" else 4
