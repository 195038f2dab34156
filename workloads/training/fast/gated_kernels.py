"""The gated activation in Triton, and its gradient together with those LoRA gradients that read the same wide matrices.

The matrices of the gated activation are the widest of a layer: its gradient and the products that follow are bound by
memory. So the program that has a tile of silu(gate) up, or of the gradient of gate and up, at hand also multiplies it
with its rows of the narrow matrices, and the activation need not be written again at all.

Triton compiles a kernel again when an integer becomes a multiple of 16 or ceases to be one, which takes a second or
more in the middle of a training; what differs from batch to batch is therefore not specialised, here and in the others.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from workloads.training.fast.reference import multiply_into_pad, product

_ROWS, _COLUMNS = 32, 128  # measured on an H100: 64 x 128 with 8 warps is half as fast in the backward pass
FORWARD_TILE, BACKWARD_TILE = (32, 128, 4, 3), (32, 128, 4, 3)
"""Rows, columns, warps and stages of the programs that multiply too."""
FORWARD_SLABS, BACKWARD_SLABS = 8, 16
"""Programs that share a row, or a column, of tiles; each leaves a partial sum, so that the order is fixed."""
_WIDEST = 32
"""Sums of ranks beyond this leave too few registers; then the products are made apart."""


@triton.jit(do_not_specialize=["rows"])
def gated_kernel(
    gate_up, out, gate_up_stride, out_stride, rows, width, row_block: tl.constexpr, column_block: tl.constexpr
):
    row = (tl.program_id(0) * row_block + tl.arange(0, row_block)).to(tl.int64)[:, None]
    column = (tl.program_id(1) * column_block + tl.arange(0, column_block))[None, :]
    inside = (row < rows) & (column < width)
    gate = tl.load(gate_up + row * gate_up_stride + column, inside, other=0.0).to(tl.float32)
    up = tl.load(gate_up + row * gate_up_stride + column + width, inside, other=0.0).to(tl.float32)
    tl.store(out + row * out_stride + column, (gate * tl.sigmoid(gate) * up).to(out.dtype.element_ty), inside)


@triton.jit(do_not_specialize=["rows"])
def gated_hidden_kernel(
    gate_up, out, factor, part, gate_up_stride, out_stride, factor_stride, rows, width, slab,
    rank: tl.constexpr, row_block: tl.constexpr, column_block: tl.constexpr,
):  # fmt: skip
    row = (tl.program_id(0) * row_block + tl.arange(0, row_block)).to(tl.int64)[:, None]
    first = tl.program_id(1) * slab
    at = tl.arange(0, rank)
    result = tl.zeros((row_block, rank), tl.float32)
    for start in range(first, tl.minimum(first + slab, width), column_block):
        column = start + tl.arange(0, column_block)
        inside = (row < rows) & (column < width)[None, :]
        gate = tl.load(gate_up + row * gate_up_stride + column[None, :], inside, other=0.0).to(tl.float32)
        up = tl.load(gate_up + row * gate_up_stride + column[None, :] + width, inside, other=0.0).to(tl.float32)
        factors = tl.load(factor + at[None, :] * factor_stride + column[:, None], (column < width)[:, None], other=0.0)
        active = (gate * tl.sigmoid(gate) * up).to(factors.dtype)
        tl.store(out + row * out_stride + column[None, :], active, inside)
        result = tl.dot(active, factors, result)
    target = part + (tl.program_id(1).to(tl.int64) * rows + row) * rank + at[None, :]
    tl.store(target, result, row < rows)


@triton.jit(do_not_specialize=["rows"])
def sum_kernel(part, out, low, out_stride, low_stride, rows, parts: tl.constexpr, rank: tl.constexpr,
               pad: tl.constexpr, row_block: tl.constexpr):  # fmt: skip
    row = (tl.program_id(0) * row_block + tl.arange(0, row_block)).to(tl.int64)[:, None]
    at = tl.arange(0, rank)[None, :]
    result = tl.zeros((row_block, rank), tl.float32)
    for number in range(parts):
        result += tl.load(part + (number * rows + row) * rank + at, row < rows, other=0.0)
    for start in range(0, pad, rank):
        value = tl.where(start == 0, result, 0.0).to(out.dtype.element_ty)
        tl.store(out + row * out_stride + start + at, value, row < rows)
        tl.store(low + row * low_stride + start + at, value, row < rows)


@triton.jit(do_not_specialize=["rows"])
def gated_backward_kernel(
    grad, gate_up, out, active, grad_stride, gate_up_stride, out_stride, active_stride, rows, width,
    row_block: tl.constexpr, column_block: tl.constexpr,
):  # fmt: skip
    row = (tl.program_id(0) * row_block + tl.arange(0, row_block)).to(tl.int64)[:, None]
    column = (tl.program_id(1) * column_block + tl.arange(0, column_block))[None, :]
    inside = (row < rows) & (column < width)
    gate = tl.load(gate_up + row * gate_up_stride + column, inside, other=0.0).to(tl.float32)
    up = tl.load(gate_up + row * gate_up_stride + column + width, inside, other=0.0).to(tl.float32)
    upstream = tl.load(grad + row * grad_stride + column, inside, other=0.0).to(tl.float32)
    sigmoid = tl.sigmoid(gate)
    silu = gate * sigmoid
    tl.store(active + row * active_stride + column, (silu * up).to(active.dtype.element_ty), inside)
    target = out + row * out_stride + column
    tl.store(target, (upstream * up * (sigmoid + silu * (1.0 - sigmoid))).to(out.dtype.element_ty), inside)
    tl.store(target + width, (upstream * silu).to(out.dtype.element_ty), inside)


@triton.jit(do_not_specialize=["rows", "slab"])
def gated_factors_kernel(
    grad, gate_up, out, left, low, part_a, part_b, grad_stride, gate_up_stride, out_stride, left_stride, low_stride,
    rows, width, slab,
    rank_a: tl.constexpr, rank_b: tl.constexpr, row_block: tl.constexpr, column_block: tl.constexpr,
):  # fmt: skip
    part = tl.program_id(0)
    column = tl.program_id(1) * column_block + tl.arange(0, column_block)
    at_a = tl.arange(0, rank_a)
    at_b = tl.arange(0, rank_b)
    sum_a = tl.zeros((column_block, rank_a), tl.float32)
    sum_gate = tl.zeros((column_block, rank_b), tl.float32)
    sum_up = tl.zeros((column_block, rank_b), tl.float32)
    for start in range(part * slab, tl.minimum(part * slab + slab, rows), row_block):
        row = (start + tl.arange(0, row_block)).to(tl.int64)[:, None]
        inside = (row < rows) & (column < width)[None, :]
        gate = tl.load(gate_up + row * gate_up_stride + column[None, :], inside, other=0.0).to(tl.float32)
        up = tl.load(gate_up + row * gate_up_stride + column[None, :] + width, inside, other=0.0).to(tl.float32)
        upstream = tl.load(grad + row * grad_stride + column[None, :], inside, other=0.0).to(tl.float32)
        lefts = tl.load(left + row * left_stride + at_a[None, :], row < rows, other=0.0)
        lows = tl.load(low + row * low_stride + at_b[None, :], row < rows, other=0.0)
        sigmoid = tl.sigmoid(gate)
        silu = gate * sigmoid
        gate_grad = (upstream * up * (sigmoid + silu * (1.0 - sigmoid))).to(lows.dtype)
        up_grad = (upstream * silu).to(lows.dtype)
        target = out + row * out_stride + column[None, :]
        tl.store(target, gate_grad, inside)
        tl.store(target + width, up_grad, inside)
        sum_a = tl.dot(tl.trans((silu * up).to(lefts.dtype)), lefts, sum_a)
        sum_gate = tl.dot(tl.trans(gate_grad), lows, sum_gate)
        sum_up = tl.dot(tl.trans(up_grad), lows, sum_up)
    known = (column < width)[:, None]
    wide_column = column[:, None]
    tl.store(part_a + (part * width + wide_column) * rank_a + at_a[None, :], sum_a, known)
    tl.store(part_b + (2 * part * width + wide_column) * rank_b + at_b[None, :], sum_gate, known)
    tl.store(part_b + ((2 * part + 1) * width + wide_column) * rank_b + at_b[None, :], sum_up, known)


def gated(gate_up: Tensor, factor: Tensor, rank: int, out: Tensor) -> Tensor:
    rows, width = gate_up.shape[0], gate_up.shape[1] // 2
    if rank == 0 or rank > _WIDEST:
        grid = (triton.cdiv(rows, _ROWS), triton.cdiv(width, _COLUMNS))
        gated_kernel[grid](
            gate_up, out, gate_up.stride(0), out.stride(0), rows, width,
            row_block=_ROWS, column_block=_COLUMNS, num_warps=4,
        )  # fmt: skip
        return multiply_into_pad(out, factor)
    rank, pad = max(16, triton.next_power_of_2(rank)), out.shape[1] - width
    row_block, column_block, warps, stages = FORWARD_TILE
    part = torch.empty(FORWARD_SLABS, rows, rank, dtype=torch.float32, device=out.device)
    low = torch.empty(rows, pad, dtype=out.dtype, device=out.device)
    slab = triton.cdiv(width, FORWARD_SLABS * column_block) * column_block
    gated_hidden_kernel[(triton.cdiv(rows, row_block), FORWARD_SLABS)](
        gate_up, out, factor, part, gate_up.stride(0), out.stride(0), factor.stride(0), rows, width, slab,
        rank=rank, row_block=row_block, column_block=column_block, num_warps=warps, num_stages=stages,
    )  # fmt: skip
    sum_kernel[(triton.cdiv(rows, 32),)](
        part, out[:, width:], low, out.stride(0), low.stride(0), rows,
        parts=FORWARD_SLABS, rank=rank, pad=pad, row_block=32, num_warps=4,
    )  # fmt: skip
    return low


def gated_backward(
    grad: Tensor, gate_up: Tensor, left: Tensor, low: Tensor, ranks: tuple[int, int], out: Tensor
) -> tuple[Tensor, Tensor]:
    if min(ranks) == 0 or max(ranks) > _WIDEST:
        return _apart(grad, gate_up, left, low, out)
    rows, width = grad.shape
    rank_a, rank_b = (max(16, triton.next_power_of_2(rank)) for rank in ranks)
    part_a = torch.empty(BACKWARD_SLABS, width, rank_a, dtype=torch.float32, device=grad.device)
    part_b = torch.empty(BACKWARD_SLABS, 2 * width, rank_b, dtype=torch.float32, device=grad.device)
    row_block, column_block, warps, stages = BACKWARD_TILE
    slab = triton.cdiv(rows, BACKWARD_SLABS * row_block) * row_block
    gated_factors_kernel[(BACKWARD_SLABS, triton.cdiv(width, column_block))](
        grad, gate_up, out, left, low, part_a, part_b,
        grad.stride(0), gate_up.stride(0), out.stride(0), left.stride(0), low.stride(0), rows, width, slab,
        rank_a=rank_a, rank_b=rank_b, row_block=row_block, column_block=column_block, num_warps=warps,
        num_stages=stages,
    )  # fmt: skip
    return part_a.sum(0).t(), part_b.sum(0)


def _apart(grad: Tensor, gate_up: Tensor, left: Tensor, low: Tensor, out: Tensor) -> tuple[Tensor, Tensor]:
    rows, width = grad.shape
    active = torch.empty_like(grad)
    grid = (triton.cdiv(rows, _ROWS), triton.cdiv(width, _COLUMNS))
    gated_backward_kernel[grid](
        grad, gate_up, out, active, grad.stride(0), gate_up.stride(0), out.stride(0), active.stride(0), rows, width,
        row_block=_ROWS, column_block=_COLUMNS, num_warps=4,
    )  # fmt: skip
    return product(left.t(), active), product(out.t(), low)
