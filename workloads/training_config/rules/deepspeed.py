"""Rules about DeepSpeed; its stage is read from the config that ``deepspeed`` names."""

from __future__ import annotations

from workloads.training_config.rules import Rule
from workloads.training_config.settings import Settings


def _without_zero3(key: str, name: str) -> Rule:
    return Rule(
        key,
        lambda s: bool(s[key]) and s.zero_stage == 3,
        f"{name} does not work with DeepSpeed ZeRO-3.",
        f"name a ZeRO-2 config in deepspeed, or remove {key}",
        "zero3",
    )


def _unpartitionable_bits(s: Settings) -> bool:
    return s.zero_stage == 3 and (
        s["quantization_method"] in ("hqq", "eetq")
        or (s["quantization_method"] == "bnb" and s["quantization_bit"] != 4)
    )


DEEPSPEED_RULES = (
    _without_zero3("use_unsloth", "Unsloth"),
    _without_zero3("pure_bf16", "pure_bf16"),
    _without_zero3("predict_with_generate", "predict_with_generate"),
    _without_zero3("use_kt", "KTransformers"),
    _without_zero3("pissa_init", "PiSSA"),
    Rule(
        "quantization_bit",
        lambda s: s["quantization_bit"] is not None and _unpartitionable_bits(s),
        "With DeepSpeed ZeRO-3 only 4-bit bitsandbytes quantization works.",
        "set quantization_bit: 4 and quantization_method: bnb, or name a ZeRO-2 config",
        "zero3",
    ),
    Rule(
        "deepspeed",
        lambda s: bool(s["deepspeed"]) and s.any_of(("use_galore", "use_apollo")),
        "GaLore and APOLLO do not work with DeepSpeed.",
        "remove deepspeed, or turn them off",
    ),
    Rule(
        "badam_mode",
        lambda s: bool(s["deepspeed"]) and s["use_badam"] and s["badam_mode"] == "ratio",
        "Ratio-wise BAdam does not train on several processes, and DeepSpeed does.",
        "set badam_mode: layer",
    ),
    Rule(
        "use_badam",
        lambda s: bool(s["deepspeed"]) and s["use_badam"] and s["badam_mode"] == "layer" and s.zero_stage != 3,
        "Layer-wise BAdam on several processes needs DeepSpeed ZeRO-3.",
        "name a ZeRO-3 config in deepspeed",
    ),
)
