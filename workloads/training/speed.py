"""The preset of a run: chosen from its data, its model and this device; what it does is measured.

Events: ``preset`` with what was chosen and why, ``preset_installed`` with the level that the model has, and
``preset_measured`` with speed and memory beside what was predicted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerState

from workloads.errors import InputError
from workloads.events import EventLog
from workloads.run_record import RunRecord
from workloads.runtime import RunPaths
from workloads.storage.atomic import read_json
from workloads.training_config.accelerators import named_by_driver
from workloads.training_config.levels import Level
from workloads.training_config.preset import Choice, Device, Lengths, Line, Mode, choose

_LOOKED_AT = 1000
"""Rows whose length is counted; more change the mean by less than the estimate's own error."""
_WARMUP = 3
"""Steps until kernels are chosen and compiled and the allocator has its blocks."""


def mode_of(paths: RunPaths) -> Mode:
    """What a run's spec says of the preset."""
    mode: Mode = RunRecord.read(paths).spec.get("preset", "auto")
    return mode


def choose_here(config: Mapping[str, Any], paths: RunPaths, base_model: Path, mode: Mode, processes: int) -> Choice:
    """The choice for a run on this machine, whose data is prepared."""
    shape = read_json(base_model / "config.json")
    if mode == "none" or not isinstance(shape, dict):
        return Choice(Level.PLAIN)
    device = this_device()
    lengths = lengths_of(paths.tokenized) if mode == "fast" or device.cuda else None
    try:
        return choose(config, shape, device, mode=mode, lengths=lengths, processes=processes)
    except InputError as error:  # LLaMA-Factory may know what to do with a model that the estimate does not
        return Choice(Level.PLAIN, lines=(Line("level", "plain", error.problems[0].message),))


def this_device() -> Device:
    """The GPU of this process, or the CPU."""
    import torch

    if not torch.cuda.is_available():
        return Device("the CPU", cuda=False)
    properties = torch.cuda.get_device_properties(torch.cuda.current_device())
    known = named_by_driver(properties.name, properties.total_memory)
    return Device(
        title=properties.name,
        bytes=properties.total_memory,
        bf16=torch.cuda.is_bf16_supported(including_emulation=False),
        tflops=None if known is None else known.tflops,
        liger=find_spec("liger_kernel") is not None,
    )


def lengths_of(tokenized: Path) -> Lengths | None:
    """The lengths of training rows that the prepare stage has tokenized; None where there are none."""
    if not tokenized.is_dir():
        return None
    from datasets import load_from_disk

    rows = load_from_disk(str(tokenized))["train"]
    if len(rows) == 0 or "attention_mask" not in rows.column_names:
        return None
    step = -(-len(rows) // _LOOKED_AT)
    masks = rows.select(range(0, len(rows), step))["attention_mask"]
    counts = [sum(1 for each in mask if each) for mask in masks]
    return Lengths(len(rows), sum(counts) / len(counts), max(counts), exact=step == 1)


@contextmanager
def at_level(choice: Choice, events: EventLog) -> Iterator[None]:
    """Inside it LLaMA-Factory trains at the chosen level, or the next lower one that the model allows."""
    if choice.level == Level.PLAIN:
        yield
        return
    from workloads.training.fast.install import Installed
    from workloads.training.fast.trainer import fast_trainer

    def told(installed: Installed) -> None:
        refused = [{"level": each.level.name.lower(), "reason": each.reason} for each in installed.refused]
        events.append("preset_installed", level=installed.level.name.lower(), refused=refused)

    with fast_trainer(choice.level, told=told):
        yield


class Measured(TrainerCallback):  # type: ignore[misc]  # transformers is not followed by mypy
    """Tells the event log how fast the steps were, without those in which something else was done, too."""

    def __init__(self, choice: Choice, events: EventLog, clock: Callable[[], float] = time.monotonic) -> None:
        self._choice, self._events, self._clock = choice, events, clock
        self._last: tuple[float, int] | None = None
        self._steps = self._tokens = 0
        self._seconds = 0.0

    def on_step_end(self, args: Any, state: TrainerState, control: Any, **_: Any) -> None:
        now, seen = self._clock(), int(state.num_input_tokens_seen)
        self._steps += 1
        if self._last is not None and self._steps > _WARMUP:
            self._seconds += now - self._last[0]
            self._tokens += seen - self._last[1]
        self._last = (now, seen)

    def on_evaluate(self, args: Any, state: TrainerState, control: Any, **_: Any) -> None:
        self._last = None

    def on_save(self, args: Any, state: TrainerState, control: Any, **_: Any) -> None:
        self._last = None

    def on_train_end(self, args: Any, state: TrainerState, control: Any, **_: Any) -> None:
        rate = round(self._tokens / self._seconds, 1) if self._seconds > 0 else None
        self._events.append(
            "preset_measured",
            tokens_per_second=rate,
            predicted_tokens_per_second=self._choice.tokens_per_second,
            memory=_reserved(),
            predicted_memory=self._choice.memory,
        )


def _reserved() -> int | None:
    """The most bytes that torch had of this process's device at once."""
    import torch

    return int(torch.cuda.max_memory_reserved()) if torch.cuda.is_available() else None
