"""Which accelerators hold a training, and what to change when they do not; every number is an estimate made again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from workloads.training_config.accelerators import ACCELERATORS, Accelerator
from workloads.training_config.memory_estimate import GB, Estimate, estimate

COUNTS = (1, 2, 4, 8)
"""How many accelerators one machine can have."""
_WORTH_IT = GB // 10
_SHORTEST = 512  # tokens; below it a shorter cutoff changes what can be learnt more than what fits
_ZERO3 = {"zero_optimization": {"stage": 3}}


@dataclass(frozen=True, slots=True)
class Fit:
    """How a training stands to one kind of accelerator.

    Attributes:
        count: the fewest that hold it, or None.
        needs: bytes that each of them needs; without a count, what one needs when 8 share the training.
        obstacle: why it cannot run there at all, or None.
    """

    accelerator: Accelerator
    count: int | None
    needs: int
    obstacle: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``: bytes."""
        return {
            "accelerator": self.accelerator.name,
            "memory": self.accelerator.bytes,
            "machine": self.accelerator.machine,
            "count": self.count,
            "needs": self.needs,
            "obstacle": self.obstacle,
        }


@dataclass(frozen=True, slots=True)
class Change:
    """Something to set otherwise, and what that alone saves on one accelerator, in bytes.

    Attributes:
        keys: the training config's keys and new values.
        note: what it costs.
        devices: how many accelerators it needs.
    """

    keys: Mapping[str, Any]
    note: str
    saves: int
    devices: int = 1

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {"keys": dict(self.keys), "note": self.note, "saves": self.saves, "devices": self.devices}

    @property
    def overrides(self) -> str:
        """The change as it is written on the command line."""
        return " ".join(f"{key}={_written(key, value)}" for key, value in self.keys.items())


def fits(
    training: Mapping[str, Any],
    model_config: Mapping[str, Any],
    *,
    parameters: int | None = None,
    accelerators: tuple[Accelerator, ...] = ACCELERATORS,
) -> list[Fit]:
    """How the training stands to each accelerator, in the order given. Raises InputError as :func:`estimate` does."""
    each = {n: estimate(training, model_config, parameters=parameters, devices=n).total for n in COUNTS}
    found = []
    for accelerator in accelerators:
        count = next((n for n, needs in each.items() if needs <= accelerator.bytes), None)
        obstacle = None
        if not accelerator.bf16 and (training.get("bf16") or training.get("pure_bf16")):
            obstacle = "computes no bf16: set fp16=true and bf16=false"
        found.append(Fit(accelerator, None if obstacle else count, each[count or COUNTS[-1]], obstacle))
    return found


def changes(
    training: Mapping[str, Any], model_config: Mapping[str, Any], *, parameters: int | None = None
) -> list[Change]:
    """What can be changed, most saving first; changes that save less than 0.1 GB are left out."""
    start = estimate(training, model_config, parameters=parameters).total
    found = []
    for keys, note, devices in _candidates(training):
        after = {**training, **keys}
        saves = start - estimate(after, model_config, parameters=parameters, devices=devices).total
        if saves >= _WORTH_IT:
            found.append(Change(keys, note, saves, devices))
    return sorted(found, key=lambda change: -change.saves)


def way_to_fit(
    training: Mapping[str, Any],
    model_config: Mapping[str, Any],
    accelerator: Accelerator,
    *,
    parameters: int | None = None,
) -> tuple[list[Change], Estimate] | None:
    """Changes that together make the training fit on one accelerator, the mildest first; None when all do not.

    Each change says what it saves after those before it.
    """
    chosen: list[Change] = []
    now = estimate(training, model_config, parameters=parameters)
    while now.total > accelerator.bytes:
        for keys, note, devices in _candidates(training):
            after = {**training, **keys}
            made = estimate(after, model_config, parameters=parameters)
            if devices == 1 and now.total - made.total >= _WORTH_IT:
                chosen.append(Change(keys, note, now.total - made.total))
                training, now = after, made
                break
        else:
            return None
    return chosen, now


def _candidates(training: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], str, int]]:
    """Keys, what they cost, and devices; those that leave the result as it is come first."""
    method, stage = training.get("finetuning_type", "lora"), training.get("stage", "sft")
    batch = int(training.get("per_device_train_batch_size") or 8)
    steps = int(training.get("gradient_accumulation_steps") or 1)
    cutoff = int(training.get("cutoff_len") or 2048)
    half = training.get("bf16") or training.get("fp16") or training.get("pure_bf16")
    split = training.get("deepspeed") or training.get("fsdp")
    if training.get("disable_gradient_checkpointing"):
        yield {"disable_gradient_checkpointing": False}, "a step takes about a third longer", 1
    if training.get("flash_attn") == "disabled":
        yield {"flash_attn": "sdpa"}, "the same result, faster", 1
    if not training.get("enable_liger_kernel") and stage in ("sft", "pt"):
        yield {"enable_liger_kernel": True}, "the same result, faster; needs the package liger-kernel", 1
    if batch > 1:
        smaller = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": steps * batch}
        yield smaller, "the same result; short rows train slower", 1
    if not half:
        yield {"bf16": True}, "16-bit arithmetic; not on a T4", 1
    if method in ("full", "freeze") and not _is_8bit(training):
        yield {"optim": "adamw_8bit"}, "the optimizer keeps 8 bits; needs the package bitsandbytes", 1
    if method == "full" and not training.get("pure_bf16") and not split:
        pure = {"pure_bf16": True, "bf16": False, "fp16": False}
        yield pure, "weights are trained in 16 bits: less exact; not on a T4", 1
    if cutoff > _SHORTEST:
        yield {"cutoff_len": max(_SHORTEST, cutoff // 2)}, "longer rows are cut", 1
    if method == "full":
        precision = {"pure_bf16": False, "bf16": True} if training.get("pure_bf16") else {}
        yield {"finetuning_type": "lora", **precision}, "trains an adapter, not every weight", 1
    if method == "lora" and not training.get("quantization_bit") and not split:
        yield {"quantization_bit": 4}, "the base model in 4 bits: slower, slightly worse", 1
    if not split and not training.get("quantization_bit"):
        for devices in COUNTS[1:]:
            yield {"deepspeed": _ZERO3}, f"ZeRO-3 over {devices} accelerators", devices


def _is_8bit(training: Mapping[str, Any]) -> bool:
    return "8bit" in str(training.get("optim", ""))


def _written(key: str, value: Any) -> str:
    if key == "deepspeed":
        return "configs/deepspeed/zero3.json"
    return str(value).lower() if isinstance(value, bool) else str(value)
