"""A decoder layer of the Llama, Mistral, Qwen2 and Qwen3 families as one autograd node.

    norm -> q, k, v -> norm of each head (Qwen3) -> rotation -> attention -> o + residual
         -> norm -> gate, up -> silu(gate) up -> down + residual

Gradients go to the layer's input and to the LoRA factors; everything else is frozen, so nothing is kept for it. Each
projection is one matrix product with its LoRA delta and its residual inside (:mod:`packed`); the parts between are one
kernel each (:mod:`kernels` on a GPU, :mod:`reference` elsewhere).
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from workloads.training.fast import layer_attention, reference
from workloads.training.fast.attention import Documents
from workloads.training.fast.families import FAMILIES, active_adapters, decoder_layers, refuse_layer, window
from workloads.training.fast.packed import Factors, Lora, Projection
from workloads.training.fast.reference import HeadNorm


def refuse(model: nn.Module) -> str | None:
    """Why the layers of a model cannot be replaced, naming the first one that cannot; None if all can."""
    layers = decoder_layers(model)
    if not layers:
        return f"no decoder layer of {', '.join(FAMILIES)} was found in {type(model).__name__}"
    for number, layer in enumerate(layers):
        reason = refuse_layer(layer)
        if reason:
            return f"decoder layer {number}: {reason}"
    if not any(parameter.requires_grad for layer in layers for parameter in layer.parameters()):
        return "no decoder layer has a LoRA adapter that is trained"
    return None


def replace_layers(model: nn.Module, lean: bool = True) -> None:
    """Makes every decoder layer of a model that `refuse` lets pass one autograd node.

    A replaced layer computes by hand when it is given `documents` and its adapter is active; else it does what it did
    before (generation, padded batches, a reference model under `disable_adapter`). Modules, parameters and their names
    stay. The frozen weights move into buffers shared with the LoRA factors, so do this once the model is on its device.

    Args:
        lean: make the rotated heads again in the backward pass. Keeping them takes 2 (heads + kv_heads) head_dim
            bytes a token and layer in bf16. Norms and the gated activation are never kept.
    """
    layers = decoder_layers(model)
    for layer in layers:
        layer.forward = HandWritten(layer, lean)
    if any(parameter.is_cuda for parameter in model.parameters()):
        torch.cuda.empty_cache()  # the weights' former blocks fit no activation


@dataclass(frozen=True, slots=True)
class Parts:
    """What a layer computes with."""

    qkv: Projection
    out: Projection
    gate_up: Projection
    down: Projection
    heads: int
    kv_heads: int
    head_dim: int
    scaling: float
    window: int | None
    lean: bool

    @property
    def projections(self) -> tuple[Projection, Projection, Projection, Projection]:
        return self.qkv, self.out, self.gate_up, self.down


class HandWritten:
    """The forward method of one replaced layer."""

    def __init__(self, layer: nn.Module, lean: bool) -> None:
        self._layer: Any = layer
        self._before = layer.forward
        attention, mlp = self._layer.self_attn, self._layer.mlp
        config = attention.config
        self._parts = Parts(
            qkv=_projection(attention.q_proj, attention.k_proj, attention.v_proj),
            out=_projection(attention.o_proj),
            gate_up=_projection(mlp.gate_proj, mlp.up_proj),
            down=_projection(mlp.down_proj),
            heads=config.num_attention_heads,
            kv_heads=config.num_key_value_heads,
            head_dim=attention.head_dim,
            scaling=attention.scaling,
            window=window(attention),
            lean=lean,
        )
        self._factors = Factors(self._parts.projections)
        self._parameters = [parameter for each in self._parts.projections for parameter in each.parameters]
        modules = [attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj]
        modules += [mlp.gate_proj, mlp.up_proj, mlp.down_proj]
        self._adapted = [(module, active_adapters(module)) for module in modules if hasattr(module, "lora_A")]

    def __call__(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        documents = kwargs.get("documents")
        rotation = kwargs.get("position_embeddings")
        if documents is None or rotation is None or not self._applies(hidden_states, kwargs):
            return self._before(hidden_states, *args, **kwargs)
        self._factors()
        cos, sin = (part[0].contiguous() for part in rotation)
        return _Layer.apply(hidden_states, cos, sin, documents, self._parts, self._norms(), *self._parameters)

    def _applies(self, hidden: Tensor, kwargs: dict[str, Any]) -> bool:
        weight = self._parts.out.bases[0].weight
        if hidden.shape[0] != 1 or hidden.dtype != weight.dtype or hidden.device != weight.device:
            return False
        if kwargs.get("output_attentions") or (kwargs.get("past_key_values") is not None and not self._layer.training):
            return False
        return all(
            not module.disable_adapters and not module.merged and active_adapters(module) == names
            for module, names in self._adapted
        )

    def _norms(self) -> _Norms:
        layer = self._layer
        first, second, attention = layer.input_layernorm, layer.post_attention_layernorm, layer.self_attn
        head = None
        if hasattr(attention, "q_norm"):
            head = HeadNorm(attention.q_norm.weight, attention.k_norm.weight, attention.q_norm.variance_epsilon)
        return _Norms(first.weight, second.weight, first.variance_epsilon, head)


@dataclass(frozen=True, slots=True)
class _Norms:
    first: Tensor
    second: Tensor
    eps: float
    head: HeadNorm | None


class _Layer(torch.autograd.Function):  # type: ignore[misc]  # mypy does not follow torch
    @staticmethod
    def forward(
        ctx: Any,
        hidden_states: Tensor,
        cos: Tensor,
        sin: Tensor,
        documents: Documents,
        parts: Parts,
        norms: _Norms,
        *parameters: Tensor,  # noqa: ARG004  # so that autograd sees them; they are in the buffers
    ) -> Tensor:
        with torch.autocast(hidden_states.device.type, enabled=False):
            ops = _kernels(hidden_states)
            hidden = hidden_states[0]
            rows = hidden.shape[0]
            heads, kv_heads = parts.heads, parts.kv_heads

            buffer = parts.qkv.input_buffer(rows)
            inverse_1 = ops.rms_norm(hidden, norms.first, norms.eps, buffer[:, : parts.qkv.width])
            low_1 = parts.qkv.fill(buffer)
            qkv = parts.qkv.forward(buffer)
            turned = ops.rotate(qkv, cos, sin, heads, kv_heads, norms.head)
            value = qkv.view(rows, -1, parts.head_dim)[:, heads + kv_heads :]
            joined = parts.out.input_buffer(rows)
            kept = layer_attention.forward(
                turned[:, :heads], turned[:, heads:], value, documents, parts.scaling, parts.window,
                joined[:, : parts.out.width].unflatten(1, (heads, -1)),
            )  # fmt: skip
            parts.out.fill(joined)
            middle = parts.out.forward(joined, hidden)

            buffer = parts.gate_up.input_buffer(rows)
            inverse_2 = ops.rms_norm(middle, norms.second, norms.eps, buffer[:, : parts.gate_up.width])
            low_2 = parts.gate_up.fill(buffer)
            gate_up = parts.gate_up.forward(buffer)
            buffer = parts.down.input_buffer(rows)
            low_3 = ops.gated(gate_up, parts.down.a, parts.down.rank, buffer)
            result = parts.down.forward(buffer, middle)

            ctx.documents, ctx.parts, ctx.norms = documents, parts, norms
            ctx.save_for_backward(
                hidden, cos, sin, inverse_1, low_1, qkv, joined, middle, inverse_2, low_2, gate_up, low_3,
                None if parts.lean else turned, *kept,
            )  # fmt: skip
            return result[None]

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        parts, norms, documents = ctx.parts, ctx.norms, ctx.documents
        (hidden, cos, sin, inverse_1, low_1, qkv, joined, middle, inverse_2, low_2, gate_up, low_3,
         turned, *kept) = ctx.saved_tensors  # fmt: skip
        ops = _kernels(hidden)
        rows = hidden.shape[0]
        heads, kv_heads = parts.heads, parts.kv_heads
        with torch.autocast(hidden.device.type, enabled=False):
            last = parts.down.output_buffer(rows)
            last[:, : parts.down.height].copy_(grad_output[0])
            parts.down.backward_hidden(last)
            grad = parts.down.backward_input(last)
            wide = parts.gate_up.output_buffer(rows)
            a_down, b_gate_up = ops.gated_backward(
                grad, gate_up, last[:, parts.down.height :], low_2, (parts.down.rank, parts.gate_up.rank),
                wide[:, : parts.gate_up.height],
            )  # fmt: skip
            grads_down = parts.down.split(a_down, parts.down.grad_b(last, low_3))
            parts.gate_up.backward_hidden(wide)
            grad = parts.gate_up.backward_input(wide)
            a_gate_up = parts.gate_up.grad_a(wide, middle, (inverse_2, norms.second))
            grads_gate_up = parts.gate_up.split(a_gate_up, b_gate_up)
            inner = parts.out.output_buffer(rows)
            residual = last[:, : parts.down.height]
            ops.rms_norm_backward(grad, middle, inverse_2, norms.second, residual, inner[:, : parts.out.height])

            parts.out.backward_hidden(inner)
            grad = parts.out.backward_input(inner)
            attended, low = joined[:, : parts.out.width], joined[:, parts.out.width :]
            grads_out = parts.out.split(parts.out.grad_a(inner, attended), parts.out.grad_b(inner, low))
            if turned is None:
                turned = ops.rotate(qkv, cos, sin, heads, kv_heads, norms.head)
            value = qkv.view(rows, -1, parts.head_dim)[:, heads + kv_heads :]
            grads = layer_attention.backward(
                grad.view(rows, heads, -1), (turned[:, :heads], turned[:, heads:], value),
                attended.unflatten(1, (heads, -1)), tuple(kept), documents, parts.scaling, parts.window,
            )  # fmt: skip
            first = parts.qkv.output_buffer(rows)
            ops.rotate_backward(grads, qkv, cos, sin, norms.head, first[:, : parts.qkv.height])
            parts.qkv.backward_hidden(first)
            a_qkv = parts.qkv.grad_a(first, hidden, (inverse_1, norms.first))
            grads_qkv = parts.qkv.split(a_qkv, parts.qkv.grad_b(first, low_1))
            grad_input = None
            if ctx.needs_input_grad[0]:
                grad = parts.qkv.backward_input(first)
                grad_input = torch.empty_like(hidden)
                residual = inner[:, : parts.out.height]
                ops.rms_norm_backward(grad, hidden, inverse_1, norms.first, residual, grad_input)
                grad_input = grad_input[None]
        return grad_input, None, None, None, None, None, *grads_qkv, *grads_out, *grads_gate_up, *grads_down


def _kernels(tensor: Tensor) -> ModuleType:
    if not tensor.is_cuda:
        return reference
    from workloads.training.fast import kernels

    return kernels


def _projection(*modules: Any) -> Projection:
    loras: list[Lora | None] = []
    for module in modules:
        lora = None
        for name in active_adapters(module):
            lora = Lora(module.lora_A[name].weight, module.lora_B[name].weight, module.scaling[name])
        loras.append(lora)
    return Projection([getattr(module, "base_layer", module) for module in modules], loras)
