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

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from workloads.training.fast.reference import multiply_into_pad, product

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
        self.rank = sum(lora.a.shape[0] for lora in self.loras if lora is not None)
        self.pad = -(-self.rank // _ALIGNMENT) * _ALIGNMENT
        self._pack()

    @property
    def parameters(self) -> list[nn.Parameter]:
        """What is trained: A and B of each layer that has them, in order."""
        return [parameter for lora in self.loras if lora is not None for parameter in (lora.a, lora.b)]

    def copies(self) -> list[tuple[Tensor, Tensor, float]]:
        """What has to be copied into the buffer before `forward`: a factor, its place there, and a scale for it."""
        if any(base.weight.data_ptr() != where for base, where in zip(self.bases, self._pointers, strict=True)):
            self._pack()  # the model was moved, or its weights were loaded anew
        return self._copies

    def input_buffer(self, rows: int) -> Tensor:
        """An uninitialised [rows, width + pad]: write the input into its first `width` columns."""
        return self._buffer.new_empty(rows, self.width + self.pad)

    def output_buffer(self, rows: int) -> Tensor:
        """An uninitialised [rows, height + pad]: write the output's gradient into its first `height` columns."""
        return self._buffer.new_empty(rows, self.height + self.pad)

    @property
    def a(self) -> Tensor:
        """A of all layers as it is in the buffer, [pad, width]; zero beyond the sum of the ranks."""
        return self._buffer[self.height :, : self.width]

    def fill(self, x: Tensor) -> Tensor:
        """Writes x A^T into the pad of an input buffer, and returns a copy that does not keep the buffer."""
        return multiply_into_pad(x, self.a)

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """The output [rows, height], residual included, for an input buffer whose pad is filled."""
        weight = self._buffer[: self.height].t()
        if residual is not None:
            return torch.addmm(residual, x, weight)
        return torch.mm(x, weight) if self._bias is None else torch.addmm(self._bias, x, weight)

    def backward_hidden(self, grad: Tensor) -> Tensor:
        """Fills the pad of an output buffer with s g B, and returns the pad."""
        pad = grad[:, self.height :]
        if self.pad:
            torch.mm(grad[:, : self.height], self._buffer[: self.height, self.width :], out=pad)
        return pad

    def backward_input(self, grad: Tensor) -> Tensor:
        """The gradient [rows, width] of the input, for an output buffer whose pad is filled."""
        return torch.mm(grad, self._buffer[:, : self.width])

    def grad_a(self, grad: Tensor, x: Tensor, normal: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """The gradient of the rows of A in the buffer, [pad, width], fp32.

        Args:
            grad: an output buffer whose pad is filled.
            x: the input [rows, width]; or, with `normal`, what the input was made from.
            normal: 1 / rms [rows] and weight [width], where the input is the norm of x. The norm need not be made
                again then: A's gradient is linear in it, so rows are scaled on one side and columns on the other.
        """
        left = grad[:, self.height :]
        if normal is None:
            return product(left.t(), x)
        left = (left * normal[0][:, None]).to(left.dtype)
        return product(left.t(), x) * normal[1].float()

    def grad_b(self, grad: Tensor, hidden: Tensor) -> Tensor:
        """The gradient of the columns of s B, [height, pad], fp32; `hidden` is x A^T."""
        return product(grad[:, : self.height].t(), hidden)

    def split(self, grad_a: Tensor, grad_b: Tensor) -> list[Tensor]:
        """The gradients of `parameters` from those of the buffer's A and s B."""
        grads = []
        for lora, (rank, row) in zip(self._present, self._places, strict=True):
            ranks = slice(rank, rank + lora.a.shape[0])
            grads.append(grad_a[ranks].to(lora.a.dtype))
            grads.append((grad_b[row : row + lora.b.shape[0], ranks] * lora.scale).to(lora.b.dtype))
        return grads

    def _pack(self) -> None:
        weight = self.bases[0].weight
        with torch.no_grad():
            self._buffer = weight.new_zeros(self.height + self.pad, self.width + self.pad)
            rank = row = 0
            self._present: list[Lora] = []
            self._places: list[tuple[int, int]] = []
            self._copies: list[tuple[Tensor, Tensor, float]] = []
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
                    self._copies += [(lora.a, a, 1.0), (lora.b, b, lora.scale)]
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


class Factors:
    """Brings the present LoRA factors into the buffers of projections; call it before their `forward`."""

    def __init__(self, projections: Sequence[Projection]) -> None:
        self._projections = projections
        self._copy: Callable[[], None] | None = None
        self._pointers: list[int] = []

    def __call__(self) -> None:
        copies = [copy for projection in self._projections for copy in projection.copies()]
        kinds = {(source.dtype, source.is_contiguous(), source.is_cuda) for source, _, _ in copies}
        if len(kinds) != 1 or not all(next(iter(kinds))[1:]):
            for source, target, scale in copies:
                target.copy_(source.detach() * scale)
            return
        pointers = [tensor.data_ptr() for copy in copies for tensor in copy[:2]]
        if self._copy is None or pointers != self._pointers:
            from workloads.training.fast.factor_kernel import Copies

            sources, targets, scales = zip(*copies, strict=True)
            self._copy, self._pointers = Copies(sources, targets, scales), pointers
        self._copy()
