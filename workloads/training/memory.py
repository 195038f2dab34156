"""Memory that was too small: what the training needs, part by part, and what to change for less."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workloads.errors import InputError, TuneryError
from workloads.storage.atomic import read_json

_CHANGES = 3
_GB = 1e9
_CGROUP = Path("/sys/fs/cgroup/memory.events")
_ALWAYS = (
    "per_device_train_batch_size=1 with gradient_accumulation_steps raised by as much: the same result",
    "a smaller cutoff_len: longer rows are cut",
    "an accelerator with more memory (resources.accelerator), or more of them (resources.count) with ZeRO-3",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an accelerator's or the machine's memory was too small."""
    text = str(error).lower()
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "out of memory" in text
        or "can't allocate memory" in text
        or "cannot allocate memory" in text
    )


def too_small(config: Mapping[str, Any], base_model: Path, devices: int, what: str) -> InputError:
    """The error for a training that did not fit.

    Args:
        config: the training config.
        base_model: the base model's folder.
        devices: how many accelerators share the training.
        what: whose memory was too small, and where that showed.
    """
    needs, advice = _estimate(config, base_model, devices)
    listed = "; ".join(f"({number}) {text}" for number, text in enumerate(advice, start=1))
    return InputError.of(
        f"{what} The same again would end the same way.{needs}",
        f"change one of these and run it again, which is then a new run: {listed}",
        key="per_device_train_batch_size",
    )


def _estimate(config: Mapping[str, Any], base_model: Path, devices: int) -> tuple[str, list[str]]:
    from workloads.training_config.memory_estimate import estimate
    from workloads.training_config.memory_options import changes

    shape = read_json(base_model / "config.json")
    if not isinstance(shape, dict):
        return "", list(_ALWAYS)
    try:
        found, possible = estimate(config, shape, devices=devices), changes(config, shape)
    except (TuneryError, OSError, ValueError, KeyError, TypeError):  # the error at hand matters more than a wrong guess
        return "", list(_ALWAYS)
    parts = ", ".join(f"{name} {size / _GB:.1f}" for name, size in found.parts.items() if size >= _GB / 20)
    needs = f" By the estimate it needs {found.total / _GB:.1f} GB on each of {devices}" + (
        f": {parts}." if parts else "."
    )
    advice = [f"{each.overrides}: saves {each.saves / _GB:.1f} GB; {each.note}" for each in possible[:_CHANGES]]
    return needs, (advice + list(_ALWAYS))[:_CHANGES]


def kills(events: Path = _CGROUP) -> int:
    """How many processes of this container the kernel has killed since memory ran out."""
    try:
        lines = events.read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))
