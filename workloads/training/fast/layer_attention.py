"""The attention of a hand-written layer: torch's flash kernels, or over short documents kernels of our own."""

from __future__ import annotations

import torch
from torch import Tensor

from workloads.training.fast import attention
from workloads.training.fast.attention import Documents

_SHORT = 2048
"""Up to this mean length the own kernels are faster: benchmarks/gpu/kernels.py on an H100, which did not go beyond."""

_latest: tuple[Tensor, tuple[Tensor, Tensor]] | None = None


def forward(
    query: Tensor, key: Tensor, value: Tensor, documents: Documents, scaling: float, window: int | None, out: Tensor
) -> tuple[Tensor, ...]:
    """Writes the output [tokens, heads, head_dim] into `out`, whose rows may have any stride; returns what `backward`
    needs besides it. The other arguments are those of `attention.attend_forward`."""
    if not _are_short(query, documents, window):
        attended, kept = attention.attend_forward(query, key, value, documents, scaling, window)
        out.copy_(attended)
        return kept
    from workloads.training.fast import short_attention

    first, _ = spans(documents, query.shape[0])
    return (short_attention.attend_forward(query, key, value, first, scaling, out),)


def backward(
    grad: Tensor,
    inputs: tuple[Tensor, Tensor, Tensor],
    out: Tensor,
    kept: tuple[Tensor, ...],
    documents: Documents,
    scaling: float,
    window: int | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of query, key and value."""
    if not _are_short(inputs[0], documents, window):
        return attention.attend_backward(grad, *inputs, out, kept, documents, scaling, window)
    from workloads.training.fast import short_attention

    (total,) = kept
    return short_attention.attend_backward(grad, *inputs, out, total, *spans(documents, grad.shape[0]), scaling)


def spans(documents: Documents, tokens: int) -> tuple[Tensor, Tensor]:
    """For each token the first and the last of its document, int32; made once a step, not once a layer."""
    global _latest
    starts = documents.starts
    if _latest is None or _latest[0] is not starts:
        token = torch.arange(tokens, dtype=torch.int32, device=starts.device)
        number = torch.searchsorted(starts, token, right=True)
        _latest = starts, (starts[number - 1], starts[number] - 1)
    return _latest[1]


def _are_short(query: Tensor, documents: Documents, window: int | None) -> bool:
    tokens, _, width = query.shape
    if not query.is_cuda or query.dtype == torch.float32 or width not in (64, 128):
        return False
    return tokens <= _SHORT * (len(documents.starts) - 1) and (window is None or window >= documents.longest)
