"""The families of models whose decoder layer is known, and why a layer of theirs cannot be replaced."""

from __future__ import annotations

from typing import Any

from torch import nn

FAMILIES = ("Llama", "Mistral", "Qwen2", "Qwen3")
_PROJECTIONS = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
                "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")  # fmt: skip
_NORMS = ("input_layernorm", "post_attention_layernorm", "self_attn.q_norm", "self_attn.k_norm")


def decoder_layers(model: nn.Module) -> list[nn.Module]:
    """The decoder layers of a model, under whatever wraps it; empty where their family is not known."""
    names = {f"{family}DecoderLayer" for family in FAMILIES}
    return [module for module in model.modules() if type(module).__name__ in names]


def refuse_layer(layer: nn.Module) -> str | None:
    """Why a decoder layer cannot be replaced, or None."""
    family = type(layer).__name__.removesuffix("DecoderLayer")
    attention: Any = layer.self_attn
    mlp: Any = layer.mlp
    config = attention.config
    if type(attention).__name__ != f"{family}Attention":
        return f"its attention is a {type(attention).__name__}"
    if type(mlp).__name__ not in (f"{family}MLP", "LigerSwiGLUMLP") or config.hidden_act != "silu":
        return f"its feed-forward part is a {type(mlp).__name__} with {config.hidden_act}"
    if attention.attention_dropout:
        return f"attention_dropout is {attention.attention_dropout}"
    if attention.head_dim % 8 or attention.head_dim > 256:
        return f"flash attention has no kernel for heads of {attention.head_dim}"
    if (config.rope_parameters or {}).get("partial_rotary_factor", 1.0) != 1.0:
        return "only a part of each head is rotated"
    trained: set[int] = set()
    for name in _PROJECTIONS:
        reason = _refuse_projection(layer.get_submodule(name), trained)
        if reason:
            return f"{name.rpartition('.')[2]}: {reason}"
    return _refuse_rest(layer, family, trained)


def window(attention: Any) -> int | None:
    """How many tokens back an attention module sees; None: all. Mistral keeps it in the config, Qwen in the module."""
    if hasattr(attention, "sliding_window"):
        found: int | None = attention.sliding_window
        return found
    return getattr(attention.config, "sliding_window", None) if "Mistral" in type(attention).__name__ else None


def active_adapters(module: Any) -> list[str]:
    """The adapters that a linear layer adds to its base; none where it is no LoRA layer."""
    return [name for name in getattr(module, "active_adapters", ()) if name in module.lora_A]


def _refuse_projection(module: Any, trained: set[int]) -> str | None:
    """Why a projection cannot be computed by hand; adds the ids of its trained parameters to `trained`."""
    from peft.tuners.lora import Linear as LoraLinear

    if type(module) is nn.Linear:
        base = module
    elif type(module) is LoraLinear:
        reason = _refuse_lora(module)
        if reason:
            return reason
        base = module.get_base_layer()
        trained.update(
            id(factors[name].weight) for name in active_adapters(module) for factors in (module.lora_A, module.lora_B)
        )
    else:
        return f"a {type(module).__module__}.{type(module).__name__} is not known"
    if type(base) is not nn.Linear:
        return f"the base is a {type(base).__name__}, not a plain linear layer (a quantized base?)"
    if hasattr(base.weight, "ds_id"):
        return "its weight is sharded by DeepSpeed ZeRO-3"
    if not base.weight.is_floating_point() or base.weight.is_meta:
        return f"its weight is {base.weight.dtype} on {base.weight.device}"
    return None


def _refuse_lora(module: Any) -> str | None:
    names = active_adapters(module)
    if module.merged:
        return "its LoRA adapter is merged"
    if module.disable_adapters:
        return "its LoRA adapter is disabled"
    if len(names) > 1:
        return f"{len(names)} LoRA adapters are active at once"
    if not names:
        return None
    name = names[0]
    if name in module.lora_variant or module.use_dora.get(name):
        return "DoRA and other LoRA variants need the whole weight"
    if getattr(module.lora_dropout[name], "p", 0.0):
        return f"lora_dropout is {module.lora_dropout[name].p}"
    if module.lora_B[name].bias is not None:
        return "LoRA has a bias"
    if module.fan_in_fan_out:
        return "its weight is transposed"
    return None


def _refuse_rest(layer: nn.Module, family: str, trained: set[int]) -> str | None:
    for name in ("self_attn.o_proj", "mlp.down_proj"):
        module: Any = layer.get_submodule(name)
        if getattr(module, "base_layer", module).bias is not None:
            return f"{name.rpartition('.')[2]} has a bias"
    for name in _NORMS:
        parent, _, leaf = name.rpartition(".")
        norm: Any = getattr(layer.get_submodule(parent), leaf, None)
        if norm is None:
            continue
        if type(norm).__name__ not in (f"{family}RMSNorm", "LigerRMSNorm") or getattr(norm, "offset", False):
            return f"{leaf} is a {type(norm).__name__}"
    dtypes = {p.dtype for p in layer.parameters() if id(p) not in trained and p.ndim == 2}
    if len(dtypes) != 1:
        return f"its weights are of several types: {', '.join(sorted(map(str, dtypes)))}"
    for name, parameter in layer.named_parameters():
        if parameter.requires_grad != (id(parameter) in trained):
            return f"{name} is {'trained' if parameter.requires_grad else 'not trained'}"
    for name, module in layer.named_modules():
        if name and (module._forward_hooks or module._forward_pre_hooks or hasattr(module, "_hf_hook")):
            return f"{name} has forward hooks, which would not run"
    return None
