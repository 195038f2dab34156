"""A LoRA linear layer as one autograd node: ``y = x W' + bias + s (x A') B'``.

Plain peft keeps several copies of the input for the backward pass (one in fp32, where adapters are), and adds up in
as many steps as there are terms. Here the input is kept once, in the type that is computed in, and ``x A'``, which is
as wide as the rank. A frozen base weight gets no gradient, and a quantized one is dequantized again when it is needed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from types import MethodType
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from torch.nn.functional import linear

Weight = Callable[[torch.dtype], Tensor]
"""Gives a frozen weight, out x in, in a type."""


class LoraLinear(torch.autograd.Function):  # type: ignore[misc]  # torch is not followed by mypy
    """The node. Its arithmetic is in autocast's type where that is on, else in the input's."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, dropped: Tensor | None, weight: Weight, bias: Tensor | None, a: Tensor, b: Tensor, s: float
    ) -> Tensor:
        """Computes the layer.

        Args:
            ctx: autograd's.
            x: ... x in.
            dropped: ``x`` after dropout, for the adapter; None without dropout.
            weight: of the base.
            bias: of the base; may be trained.
            a: rank x in.
            b: out x rank.
            s: the scaling of the adapter.
        """
        device = x.device.type
        kind = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
        with torch.autocast(device, enabled=False):
            rows = x.reshape(-1, x.shape[-1]).to(kind)
            seen = rows if dropped is None else dropped.reshape(rows.shape).to(kind)
            narrow = seen @ a.to(kind).T
            y = linear(rows, weight(kind), None if bias is None else bias.to(kind))
            y = y.addmm_(narrow, b.to(kind).T, alpha=s)
        ctx.save_for_backward(seen, narrow, a, b)
        ctx.weight, ctx.s, ctx.bias_kind = weight, s, None if bias is None else bias.dtype
        ctx.x_kind, ctx.dropped_kind = x.dtype, None if dropped is None else dropped.dtype
        return y.view(*x.shape[:-1], y.shape[-1])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        """The gradients of input, bias and adapter."""
        seen, narrow, a, b = ctx.saved_tensors
        kind = seen.dtype
        with torch.autocast(grad.device.type, enabled=False):
            rows = grad.reshape(-1, grad.shape[-1]).to(kind)
            thin = rows @ b.to(kind)
            da = (ctx.s * (thin.T @ seen)).to(a.dtype) if ctx.needs_input_grad[4] else None
            db = (ctx.s * (rows.T @ narrow)).to(b.dtype) if ctx.needs_input_grad[5] else None
            dbias = rows.sum(0, dtype=torch.float32).to(ctx.bias_kind) if ctx.needs_input_grad[3] else None
            dx = rows @ ctx.weight(kind) if ctx.needs_input_grad[0] else None
            ddropped = None
            if ctx.dropped_kind is None:
                dx = None if dx is None else dx.addmm_(thin, a.to(kind), alpha=ctx.s)
            elif ctx.needs_input_grad[1]:
                ddropped = (ctx.s * (thin @ a.to(kind))).to(ctx.dropped_kind)
        shape = (*grad.shape[:-1], a.shape[1])
        dx = None if dx is None else dx.view(shape).to(ctx.x_kind)
        return dx, None if ddropped is None else ddropped.view(shape), None, dbias, da, db, None


def replace_linears(model: nn.Module) -> tuple[int, Counter[str]]:
    """Gives the LoRA linears of a model this forward; their parameters and names stay, so checkpoints do too.

    Returns:
        how many have it now, and of those that keep peft's own how many for which reason.
    """
    replaced, kept = 0, Counter[str]()
    for module in model.modules():
        if not isinstance(module, LoraLayer):
            continue
        reason = why_not(module)
        if reason is None:
            module.forward = MethodType(_forward_of(module), module)
            replaced += 1
        else:
            kept[reason] += 1
    return replaced, kept


def why_not(module: Any) -> str | None:
    """Why a LoRA layer keeps peft's forward; None when it need not."""
    base = module.get_base_layer()
    active = [name for name in module.active_adapters if name in module.lora_A]
    if not isinstance(base, nn.Linear):
        return f"a LoRA on {type(base).__name__} is not a linear layer"
    if len(active) != 1:
        return f"{len(active)} adapters are active on a layer, not one"
    name = active[0]
    if module.lora_variant.get(name) is not None:
        return "DoRA, or another variant of LoRA, computes with the norm of the whole weight"
    if module.lora_bias.get(name):
        return "the adapter has a bias (lora_bias)"
    if getattr(module, "fan_in_fan_out", False):
        return "the weight lies transposed (fan_in_fan_out)"
    if base.weight.requires_grad:
        return "the base weight is trained too"
    if type(base) is nn.Linear or _is_4bit(base):
        return None
    return f"the base computes in a way of its own ({type(base).__name__})"


def _forward_of(module: Any) -> Callable[..., Tensor]:
    plain = module.forward
    [name] = [name for name in module.active_adapters if name in module.lora_A]
    base = module.get_base_layer()
    weight = _weight_of(base)

    def forward(self: Any, x: Tensor, *args: Any, **named: Any) -> Tensor:
        if args or named or self.disable_adapters or self.merged or self.active_adapters != [name]:
            out: Tensor = plain(x, *args, **named)
            return out
        dropout = self.lora_dropout[name]
        dropped = dropout(x) if self.training and not isinstance(dropout, nn.Identity) else None
        a, b = self.lora_A[name].weight, self.lora_B[name].weight
        y: Tensor = LoraLinear.apply(x, dropped, weight, base.bias, a, b, self.scaling[name])
        return y

    return forward


def _is_4bit(base: nn.Module) -> bool:
    """Whether bitsandbytes holds a layer's weight in 4 bits, packed into whatever type."""
    return type(base).__name__ == "Linear4bit"


def _weight_of(base: Any) -> Weight:
    if not _is_4bit(base):
        return lambda kind: base.weight.to(kind)

    from bitsandbytes.functional import dequantize_4bit

    def dequantized(kind: torch.dtype) -> Tensor:
        weight: Tensor = dequantize_4bit(base.weight.data, base.weight.quant_state)
        return weight.to(kind)

    return dequantized
