"""The levels of a fast training step, and which of them a training config and a model's config.json allow.

What is refused here is known before anything is loaded. The model itself, when it is there, may refuse more:
``workloads.training.fast.install``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any


class Level(IntEnum):
    """How much of a training step is tunery's; each contains the one before. See ``workloads.training.fast``."""

    PLAIN = 0
    FLAT = 1
    LORA = 2
    LAYER = 3


@dataclass(frozen=True, slots=True)
class Refusal:
    """A level that a model or a training config does not allow, wholly or for a part of it, and why."""

    level: Level
    reason: str


_LAYER_FAMILIES = ("llama", "mistral", "qwen2", "qwen3")
_ATTENTIONS = ("full_attention", "sliding_attention")
_WIDEST_HEAD = 256  # of torch's flash attention


def refusals(training: Mapping[str, Any], model_config: Mapping[str, Any]) -> tuple[Refusal, ...]:
    """One reason for each level that is refused, from the lowest; with it all higher ones are, too.

    Args:
        training: the training config.
        model_config: the base model's parsed config.json.
    """
    found = []
    for level, reasons in ((Level.FLAT, _flat), (Level.LORA, _lora), (Level.LAYER, _layer)):
        reason = next(reasons(training, model_config), None)
        if reason is not None:
            found.append(Refusal(level, reason))
    return tuple(found)


def highest(refused: tuple[Refusal, ...]) -> Level:
    """The highest level below the lowest that is refused."""
    return Level(min((each.level for each in refused), default=Level.LAYER + 1) - 1)


def _flat(training: Mapping[str, Any], model: Mapping[str, Any]) -> Iterator[str]:
    if training.get("stage", "sft") != "sft":
        yield f"stage {training['stage']}: only supervised fine-tuning (sft) has flat batches"
    for key in ("deepspeed", "fsdp", "label_smoothing_factor", "neftune_noise_alpha", "fp8", "torch_compile"):
        if training.get(key):
            yield _WHY[key]
    for key in ("use_dft_loss", "use_eaft_loss", "use_asft_loss"):
        if training.get(key):
            yield f"{key}: the loss looks at every token's logits"
    for key in ("use_unsloth", "use_kt", "shift_attn", "mixture_of_depths", "use_badam"):
        if training.get(key):
            yield f"{key} changes the model or the trainer itself"
    if training.get("flash_attn") in ("disabled", "fa3"):
        yield f"flash_attn: {training['flash_attn']} names another attention"
    if "vision_config" in model or "audio_config" in model:
        yield "the model reads more than text"
    others = sorted(set(model.get("layer_types") or ()) - set(_ATTENTIONS))
    if others:
        yield f"layers of the kind {', '.join(others)} carry state from one document to the next"
    if model.get("attn_logit_softcapping"):
        yield "attn_logit_softcapping: torch's flash attention does not know it"
    if model.get("attention_dropout"):
        yield "attention_dropout: attention over flat rows has none"
    width = _head_width(model)
    if width % 8 or width > _WIDEST_HEAD:
        yield f"heads are {width} wide; torch's flash attention takes multiples of 8 up to {_WIDEST_HEAD}"


_WHY = {
    "deepspeed": "deepspeed: it is not shown that its engines learn the same on flat rows",
    "fsdp": "fsdp: a part of each weight lies in every process",
    "label_smoothing_factor": "label_smoothing_factor: the loss looks at every token's logits",
    "neftune_noise_alpha": "neftune_noise_alpha: the noise depends on the length of a row",
    "fp8": "fp8: its linear layers are of another kind",
    "torch_compile": "torch_compile: the model is compiled for rows of one length",
}


def _lora(training: Mapping[str, Any], model: Mapping[str, Any]) -> Iterator[str]:
    kind = training.get("finetuning_type", "lora")
    if kind != "lora":
        yield f"finetuning_type: {kind} has no LoRA linear layers"
    if training.get("use_dora"):
        yield "use_dora: DoRA computes with the norm of the whole weight"
    if training.get("quantization_bit") not in (None, 4):
        yield f"quantization_bit: {training['quantization_bit']} computes in a way of its own"
    if training.get("quantization_bit") and training.get("quantization_method", "bnb") != "bnb":
        yield f"quantization_method: {training['quantization_method']} computes in a way of its own"
    if isinstance(model.get("quantization_config"), Mapping):
        yield "the base model is quantized already"


def _layer(training: Mapping[str, Any], model: Mapping[str, Any]) -> Iterator[str]:
    family = str(model.get("model_type"))
    if family not in _LAYER_FAMILIES:
        yield f"{family} is not one of {', '.join(_LAYER_FAMILIES)}"
    if training.get("lora_dropout"):
        yield f"lora_dropout: {training['lora_dropout']}: the kernels have none"
    if training.get("quantization_bit"):
        yield "quantization_bit: the kernels take whole weights"
    if training.get("upcast_layernorm"):
        yield "upcast_layernorm: the kernels' weights are of one type"
    if model.get("attention_bias") and family != "qwen2":
        yield "attention_bias: o_proj has a bias"
    if model.get("mlp_bias"):
        yield "mlp_bias: down_proj has a bias"
    if model.get("hidden_act", "silu") != "silu":
        yield f"hidden_act: {model['hidden_act']}: the kernels know silu"


def _head_width(model: Mapping[str, Any]) -> int:
    return int(model.get("head_dim") or int(model.get("hidden_size", 0)) // int(model.get("num_attention_heads", 1)))
