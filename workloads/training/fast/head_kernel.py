"""The cross entropy of rows of logits in Triton: the loss, and its gradient where the logits were."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

_BLOCK, _WARPS = 4096, 8


@triton.jit
def entropy_kernel(logits, targets, losses, stride, vocabulary, learning: tl.constexpr, block: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    target = tl.load(targets + row)
    highest = tl.full((block,), -1e30, tl.float32)
    weight = tl.zeros((block,), tl.float32)
    for start in range(0, vocabulary, block):
        at = start + tl.arange(0, block)
        value = tl.load(logits + row * stride + at, at < vocabulary, other=-float("inf")).to(tl.float32)
        higher = tl.maximum(highest, value)
        weight = weight * tl.exp(highest - higher) + tl.exp(value - higher)
        highest = higher
    top = tl.max(highest, 0)
    total = top + tl.log(tl.sum(weight * tl.exp(highest - top), 0))
    tl.store(losses + row, total - tl.load(logits + row * stride + target).to(tl.float32))
    if learning:
        tl.debug_barrier()  # the right token's logit is read by all threads before one of them overwrites it
        for start in range(0, vocabulary, block):
            at = start + tl.arange(0, block)
            place = logits + row * stride + at
            share = tl.exp(tl.load(place, at < vocabulary, other=-float("inf")).to(tl.float32) - total)
            share = tl.where(at == target, share - 1.0, share)
            tl.store(place, share.to(logits.dtype.element_ty), at < vocabulary)


def entropy_in_place(logits: Tensor, targets: Tensor, learning: bool) -> Tensor:
    """The cross entropy of each row, fp32 [rows].

    Args:
        logits: [rows, vocabulary]; with `learning` they become their own gradient.
        targets: int64 [rows], the right token of each.
        learning: whether the gradient is wanted.
    """
    losses = torch.empty(logits.shape[0], dtype=torch.float32, device=logits.device)
    entropy_kernel[(logits.shape[0],)](
        logits, targets, losses, logits.stride(0), logits.shape[1], learning=learning, block=_BLOCK, num_warps=_WARPS
    )
    return losses
