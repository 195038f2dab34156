"""What of a training config decides its memory, read once, with LLaMA-Factory's own defaults."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workloads.errors import InputError
from workloads.training_config.model_shape import ModelShape

_STATES = {"lion": 1, "rmsprop": 1, "adagrad": 1, "sgd": 0, "adafactor": 0}
"""Numbers that an optimizer keeps for each trained parameter; Adam and all others keep two. Adafactor keeps rows and
columns only, which is next to nothing."""


@dataclass(frozen=True, slots=True)
class Zero:
    """How DeepSpeed's ZeRO, or FSDP, splits a training over the accelerators; ``stage`` 0 splits nothing."""

    stage: int = 0
    offload_optimizer: bool = False
    offload_weights: bool = False


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """The settings of a training that decide its memory.

    Attributes:
        method: ``lora`` (OFT counts as LoRA), ``freeze`` or ``full``.
        mixed: whether trained weights are fp32 and the arithmetic is 16 bits.
        compute_bytes: bytes of one activation.
        trained_bytes: bytes of one trained weight.
        sequences: sequences that one forward pass of one accelerator holds.
        tokens: the longest sequence.
        masked: whether attention gets a mask, for which it repeats keys and values for every head.
        eager: whether attention keeps its square of scores.
    """

    stage: str
    method: str
    mixed: bool
    compute_bytes: int
    trained_bytes: int
    base_bytes: float
    quantization_bit: int | None
    optimizer_bytes: float
    sequences: int
    tokens: int
    masked: bool
    eager: bool
    liger: bool
    checkpointing: bool
    reference_model: bool
    zero: Zero

    @classmethod
    def read(cls, training: Mapping[str, Any], shape: ModelShape) -> TrainingPlan:
        """Raises InputError for values that are no numbers, and for a DeepSpeed file that cannot be read."""
        stage, method = str(training.get("stage", "sft")), str(training.get("finetuning_type", "lora"))
        method = "lora" if method == "oft" else method
        pure = bool(training.get("pure_bf16"))
        half = pure or bool(training.get("bf16") or training.get("fp16"))
        base = 2 if half else shape.weight_bytes
        zero = _zero(training)
        batch, bits = whole_number(training, "per_device_train_batch_size", 8), training.get("quantization_bit")
        attention, loss = str(training.get("flash_attn", "auto")), str(training.get("pref_loss", "sigmoid"))
        packed = bool(training.get("packing")) and not training.get("neat_packing")
        trained = 2 if pure or (zero.stage and half) else 4
        return cls(
            stage=stage,
            method=method,
            mixed=half and not pure,
            compute_bytes=2 if half else shape.weight_bytes,
            trained_bytes=trained,
            base_bytes=base,
            quantization_bit=None if bits is None else whole_number(training, "quantization_bit", 4),
            optimizer_bytes=_optimizer_bytes(training, pure) + (4 if zero.stage and half and not pure else 0),
            sequences=batch * (2 if stage in ("dpo", "rm") else 1),
            tokens=whole_number(training, "cutoff_len", 2048),
            masked=attention != "fa2" and stage != "pt" and not packed,
            eager=attention == "disabled",
            liger=bool(training.get("enable_liger_kernel")),
            checkpointing=not training.get("disable_gradient_checkpointing"),
            reference_model=method != "lora" and (stage == "kto" or (stage == "dpo" and loss not in ("orpo", "simpo"))),
            zero=zero,
        )


def whole_number(training: Mapping[str, Any], key: str, default: int) -> int:
    """The positive whole number at ``key``.

    Raises:
        InputError: it is something else.
    """
    value = training.get(key)
    if value is None:
        return default
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    raise InputError.of(
        f"{key} is {value!r}, not a positive whole number.", f"write for example {key}: {default}", key=key
    )


def _optimizer_bytes(training: Mapping[str, Any], pure: bool) -> float:
    name = str(training.get("optim", "adamw_torch"))
    states = next((count for part, count in _STATES.items() if part in name), 2)
    if "8bit" in name:
        return states * 1.0
    if "4bit" in name:
        return states * 0.5
    return states * (2 if pure else 4)


def _zero(training: Mapping[str, Any]) -> Zero:
    if "full_shard" in str(training.get("fsdp") or ""):
        return Zero(3, "offload" in str(training["fsdp"]), "offload" in str(training["fsdp"]))
    value = training.get("deepspeed")
    if value is None:
        return Zero()
    part = (value if isinstance(value, Mapping) else _read(str(value))).get("zero_optimization")
    if not isinstance(part, Mapping):
        return Zero()
    stage = int(part.get("stage", 0))
    weights = part.get("offload_param")
    optimizer = part.get("offload_optimizer")
    return Zero(stage, _to_cpu(optimizer), stage == 3 and _to_cpu(weights))


def _to_cpu(part: Any) -> bool:
    return isinstance(part, Mapping) and part.get("device", "none") != "none"


def _read(text: str) -> Mapping[str, Any]:
    try:
        value = json.loads(text if text.startswith("{") else Path(text).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError.of(
            f"DeepSpeed's file {text} cannot be read: {error}.", "correct the path", key="deepspeed"
        ) from None
    return value if isinstance(value, dict) else {}
