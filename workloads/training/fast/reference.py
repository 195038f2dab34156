"""What the kernels of `kernels.py` compute, in plain torch: the path of the CPU, and what the kernels must agree with.

Every function computes in fp32 and rounds once, when it writes its result; rows are the tokens of a flat row.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional


class HeadNorm(NamedTuple):
    """The norms that Qwen3 applies to every head of the queries and the keys: two weights of head_dim, one epsilon."""

    query: Tensor
    key: Tensor
    eps: float


def rms_norm(x: Tensor, weight: Tensor, eps: float, out: Tensor) -> Tensor:
    """Writes the norm of x [rows, columns] into out; returns 1 / rms, fp32 [rows], which the backward pass needs."""
    value = x.float()
    inverse = torch.rsqrt(value.pow(2).mean(-1) + eps)
    out.copy_(value * inverse[:, None] * weight.float())
    return inverse


def rms_norm_backward(grad: Tensor, x: Tensor, inverse: Tensor, weight: Tensor, residual: Tensor, out: Tensor) -> None:
    """Writes residual + the gradient of the norm's input into out; all [rows, columns] but inverse and weight."""
    normal = x.float() * inverse[:, None]
    scaled = grad.float() * weight.float()
    mean = (scaled * normal).mean(-1, keepdim=True)
    out.copy_(residual.float() + inverse[:, None] * (scaled - normal * mean))


def rotate(qkv: Tensor, cos: Tensor, sin: Tensor, heads: int, kv_heads: int, norm: HeadNorm | None) -> Tensor:
    """The queries and keys of qkv [rows, (heads + 2 kv_heads) head_dim], each head normalised and rotated.

    cos and sin are [rows, head_dim], as the model's rotary embedding gives them. Returns [rows, heads + kv_heads,
    head_dim].
    """
    x = _heads(qkv, cos.shape[-1])[:, : heads + kv_heads].float()
    if norm is not None:
        x = x * _head_inverse(x, norm) * _head_weights(norm, heads, kv_heads)
    first, second = x.chunk(2, dim=-1)
    turned = torch.cat((-second, first), dim=-1)
    return (x * cos.float()[:, None] + turned * sin.float()[:, None]).to(qkv.dtype)


def rotate_backward(
    grads: tuple[Tensor, Tensor, Tensor], qkv: Tensor, cos: Tensor, sin: Tensor, norm: HeadNorm | None, out: Tensor
) -> None:
    """Writes the gradient of qkv into out, from those of queries, keys and values, each [rows, its heads, head_dim]."""
    heads, kv_heads = grads[0].shape[1], grads[1].shape[1]
    grad = torch.cat(grads[:2], dim=1).float()
    first, second = (grad * sin.float()[:, None]).chunk(2, dim=-1)
    grad = grad * cos.float()[:, None] + torch.cat((second, -first), dim=-1)
    if norm is not None:
        x = _heads(qkv, cos.shape[-1])[:, : heads + kv_heads].float()
        inverse = _head_inverse(x, norm)
        normal = x * inverse
        scaled = grad * _head_weights(norm, heads, kv_heads)
        grad = inverse * (scaled - normal * (scaled * normal).mean(-1, keepdim=True))
    out.copy_(torch.cat((grad, grads[2].float()), dim=1).flatten(1))


def gated(gate_up: Tensor, factor: Tensor, rank: int, out: Tensor) -> Tensor:  # noqa: ARG001  # kernels take it
    """Writes silu(gate) * up, and its product with a narrow matrix beside it.

    Args:
        gate_up: [rows, 2 width], gate first.
        factor: [pad, width]; its rows from `rank` on are zero.
        rank: how many rows of `factor` are not.
        out: [rows, width + pad].

    Returns:
        The product, [rows, pad]; it does not keep `out`.
    """
    gate, up = gate_up.float().chunk(2, dim=-1)
    out[:, : factor.shape[1]].copy_(functional.silu(gate) * up)
    return multiply_into_pad(out, factor)


def multiply_into_pad(x: Tensor, factor: Tensor) -> Tensor:
    """Writes the product of x's first columns with factor [pad, width] into its last ones; returns a copy of it."""
    width = factor.shape[1]
    if x.shape[1] > width:
        torch.mm(x[:, :width], factor.t(), out=x[:, width:])
    return x[:, width:].clone()


def gated_backward(
    grad: Tensor, gate_up: Tensor, left: Tensor, low: Tensor, ranks: tuple[int, int], out: Tensor
) -> tuple[Tensor, Tensor]:
    """Writes the gradient of gate_up into out [rows, 2 width], and multiplies what is at hand with narrow matrices.

    Args:
        grad: of silu(gate) * up, [rows, width].
        gate_up: [rows, 2 width], gate first.
        left: [rows, at least ranks[0]], of which ranks[0] columns are wanted.
        low: [rows, at least ranks[1]], likewise.
        ranks: see there; either may be zero.
        out: [rows, 2 width].

    Returns:
        left' (silu(gate) * up), [ranks[0] or more, width], and out' low, [2 width, ranks[1] or more]; fp32.
    """
    gate, up = gate_up.float().chunk(2, dim=-1)
    sigmoid = torch.sigmoid(gate)
    silu = gate * sigmoid
    upstream = grad.float()
    out.copy_(torch.cat((upstream * up * (sigmoid + silu * (1 - sigmoid)), upstream * silu), dim=-1))
    return product(left[:, : ranks[0]].t(), (silu * up).to(grad.dtype)), product(out.t(), low[:, : ranks[1]])


def product(left: Tensor, right: Tensor) -> Tensor:
    """A product summed and kept in fp32."""
    if left.is_cuda and left.dtype != torch.float32 and left.numel() and right.numel():
        return torch.mm(left, right, out_dtype=torch.float32)
    return torch.mm(left, right).float()


def _heads(qkv: Tensor, head_dim: int) -> Tensor:
    return qkv.unflatten(-1, (-1, head_dim))


def _head_inverse(x: Tensor, norm: HeadNorm) -> Tensor:
    return torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + norm.eps)


def _head_weights(norm: HeadNorm, heads: int, kv_heads: int) -> Tensor:
    return torch.cat((norm.query.expand(heads, -1), norm.key.expand(kv_heads, -1))).float()
