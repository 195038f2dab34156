"""Attention over documents that lie end to end in one row, each of which sees only itself.

On CUDA, in 16 bits, it is torch's own flash kernel for rows of several lengths (``aten::_flash_attention_forward``
with the documents' starts; ``native_functions.yaml`` and ``derivatives.yaml`` of torch 2.9 and 2.11), elsewhere scaled
dot product attention, one document after the other. Heads of keys and values may be fewer than those of queries.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention


@dataclass(frozen=True, slots=True)
class Documents:
    """Where the documents of a flat row lie, and what is learnt from it.

    Attributes:
        starts: int32, documents + 1: the first token of each, and the number of tokens.
        longest: tokens of the longest document. A number, so that no kernel has to wait for the device.
        rows: int64: the tokens whose next one is learnt.
        targets: int64: those next ones.
    """

    starts: Tensor
    longest: int
    rows: Tensor
    targets: Tensor

    def to(self, device: Any, non_blocking: bool = False) -> Documents:
        """The same on a device; accelerate calls it for a part of a batch."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Documents:
        """The same in memory that a device copies from; torch's data loader calls it."""
        return self._each(lambda tensor: tensor.pin_memory())

    def _each(self, change: Callable[[Tensor], Tensor]) -> Documents:
        return Documents(change(self.starts), self.longest, change(self.rows), change(self.targets))


def attend(
    query: Tensor, key: Tensor, value: Tensor, documents: Documents, scaling: float, window: int | None = None
) -> Tensor:
    """Causal attention inside each document, differentiable.

    Args:
        query: tokens x heads x width of a head.
        key: tokens x as many heads or fewer x width; ``value`` likewise.
        scaling: by which the products of queries and keys are multiplied.
        window: how many tokens back a token sees, itself included; all of its document when None.

    Returns:
        tokens x heads x width.
    """
    if _has_flash(query):
        out: Tensor = _flash(query, key, value, documents, scaling, window)[0]
        return out
    return _one_by_one(query, key, value, documents, scaling, window)


def attend_forward(
    query: Tensor, key: Tensor, value: Tensor, documents: Documents, scaling: float, window: int | None = None
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """:func:`attend` for an autograd node: the output, and what :func:`attend_backward` needs besides it."""
    if _has_flash(query):
        out, *kept = _flash(query, key, value, documents, scaling, window)[:4]
        return out, tuple(kept)
    return _one_by_one(query, key, value, documents, scaling, window), ()


def attend_backward(
    grad: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    out: Tensor,
    kept: tuple[Tensor, ...],
    documents: Documents,
    scaling: float,
    window: int | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of query, key and value from that of the output."""
    if _has_flash(query):
        logsumexp, *random = kept
        dq, dk, dv = torch.ops.aten._flash_attention_backward(
            grad, query, key, value, out, logsumexp, *_places(documents), 0.0, True, *random,
            scale=scaling, **_window(documents, window),
        )  # fmt: skip
        return dq, dk, dv
    with torch.enable_grad():
        query, key, value = (each.detach().requires_grad_() for each in (query, key, value))
        again = _one_by_one(query, key, value, documents, scaling, window)
        dq, dk, dv = torch.autograd.grad(again, (query, key, value), grad)
    return dq, dk, dv


def _has_flash(query: Tensor) -> bool:
    return query.is_cuda and query.dtype in (torch.bfloat16, torch.float16)


def _flash(
    query: Tensor, key: Tensor, value: Tensor, documents: Documents, scaling: float, window: int | None
) -> tuple[Tensor, ...]:
    found: tuple[Tensor, ...] = torch.ops.aten._flash_attention_forward(
        query, key, value, *_places(documents), 0.0, True, False, scale=scaling, **_window(documents, window)
    )
    return found


def _places(documents: Documents) -> tuple[Tensor, Tensor, int, int]:
    return documents.starts, documents.starts, documents.longest, documents.longest


def _window(documents: Documents, window: int | None) -> dict[str, int]:
    if window is None or window >= documents.longest:
        return {}
    return {"window_size_left": window - 1, "window_size_right": 0}


def _one_by_one(
    query: Tensor, key: Tensor, value: Tensor, documents: Documents, scaling: float, window: int | None
) -> Tensor:
    lengths = documents.starts.diff().tolist()
    outs = []
    for parts in zip(*(each.split(lengths) for each in (query, key, value)), strict=True):
        one_query, one_key, one_value = (part.transpose(0, 1)[None] for part in parts)
        mask = _near(one_query.shape[2], window, query.device)
        out = scaled_dot_product_attention(
            one_query, one_key, one_value, mask, is_causal=mask is None, scale=scaling, enable_gqa=True
        )
        outs.append(out[0].transpose(0, 1))
    return torch.cat(outs)


def _near(length: int, window: int | None, device: torch.device) -> Tensor | None:
    """Which keys a query sees, where a window is shorter than a document."""
    if window is None or window >= length:
        return None
    places = torch.arange(length, device=device)
    back = places[:, None] - places
    return (back >= 0) & (back < window)
