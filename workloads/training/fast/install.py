"""Puts a level on a model, or the next lower one that the model allows, and says why."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask
from transformers.modeling_outputs import CausalLMOutputWithPast

from workloads.training.fast.attention import Documents, attend
from workloads.training.fast.head import loss_of, loss_of_logits
from workloads.training.fast.lora_linear import replace_linears
from workloads.training_config.levels import Level, Refusal

ATTENTION = "documents"
"""The name under which transformers knows the attention over flat rows."""

_KNOWN_LAYERS = {"full_attention", "sliding_attention"}
_PLAIN_HEADS = {"llama", "mistral", "qwen2", "qwen3", "qwen2_moe", "qwen3_moe", "phi3", "olmo2", "smollm3"}
"""Model types whose logits are the head of the last hidden states and no more (modeling_*.py, transformers 5.5)."""

_in_flat_row: ContextVar[bool] = ContextVar("in_flat_row", default=False)


@dataclass(frozen=True, slots=True)
class Installed:
    """What a model was given."""

    level: Level
    refused: tuple[Refusal, ...] = ()


def install(model: Any, level: Level, *, lean: bool = True) -> Installed:
    """Changes a model in place.

    Args:
        model: a causal language model of transformers, or peft's around it, on its device and ready to train.
        level: the highest level to try.
        lean: at the level ``layer``, compute norms and gates again in the backward pass instead of keeping them.
    """
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    if level == Level.PLAIN:
        return Installed(level)
    if (reason := why_not_flat(causal)) is not None:
        return Installed(Level.PLAIN, (Refusal(Level.FLAT, reason),))
    make_flat(causal)
    if level == Level.FLAT:
        return Installed(level)
    refused = []
    if level == Level.LAYER:
        from workloads.training.fast import layer

        if (reason := layer.refuse(model)) is None:
            replace_linears(model)  # for what lies outside of the layers, and for evaluation
            layer.replace_layers(model, lean=lean)
            return Installed(Level.LAYER)
        refused.append(Refusal(Level.LAYER, reason))
    replaced, kept = replace_linears(model)
    for reason, count in kept.items():
        refused.append(Refusal(Level.LORA, f"{count} of {replaced + kept.total()} layers stay as they are: {reason}"))
    if replaced == 0 and not kept:
        refused.append(Refusal(Level.LORA, "there is no LoRA linear layer"))
    return Installed(Level.LORA if replaced else Level.FLAT, tuple(refused))


def why_not_flat(causal: Any) -> str | None:
    """Why a model cannot be trained on flat rows; None when it can."""
    config = causal.config
    name = type(causal).__name__
    others = set(getattr(config, "layer_types", None) or ()) - _KNOWN_LAYERS
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    if hasattr(config, "vision_config") or hasattr(config, "audio_config"):
        return f"{name} reads more than text"
    if config.is_encoder_decoder or not causal._supports_attention_backend:
        return f"{name} does not take its attention from transformers' AttentionInterface"
    if others:
        return f"{name} has layers of the kind {', '.join(sorted(others))}, which carry state across documents"
    if getattr(config, "attn_logit_softcapping", None) is not None or hasattr(config, "swiglu_limit"):
        return f"{name} changes the products of queries and keys in a way that flash attention in torch does not know"
    if config._attn_implementation != "sdpa":
        return f"attention is {config._attn_implementation}: set flash_attn: auto"
    if getattr(config, "attention_dropout", 0.0):
        return "attention has dropout (attention_dropout)"
    if width % 8 or width > 256:
        return f"its heads are {width} wide; torch's flash attention takes multiples of 8 up to 256"
    return None


def make_flat(causal: Any) -> None:
    """Lets a model take ``documents`` in its forward, with a loss on what is learnt."""
    AttentionInterface.register(ATTENTION, _attention)
    AttentionMaskInterface.register(ATTENTION, _mask)
    causal.config._attn_implementation = ATTENTION
    decoder, plain = causal.base_model, causal.forward
    plain_decoder = decoder.forward
    plain_head = causal.config.model_type in _PLAIN_HEADS

    def decode(_self: Any, *args: Any, **named: Any) -> Any:
        if named.get("documents") is None:
            return plain_decoder(*args, **named)
        with _flat_row():
            return plain_decoder(*args, **named)

    def learn(
        self: Any,
        *args: Any,
        labels: Tensor | None = None,
        documents: Documents | None = None,
        num_items_in_batch: Tensor | int | None = None,
        **named: Any,
    ) -> Any:
        if documents is None:
            counted = {} if num_items_in_batch is None else {"num_items_in_batch": num_items_in_batch}
            return plain(*args, labels=labels, **counted, **named)
        named |= {"documents": documents, "use_cache": False}
        if plain_head:
            hidden = self.base_model(*args, **named)[0]
            loss = loss_of(hidden, self.get_output_embeddings(), documents, num_items_in_batch)
        else:
            logits = plain(*args, logits_to_keep=documents.rows, **named).logits
            loss = loss_of_logits(logits[0], documents, num_items_in_batch)
        return CausalLMOutputWithPast(loss=loss)

    decoder.forward, causal.forward = MethodType(decode, decoder), MethodType(learn, causal)


@contextmanager
def _flat_row() -> Iterator[None]:
    token = _in_flat_row.set(True)
    try:
        yield
    finally:
        _in_flat_row.reset(token)


def _mask(*args: Any, **named: Any) -> Any:
    """No mask for a flat row; transformers' own for any other."""
    return None if _in_flat_row.get() else sdpa_mask(*args, **named)


def _attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    documents: Documents | None = None,
    sliding_window: int | None = None,
    **named: Any,
) -> tuple[Tensor, None]:
    """Attention as transformers calls it: tensors are batch x heads x tokens x width."""
    if documents is None:
        if _in_flat_row.get():
            raise RuntimeError(f"{type(module).__name__} does not hand on where documents begin: set preset: none")
        found: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **named
        )
        return found
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    device = query.device.type
    kind = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else query.dtype
    rows = [each[0].transpose(0, 1).to(kind) for each in (query, key, value)]
    return attend(*rows, documents, scaling, sliding_window)[None], None  # type: ignore[call-arg]
