"""Times the steps of a transformers Trainer from inside, without waiting for the device.

Facts about transformers 5.5 (``trainer.py``: ``_run_epoch`` gets the batches of a step by ``get_batch_samples``, then
calls ``training_step`` for each, and its callbacks after the optimizer's step).
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers.trainer
from transformers import Trainer, TrainerCallback

from workloads.bench.figures import Block, Step
from workloads.storage.atomic import write_json

_PEAK_SIZE = {"cuda": 8192, "cpu": 1024}
_PEAK_TIMES = 10


class Clock:
    """Marks points in the device's time: events of a GPU's stream, which cost no wait; a CPU's clock."""

    def __init__(self, on_gpu: bool) -> None:
        self._on_gpu = on_gpu

    def mark(self) -> Any:
        """A point that has come when the device has done what it was given so far."""
        if not self._on_gpu:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def seconds(self, start: Any, end: Any) -> float:
        """Between two points; waits for the second."""
        if not self._on_gpu:
            return float(end - start)
        end.synchronize()
        return float(start.elapsed_time(end)) / 1000


class Probe(TrainerCallback):  # type: ignore[misc]  # transformers is not followed by mypy
    """Collects the marks of one training, and writes a :class:`~workloads.bench.figures.Block` when it ends."""

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._on_gpu = torch.cuda.is_available()
        self._clock = Clock(self._on_gpu)
        self._ends: list[Any] = []
        self._spans: list[list[tuple[str, Any, Any]]] = [[]]
        self._waited: list[float] = [0.0]
        self._tokens: list[list[int]] = [[0, 0]]
        self._losses: dict[int, float] = {}
        self._starting: dict[str, float] = {}
        self._instrumented: set[int] = set()
        self.block: Block | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._starting["train_begin"] = process_age()
        self._ends.append(self._clock.mark())

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        mark = self._clock.mark()
        backward = next((end for name, _, end in reversed(self._spans[-1]) if name == "backward"), None)
        if backward is not None:
            self._spans[-1].append(("optimizer", backward, mark))
        self._ends.append(mark)
        if len(self._ends) == 2:
            self._clock.seconds(self._ends[0], mark)
            self._starting["first_step"] = process_age()
        self._spans.append([])
        self._waited.append(0.0)
        self._tokens.append([0, 0])

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **_: Any) -> None:
        if logs and isinstance(logs.get("loss"), int | float):
            self._losses[state.global_step] = float(logs["loss"])

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.block = self._summed_up()
        if self._file is not None:
            write_json(self._file, self.block.as_dict(), durable=False)

    def waited(self, seconds: float, batches: list[Mapping[str, Any]], pad: int | None) -> None:
        """The batches of a step have come, after so many seconds."""
        self._waited[-1] += seconds
        for batch in batches:
            self._tokens[-1][0] += real_tokens(batch, pad)
            self._tokens[-1][1] += int(batch["input_ids"].numel())

    def instrument(self, trainer: Any) -> None:
        """Times the forward and backward passes of a trainer."""
        if id(trainer) not in self._instrumented:
            self._instrumented.add(id(trainer))
            trainer.compute_loss = self._timed("forward", trainer.compute_loss)
            trainer.accelerator.backward = self._timed("backward", trainer.accelerator.backward)

    def _timed(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **named: Any) -> Any:
            start = self._clock.mark()
            result = call(*arguments, **named)
            self._spans[-1].append((name, start, self._clock.mark()))
            return result

        return timed

    def _summed_up(self) -> Block:
        steps = [self._step(number) for number in range(len(self._ends) - 1)]
        memory = self._memory()
        device = torch.cuda.get_device_name() if self._on_gpu else "cpu"
        return Block(device, measured_peak(), *memory, dict(self._starting), steps, dict(self._losses))

    def _step(self, number: int) -> Step:
        parts = {"data": self._waited[number]}
        for name, start, end in self._spans[number]:
            parts[name] = parts.get(name, 0.0) + self._clock.seconds(start, end)
        seconds = self._clock.seconds(self._ends[number], self._ends[number + 1])
        tokens, slots = self._tokens[number]
        return Step(seconds, tokens, slots, parts)

    def _memory(self) -> tuple[int, int, int]:
        if not self._on_gpu:
            most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            return most, most, 0
        free, whole = torch.cuda.mem_get_info()
        return torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved(), whole - free


@contextmanager
def measuring(file: Path | None = None) -> Iterator[Probe]:
    """Inside it the next training is measured.

    Args:
        file: where the block is written when the training ends.
    """
    probe = Probe(file)
    get_batches, training_step = Trainer.get_batch_samples, Trainer.training_step

    def timed_batches(trainer: Any, *arguments: Any, **named: Any) -> Any:
        started = time.perf_counter()
        batches, items = get_batches(trainer, *arguments, **named)
        probe.waited(time.perf_counter() - started, batches, getattr(trainer.processing_class, "pad_token_id", None))
        return batches, items

    def timed_step(trainer: Any, *arguments: Any, **named: Any) -> Any:
        probe.instrument(trainer)
        return training_step(trainer, *arguments, **named)

    Trainer.get_batch_samples, Trainer.training_step = timed_batches, timed_step
    transformers.trainer.DEFAULT_CALLBACKS.append(probe)
    try:
        yield probe
    finally:
        Trainer.get_batch_samples, Trainer.training_step = get_batches, training_step
        transformers.trainer.DEFAULT_CALLBACKS.remove(probe)


def real_tokens(batch: Mapping[str, Any], pad: int | None) -> int:
    """Tokens of a batch that are no padding.

    A mask of shape (rows, tokens) says it, packed or not; one of shape (rows, 1, tokens, tokens) is 0 where a token
    sees itself; without a mask, a token is taken for padding when it has the padding's id and no label.
    """
    mask = batch.get("attention_mask")
    if mask is None:
        ids = batch["input_ids"]
        if pad is None:
            return int(ids.numel())
        padding = (ids == pad) & (batch["labels"] == -100) if "labels" in batch else ids == pad
        return int(ids.numel() - padding.sum())
    if mask.dim() == 2:
        return int((mask != 0).sum())
    own = mask[:, 0].diagonal(dim1=-2, dim2=-1)
    return int((own if own.dtype == torch.bool else own == 0).sum())


def measured_peak() -> float:
    """FLOP a second of a large square matrix product on this device: bf16 on a GPU, fp32 on a CPU."""
    kind = "cuda" if torch.cuda.is_available() else "cpu"
    size, clock = _PEAK_SIZE[kind], Clock(kind == "cuda")
    if kind == "cuda":
        torch.cuda.empty_cache()
    left, right = (
        torch.randn(size, size, device=kind).to(torch.bfloat16 if kind == "cuda" else torch.float32) for _ in range(2)
    )
    left @ right
    start = clock.mark()
    for _ in range(_PEAK_TIMES):
        left @ right
    return _PEAK_TIMES * 2.0 * size**3 / clock.seconds(start, clock.mark())


def process_age() -> float:
    """Seconds since this process was started, by the kernel's clock (proc(5): field 22 of stat, in ticks)."""
    started = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started
