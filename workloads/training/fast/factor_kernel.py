"""Copies many small matrices into places of their own, each times a factor, by one kernel."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

_BLOCK = 1024


@triton.jit
def copy_kernel(table, scales, source_like, target_like, block: tl.constexpr):
    number = tl.program_id(0)
    entry = table + number * 5
    source = tl.load(entry).to(source_like.dtype)
    target = tl.load(entry + 1).to(target_like.dtype)
    size = tl.load(entry + 2)
    columns = tl.load(entry + 3)
    stride = tl.load(entry + 4)
    at = tl.program_id(1).to(tl.int64) * block + tl.arange(0, block)
    value = tl.load(source + at, at < size, other=0.0).to(tl.float32) * tl.load(scales + number)
    place = at // columns * stride + at % columns
    tl.store(target + place, value.to(target_like.dtype.element_ty), at < size)


class Copies:
    """Copies of sources [rows, columns], contiguous, into targets of their shape, rows anywhere, times scales.

    All sources have one type and all targets one; the tensors are kept, so that their addresses stay theirs.
    """

    def __init__(self, sources: Sequence[Tensor], targets: Sequence[Tensor], scales: Sequence[float]) -> None:
        self._kept = sources[0].detach(), targets[0], [source.detach() for source in sources], list(targets)
        device = targets[0].device
        rows = [
            [source.data_ptr(), target.data_ptr(), source.numel(), source.shape[1], target.stride(0)]
            for source, target in zip(sources, targets, strict=True)
        ]
        self._table = torch.tensor(rows, dtype=torch.int64, device=device)
        self._scales = torch.tensor(scales, dtype=torch.float32, device=device)
        self._grid = (len(rows), triton.cdiv(max(source.numel() for source in sources), _BLOCK))

    def __call__(self) -> None:
        source, target, _, _ = self._kept
        copy_kernel[self._grid](self._table, self._scales, source, target, block=_BLOCK, num_warps=4)
