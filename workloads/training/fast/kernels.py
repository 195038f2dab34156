"""The memory-bound parts of a decoder layer as Triton kernels, with the signatures of `reference.py`.

Every kernel reads bf16, fp16 or fp32, computes in fp32 and rounds once. Matrices may have a row stride of their own, so
that a kernel writes straight into the wide buffers of `packed.py`. Import this only where Triton has a device.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from workloads.training.fast.gated_kernels import gated, gated_backward
from workloads.training.fast.reference import HeadNorm

__all__ = ["gated", "gated_backward", "rms_norm", "rms_norm_backward", "rotate", "rotate_backward"]

_HEADS_A_PROGRAM = 16


@triton.jit
def norm_kernel(x, weight, out, inverse, x_stride, out_stride, columns, eps, block: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, block)
    inside = at < columns
    value = tl.load(x + row * x_stride + at, inside, other=0.0).to(tl.float32)
    scale = 1.0 / tl.sqrt(tl.sum(value * value, 0) / columns + eps)
    tl.store(inverse + row, scale)
    result = value * scale * tl.load(weight + at, inside, other=0.0).to(tl.float32)
    tl.store(out + row * out_stride + at, result.to(out.dtype.element_ty), inside)


@triton.jit
def norm_backward_kernel(
    grad,
    x,
    inverse,
    weight,
    residual,
    out,
    grad_stride,
    x_stride,
    residual_stride,
    out_stride,
    columns,
    block: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, block)
    inside = at < columns
    scale = tl.load(inverse + row)
    normal = tl.load(x + row * x_stride + at, inside, other=0.0).to(tl.float32) * scale
    scaled = tl.load(grad + row * grad_stride + at, inside, other=0.0).to(tl.float32)
    scaled *= tl.load(weight + at, inside, other=0.0).to(tl.float32)
    mean = tl.sum(scaled * normal, 0) / columns
    result = tl.load(residual + row * residual_stride + at, inside, other=0.0).to(tl.float32)
    result += scale * (scaled - normal * mean)
    tl.store(out + row * out_stride + at, result.to(out.dtype.element_ty), inside)


@triton.jit
def rotate_kernel(
    qkv, cos, sin, query_norm, key_norm, out, qkv_stride, out_stride, eps,
    heads: tl.constexpr, total: tl.constexpr, half: tl.constexpr, normed: tl.constexpr,
    head_block: tl.constexpr, half_block: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1) * head_block + tl.arange(0, head_block)
    at = tl.arange(0, half_block)
    inside = (head < total)[:, None] & (at < half)[None, :]
    column = head[:, None] * (2 * half) + at[None, :]
    first = tl.load(qkv + row * qkv_stride + column, inside, other=0.0).to(tl.float32)
    second = tl.load(qkv + row * qkv_stride + column + half, inside, other=0.0).to(tl.float32)
    if normed:
        squares = tl.sum(first * first, 1) + tl.sum(second * second, 1)
        scale = (1.0 / tl.sqrt(squares / (2 * half) + eps))[:, None]
        is_query = (head < heads)[:, None]
        first *= scale * _head_weight(query_norm, key_norm, is_query, at, at < half)
        second *= scale * _head_weight(query_norm, key_norm, is_query, at + half, at < half)
    turn = row * (2 * half) + at
    cos_first = tl.load(cos + turn, at < half, other=0.0).to(tl.float32)[None, :]
    sin_first = tl.load(sin + turn, at < half, other=0.0).to(tl.float32)[None, :]
    cos_second = tl.load(cos + turn + half, at < half, other=0.0).to(tl.float32)[None, :]
    sin_second = tl.load(sin + turn + half, at < half, other=0.0).to(tl.float32)[None, :]
    target = out + row * out_stride + column
    tl.store(target, (first * cos_first - second * sin_first).to(out.dtype.element_ty), inside)
    tl.store(target + half, (second * cos_second + first * sin_second).to(out.dtype.element_ty), inside)


@triton.jit
def rotate_backward_kernel(
    grad, qkv, cos, sin, norm, out, grad_stride, qkv_stride, out_stride, eps, first_head,
    heads: tl.constexpr, half: tl.constexpr, turned: tl.constexpr, normed: tl.constexpr,
    head_block: tl.constexpr, half_block: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1) * head_block + tl.arange(0, head_block)
    at = tl.arange(0, half_block)
    inside = (head < heads)[:, None] & (at < half)[None, :]
    source = grad + row * grad_stride + head[:, None] * (2 * half) + at[None, :]
    column = (head + first_head)[:, None] * (2 * half) + at[None, :]
    first = tl.load(source, inside, other=0.0).to(tl.float32)
    second = tl.load(source + half, inside, other=0.0).to(tl.float32)
    if turned:
        turn = row * (2 * half) + at
        cos_first = tl.load(cos + turn, at < half, other=0.0).to(tl.float32)[None, :]
        sin_first = tl.load(sin + turn, at < half, other=0.0).to(tl.float32)[None, :]
        cos_second = tl.load(cos + turn + half, at < half, other=0.0).to(tl.float32)[None, :]
        sin_second = tl.load(sin + turn + half, at < half, other=0.0).to(tl.float32)[None, :]
        back = first * cos_first + second * sin_second
        second = second * cos_second - first * sin_first
        first = back
    if normed:
        x_first = tl.load(qkv + row * qkv_stride + column, inside, other=0.0).to(tl.float32)
        x_second = tl.load(qkv + row * qkv_stride + column + half, inside, other=0.0).to(tl.float32)
        squares = tl.sum(x_first * x_first, 1) + tl.sum(x_second * x_second, 1)
        scale = (1.0 / tl.sqrt(squares / (2 * half) + eps))[:, None]
        x_first *= scale
        x_second *= scale
        first *= tl.load(norm + at, at < half, other=0.0).to(tl.float32)[None, :]
        second *= tl.load(norm + at + half, at < half, other=0.0).to(tl.float32)[None, :]
        mean = ((tl.sum(first * x_first, 1) + tl.sum(second * x_second, 1)) / (2 * half))[:, None]
        first = scale * (first - x_first * mean)
        second = scale * (second - x_second * mean)
    target = out + row * out_stride + column
    tl.store(target, first.to(out.dtype.element_ty), inside)
    tl.store(target + half, second.to(out.dtype.element_ty), inside)


@triton.jit
def _head_weight(query, key, is_query, at, inside):
    query_weight = tl.load(query + at, inside, other=0.0).to(tl.float32)[None, :]
    key_weight = tl.load(key + at, inside, other=0.0).to(tl.float32)[None, :]
    return tl.where(is_query, query_weight, key_weight)


def rms_norm(x: Tensor, weight: Tensor, eps: float, out: Tensor) -> Tensor:
    rows, columns = x.shape
    inverse = torch.empty(rows, dtype=torch.float32, device=x.device)
    block = triton.next_power_of_2(columns)
    norm_kernel[(rows,)](
        x, weight, out, inverse, x.stride(0), out.stride(0), columns, eps, block=block, num_warps=_warps(block)
    )
    return inverse


def rms_norm_backward(grad: Tensor, x: Tensor, inverse: Tensor, weight: Tensor, residual: Tensor, out: Tensor) -> None:
    rows, columns = x.shape
    block = triton.next_power_of_2(columns)
    norm_backward_kernel[(rows,)](
        grad, x, inverse, weight, residual, out,
        grad.stride(0), x.stride(0), residual.stride(0), out.stride(0), columns, block=block, num_warps=_warps(block),
    )  # fmt: skip


def rotate(qkv: Tensor, cos: Tensor, sin: Tensor, heads: int, kv_heads: int, norm: HeadNorm | None) -> Tensor:
    rows, head_dim = cos.shape
    total = heads + kv_heads
    out = torch.empty(rows, total, head_dim, dtype=qkv.dtype, device=qkv.device)
    weights = norm or HeadNorm(cos, cos, 0.0)  # a pointer is wanted even where it is not read
    rotate_kernel[(rows, triton.cdiv(total, _HEADS_A_PROGRAM))](
        qkv, cos, sin, weights.query, weights.key, out, qkv.stride(0), out.stride(0), weights.eps,
        heads=heads, total=total, half=head_dim // 2, normed=norm is not None,
        head_block=_HEADS_A_PROGRAM, half_block=triton.next_power_of_2(head_dim // 2),
    )  # fmt: skip
    return out


def rotate_backward(
    grads: tuple[Tensor, Tensor, Tensor], qkv: Tensor, cos: Tensor, sin: Tensor, norm: HeadNorm | None, out: Tensor
) -> None:
    rows, head_dim = cos.shape
    first_head = 0
    weights = (norm.query, norm.key, None) if norm is not None else (None, None, None)
    for grad, weight in zip(grads, weights, strict=True):
        heads = grad.shape[1]
        block = min(_HEADS_A_PROGRAM, triton.next_power_of_2(heads))
        rotate_backward_kernel[(rows, triton.cdiv(heads, block))](
            grad, qkv, cos, sin, cos if weight is None else weight, out,
            grad.stride(0), qkv.stride(0), out.stride(0), 0.0 if norm is None else norm.eps, first_head,
            heads=heads, half=head_dim // 2, turned=grad is not grads[2], normed=weight is not None,
            head_block=block, half_block=triton.next_power_of_2(head_dim // 2),
        )  # fmt: skip
        first_head += heads


def _warps(block: int) -> int:
    return min(max(block // 512, 1), 16)
