"""Causal attention over short documents of a flat row, in Triton; for long ones torch's flash kernels are faster.

Flash attention starts its tiles anew at each document, so documents that are not much longer than a tile leave most of
it empty. Here tiles lie on the row whatever the documents: a tile of queries reads the keys from the first document
that it touches, and a mask keeps the documents apart. The gradients of keys and values are summed over the heads that
share them inside one program, so nothing is expanded. Scores are in units of log 2.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

_LOG2_E = 1.4426950408889634


class Tile(NamedTuple):
    """How many queries and keys a program takes at a time, by how many warps, and how far ahead it loads."""

    queries: int
    keys: int
    warps: int
    stages: int


FORWARD, QUERY, KEY = Tile(64, 64, 4, 2), Tile(64, 64, 4, 2), Tile(32, 64, 4, 2)


@triton.jit(do_not_specialize=["tokens"])
def attend_kernel(
    query, key, value, out, total, first, query_stride, key_stride, value_stride, out_stride, tokens, scale,
    group: tl.constexpr, dim: tl.constexpr, row_block: tl.constexpr, column_block: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(1)
    shared = head // group
    row = tl.program_id(0) * row_block + tl.arange(0, row_block)
    at = tl.arange(0, dim)
    inside = row < tokens
    begin = tl.load(first + row, inside, other=0)
    wide_row = row.to(tl.int64)[:, None]
    queries = tl.load(query + wide_row * query_stride + head * dim + at[None, :], inside[:, None], other=0.0)
    highest = tl.full((row_block,), -1e30, tl.float32)
    weight = tl.zeros((row_block,), tl.float32)
    result = tl.zeros((row_block, dim), tl.float32)
    low = tl.load(first + tl.program_id(0) * row_block) // column_block * column_block
    high = tl.minimum(tl.program_id(0) * row_block + row_block, tokens)
    for start in range(low, high, column_block):
        column = start + tl.arange(0, column_block)
        wide_column = column.to(tl.int64)
        known = column < tokens
        keys = tl.load(key + wide_column[None, :] * key_stride + shared * dim + at[:, None], known[None, :], other=0.0)
        seen = (column[None, :] >= begin[:, None]) & (column[None, :] <= row[:, None])
        scores = tl.where(seen, tl.dot(queries, keys) * scale, -1e30)
        higher = tl.maximum(highest, tl.max(scores, 1))
        shares = tl.exp2(scores - higher[:, None])
        fade = tl.exp2(highest - higher)
        weight = weight * fade + tl.sum(shares, 1)
        values = tl.load(
            value + wide_column[:, None] * value_stride + shared * dim + at[None, :], known[:, None], other=0.0
        )
        result = tl.dot(shares.to(values.dtype), values, result * fade[:, None])
        highest = higher
    target = out + wide_row * out_stride + head * dim + at[None, :]
    tl.store(target, (result / weight[:, None]).to(out.dtype.element_ty), inside[:, None])
    tl.store(total + head * tokens + row, highest + tl.log2(weight), inside)


@triton.jit(do_not_specialize=["tokens"])
def attend_query_kernel(
    grad, query, key, value, out, total, mean, grad_query, first,
    grad_stride, query_stride, key_stride, value_stride, out_stride, tokens, scale, scale_back,
    heads: tl.constexpr, group: tl.constexpr, dim: tl.constexpr, row_block: tl.constexpr, column_block: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(1)
    shared = head // group
    row = tl.program_id(0) * row_block + tl.arange(0, row_block)
    at = tl.arange(0, dim)
    inside = row < tokens
    begin = tl.load(first + row, inside, other=0)
    wide_row = row.to(tl.int64)[:, None]
    own = head * dim + at[None, :]
    queries = tl.load(query + wide_row * query_stride + own, inside[:, None], other=0.0)
    grads = tl.load(grad + wide_row * grad_stride + own, inside[:, None], other=0.0)
    outs = tl.load(out + wide_row * out_stride + own, inside[:, None], other=0.0)
    means = tl.sum(grads.to(tl.float32) * outs.to(tl.float32), 1)
    tl.store(mean + head * tokens + row, means, inside)
    totals = tl.load(total + head * tokens + row, inside, other=0.0)
    result = tl.zeros((row_block, dim), tl.float32)
    low = tl.load(first + tl.program_id(0) * row_block) // column_block * column_block
    high = tl.minimum(tl.program_id(0) * row_block + row_block, tokens)
    for start in range(low, high, column_block):
        column = start + tl.arange(0, column_block)
        wide_column = column.to(tl.int64)[:, None]
        known = (column < tokens)[:, None]
        keys = tl.load(key + wide_column * key_stride + shared * dim + at[None, :], known, other=0.0)
        values = tl.load(value + wide_column * value_stride + shared * dim + at[None, :], known, other=0.0)
        seen = (column[None, :] >= begin[:, None]) & (column[None, :] <= row[:, None])
        scores = tl.dot(queries, tl.trans(keys)) * scale
        shares = tl.where(seen, tl.exp2(scores - totals[:, None]), 0.0)
        change = shares * (tl.dot(grads, tl.trans(values)) - means[:, None])
        result = tl.dot(change.to(keys.dtype), keys, result)
    target = grad_query + wide_row * (heads * dim) + own
    tl.store(target, (result * scale_back).to(grad_query.dtype.element_ty), inside[:, None])


@triton.jit(do_not_specialize=["tokens"])
def attend_key_kernel(
    grad, query, key, value, total, mean, grad_key, grad_value, first, last,
    grad_stride, query_stride, key_stride, value_stride, tokens, scale, scale_back,
    kv_heads: tl.constexpr, group: tl.constexpr, dim: tl.constexpr,
    row_block: tl.constexpr, column_block: tl.constexpr,
):  # fmt: skip
    shared = tl.program_id(1)
    column = tl.program_id(0) * column_block + tl.arange(0, column_block)
    at = tl.arange(0, dim)
    known = (column < tokens)[:, None]
    wide_column = column.to(tl.int64)[:, None]
    keys = tl.load(key + wide_column * key_stride + shared * dim + at[None, :], known, other=0.0)
    values = tl.load(value + wide_column * value_stride + shared * dim + at[None, :], known, other=0.0)
    key_result = tl.zeros((column_block, dim), tl.float32)
    value_result = tl.zeros((column_block, dim), tl.float32)
    low = tl.program_id(0) * column_block // row_block * row_block
    high = tl.load(last + tl.minimum(tl.program_id(0) * column_block + column_block, tokens) - 1) + 1
    for member in range(group):
        head = shared * group + member
        for start in range(low, high, row_block):
            row = start + tl.arange(0, row_block)
            inside = row < tokens
            wide_row = row.to(tl.int64)[:, None]
            own = head * dim + at[None, :]
            queries = tl.load(query + wide_row * query_stride + own, inside[:, None], other=0.0)
            grads = tl.load(grad + wide_row * grad_stride + own, inside[:, None], other=0.0)
            totals = tl.load(total + head * tokens + row, inside, other=0.0)
            means = tl.load(mean + head * tokens + row, inside, other=0.0)
            begin = tl.load(first + row, inside, other=tokens)
            seen = (column[:, None] >= begin[None, :]) & (column[:, None] <= row[None, :])
            scores = tl.dot(keys, tl.trans(queries)) * scale
            shares = tl.where(seen, tl.exp2(scores - totals[None, :]), 0.0)
            value_result = tl.dot(shares.to(grads.dtype), grads, value_result)
            change = shares * (tl.dot(values, tl.trans(grads)) - means[None, :])
            key_result = tl.dot(change.to(queries.dtype), queries, key_result)
    target = wide_column * (kv_heads * dim) + shared * dim + at[None, :]
    tl.store(grad_key + target, (key_result * scale_back).to(grad_key.dtype.element_ty), known)
    tl.store(grad_value + target, value_result.to(grad_value.dtype.element_ty), known)


def attend_forward(query: Tensor, key: Tensor, value: Tensor, first: Tensor, scaling: float, out: Tensor) -> Tensor:
    """Writes the output; returns for each head and token the log 2 of the sum of its exponentials, fp32.

    Args:
        query: [tokens, heads, dim]; heads lie side by side, rows may have any stride. dim is a power of two from 16 on.
        key: [tokens, kv_heads, dim]; value likewise.
        first: for each token the first token of its document, int32.
        scaling: by which the products of queries and keys are multiplied.
        out: as query.
    """
    tokens, heads, dim = query.shape
    total = torch.empty(heads, tokens, dtype=torch.float32, device=query.device)
    attend_kernel[(triton.cdiv(tokens, FORWARD.queries), heads)](
        query, key, value, out, total, first, query.stride(0), key.stride(0), value.stride(0),
        out.stride(0), tokens, scaling * _LOG2_E, group=heads // key.shape[1], dim=dim, **_options(FORWARD),
    )  # fmt: skip
    return total


def attend_backward(
    grad: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    out: Tensor,
    total: Tensor,
    first: Tensor,
    last: Tensor,
    scaling: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of query, key and value, contiguous; `out` and `total` are what `attend_forward` gave."""
    tokens, heads, dim = query.shape
    kv_heads = key.shape[1]
    group = heads // kv_heads
    mean = torch.empty_like(total)
    grad_query, grad_key, grad_value = (
        torch.empty(tokens, each.shape[1], dim, dtype=each.dtype, device=each.device) for each in (query, key, value)
    )
    attend_query_kernel[(triton.cdiv(tokens, QUERY.queries), heads)](
        grad, query, key, value, out, total, mean, grad_query, first,
        grad.stride(0), query.stride(0), key.stride(0), value.stride(0), out.stride(0), tokens,
        scaling * _LOG2_E, scaling, heads=heads, group=group, dim=dim, **_options(QUERY),
    )  # fmt: skip
    attend_key_kernel[(triton.cdiv(tokens, KEY.keys), kv_heads)](
        grad, query, key, value, total, mean, grad_key, grad_value, first, last,
        grad.stride(0), query.stride(0), key.stride(0), value.stride(0), tokens,
        scaling * _LOG2_E, scaling, kv_heads=kv_heads, group=group, dim=dim, **_options(KEY),
    )  # fmt: skip
    return grad_query, grad_key, grad_value


def _options(tile: Tile) -> dict[str, int]:
    return {
        "row_block": tile.queries, "column_block": tile.keys, "num_warps": tile.warps, "num_stages": tile.stages
    }  # fmt: skip
