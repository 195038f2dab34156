"""Linear layers that read the same input, with their LoRA factors, as one matrix: one matrix product each way.

A projection of `width` inputs and `height` outputs whose factors A [rank, width] and B [height, rank] are scaled by s
keeps everything in one buffer of (height + pad) x (width + pad):

    [ W | s B ]      forward:   [x | x A^T] [W | s B]^T   =  x W^T + s x A^T B^T
    [ A |  0  ]      backward:  [g | s g B] [W ; A]       =  g W + s g B A

So base and LoRA delta are summed in the product's own fp32 and rounded once: a young delta is below half a bf16 ulp
of the sum, and added to a rounded tensor it would be lost. `pad` is the sum of the ranks, rounded up so that rows stay
aligned; what is beyond the ranks is zero. The frozen weights become views of the buffer, so memory grows by pads only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

_ALIGNMENT = 64  # elements: 128 bytes of bf16, and the depth of a tile of cuBLAS's kernels


class Lora(NamedTuple):
    """The factors of one linear layer: A [rank, width], B [height, rank], and what their product is multiplied by."""

    a: nn.Parameter
    b: nn.Parameter
    scale: float


class Projection:
    """One or more frozen linear layers of the same input, each with or without LoRA."""

    def __init__(self, bases: Sequence[nn.Linear], loras: Sequence[Lora | None]) -> None:
        self.bases = tuple(bases)
        self.loras = tuple(loras)
        self.width = bases[0].in_features
        self.heights = [base.out_features for base in bases]
        self.height = sum(self.heights)
        ranks = sum(lora.a.shape[0] for lora in self.loras if lora is not None)
        self.pad = -(-ranks // _ALIGNMENT) * _ALIGNMENT
        self._pack()

    @property
    def parameters(self) -> list[nn.Parameter]:
        """What is trained: A and B of each layer that has them, in order."""
        return [parameter for lora in self.loras if lora is not None for parameter in (lora.a, lora.b)]

    def prepare(self) -> None:
        """Copies the present LoRA factors into the buffer; call it before `forward`."""
        if any(base.weight.data_ptr() != where for base, where in zip(self.bases, self._pointers, strict=True)):
            self._pack()  # the model was moved, or its weights were loaded anew
        with torch.no_grad():
            for lora, (a, b) in zip(self._present, self._factors, strict=True):
                a.copy_(lora.a)
                torch.mul(lora.b, lora.scale, out=b) if lora.b.dtype == b.dtype else b.copy_(lora.b * lora.scale)

    def input_buffer(self, rows: int) -> Tensor:
        """An uninitialised [rows, width + pad]: write the input into its first `width` columns."""
        return self._buffer.new_empty(rows, self.width + self.pad)

    def output_buffer(self, rows: int) -> Tensor:
        """An uninitialised [rows, height + pad]: write the output's gradient into its first `height` columns."""
        return self._buffer.new_empty(rows, self.height + self.pad)

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """The output [rows, height] for an input buffer, residual included; x A^T is left in the buffer's pad."""
        if self.pad:
            torch.mm(x[:, : self.width], self._buffer[self.height :, : self.width].t(), out=x[:, self.width :])
        weight = self._buffer[: self.height].t()
        if residual is not None:
            return torch.addmm(residual, x, weight)
        return torch.mm(x, weight) if self._bias is None else torch.addmm(self._bias, x, weight)

    def hidden(self, x: Tensor) -> Tensor:
        """The pad of an input buffer that `forward` has seen, x A^T, as a tensor that does not keep the buffer."""
        return x[:, self.width :].clone()

    def backward_hidden(self, grad: Tensor) -> Tensor:
        """Fills the pad of an output buffer with s g B, and returns the pad."""
        pad = grad[:, self.height :]
        if self.pad:
            torch.mm(grad[:, : self.height], self._buffer[: self.height, self.width :], out=pad)
        return pad

    def backward_input(self, grad: Tensor) -> Tensor:
        """The gradient [rows, width] of the input, for an output buffer whose pad is filled."""
        return torch.mm(grad, self._buffer[:, : self.width])

    def backward_factors(
        self, grad: Tensor, x: Tensor, hidden: Tensor, normal: tuple[Tensor, Tensor] | None = None
    ) -> list[Tensor]:
        """The gradients of `parameters`.

        Args:
            grad: an output buffer whose pad is filled.
            x: the input [rows, width]; or, with `normal`, what the input was made from.
            hidden: x A^T [rows, pad].
            normal: 1 / rms [rows] and weight [width], where the input is the norm of x. The norm need not be made
                again then: A's gradient is linear in it, so rows are scaled on one side and columns on the other.
        """
        if not self.pad:
            return []
        left = grad[:, self.height :]
        if normal is not None:
            left = (left * normal[0][:, None]).to(left.dtype)
        dtype = self._present[0].a.dtype
        grad_a = _product(left.t(), x, dtype)
        if normal is not None:
            grad_a = grad_a * normal[1].to(dtype)
        grad_b = _product(grad[:, : self.height].t(), hidden, dtype)
        grads = []
        for lora, (rank, row) in zip(self._present, self._places, strict=True):
            ranks = slice(rank, rank + lora.a.shape[0])
            grads += [grad_a[ranks], grad_b[row : row + lora.b.shape[0], ranks] * lora.scale]
        return grads

    def _pack(self) -> None:
        weight = self.bases[0].weight
        with torch.no_grad():
            self._buffer = weight.new_zeros(self.height + self.pad, self.width + self.pad)
            rank = row = 0
            self._present: list[Lora] = []
            self._places: list[tuple[int, int]] = []
            self._factors: list[tuple[Tensor, Tensor]] = []
            for base, lora in zip(self.bases, self.loras, strict=True):
                rows = slice(row, row + base.out_features)
                view = self._buffer[rows, : self.width]
                view.copy_(base.weight)
                base.weight.data = view
                if lora is not None:
                    top, left = self.height + rank, self.width + rank
                    a = self._buffer[top : top + lora.a.shape[0], : self.width]
                    b = self._buffer[rows, left : left + lora.a.shape[0]]
                    self._present.append(lora)
                    self._places.append((rank, row))
                    self._factors.append((a, b))
                    rank += lora.a.shape[0]
                row += base.out_features
        self._pointers = [base.weight.data_ptr() for base in self.bases]
        self._bias = self._joined_bias()

    def _joined_bias(self) -> Tensor | None:
        if all(base.bias is None for base in self.bases):
            return None
        parts = [
            base.weight.new_zeros(base.out_features) if base.bias is None else base.bias.detach() for base in self.bases
        ]
        return torch.cat(parts)


def _product(left: Tensor, right: Tensor, dtype: torch.dtype) -> Tensor:
    if left.is_cuda and dtype == torch.float32 != left.dtype:
        return torch.mm(left, right, out_dtype=dtype)
    return torch.mm(left, right).to(dtype)
