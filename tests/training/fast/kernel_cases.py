"""The Triton kernels compute what their plain torch references compute.

Triton decides when it is imported whether it interprets, so `test_kernels.py` runs these cases in a process of its own.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from workloads.training.fast import kernels, reference
from workloads.training.fast.reference import HeadNorm


def close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)


def wide(rows: int, columns: int) -> Tensor:
    """The first columns of a wider matrix, as in the buffers of `packed`; NaN where nothing was written."""
    return torch.full((rows, columns + 3), float("nan"))[:, :columns]


@pytest.mark.parametrize(("rows", "columns"), [(3, 32), (2, 70), (1, 1)])
def test_norm_and_its_gradient(rows: int, columns: int) -> None:
    torch.manual_seed(0)
    x, grad, residual = (torch.randn(rows, columns) for _ in range(3))
    weight = torch.randn(columns)
    out, expected = wide(rows, columns), wide(rows, columns)
    inverse = reference.rms_norm(x, weight, 1e-5, expected)
    close(kernels.rms_norm(x, weight, 1e-5, out), inverse)
    close(out, expected)
    kernels.rms_norm_backward(grad, x, inverse, weight, residual, out)
    reference.rms_norm_backward(grad, x, inverse, weight, residual, expected)
    close(out, expected)


@pytest.mark.parametrize("normed", [True, False])
@pytest.mark.parametrize(("heads", "kv_heads", "head_dim"), [(4, 2, 16), (20, 5, 24), (1, 1, 8)])
def test_rotation_and_its_gradient(heads: int, kv_heads: int, head_dim: int, normed: bool) -> None:
    torch.manual_seed(0)
    rows = 3
    qkv = torch.randn(rows, (heads + 2 * kv_heads) * head_dim)
    cos, sin = torch.randn(rows, head_dim), torch.randn(rows, head_dim)
    norm = HeadNorm(torch.randn(head_dim), torch.randn(head_dim), 1e-6) if normed else None
    close(
        kernels.rotate(qkv, cos, sin, heads, kv_heads, norm),
        reference.rotate(qkv, cos, sin, heads, kv_heads, norm),
    )
    grads = tuple(torch.randn(rows, number, head_dim) for number in (heads, kv_heads, kv_heads))
    out, expected = wide(*qkv.shape), wide(*qkv.shape)
    kernels.rotate_backward(grads, qkv, cos, sin, norm, out)
    reference.rotate_backward(grads, qkv, cos, sin, norm, expected)  # type: ignore[arg-type]
    close(out, expected)


@pytest.mark.parametrize(("rows", "width"), [(5, 40), (33, 130)])
def test_gated_activation_and_its_gradient(rows: int, width: int) -> None:
    torch.manual_seed(0)
    gate_up, grad = torch.randn(rows, 2 * width), torch.randn(rows, width)
    out, expected = wide(rows, width), wide(rows, width)
    kernels.gated(gate_up, out)
    reference.gated(gate_up, expected)
    close(out, expected)
    again = wide(rows, width)
    out, expected_grad = wide(rows, 2 * width), wide(rows, 2 * width)
    kernels.gated_backward(grad, gate_up, out, again)
    reference.gated_backward(grad, gate_up, expected_grad, None)
    close(again, expected)
    close(out, expected_grad)


def test_references_agree_with_autograd() -> None:
    torch.manual_seed(0)
    x, weight, grad = torch.randn(4, 12, requires_grad=True), torch.randn(12), torch.randn(4, 12)
    out = torch.empty(4, 12)
    inverse = reference.rms_norm(x.detach(), weight, 1e-5, out)
    normal = torch.nn.functional.rms_norm(x, (12,), weight, 1e-5)
    close(out, normal.detach())
    reference.rms_norm_backward(grad, x.detach(), inverse, weight, torch.zeros(4, 12), out)
    close(out, torch.autograd.grad(normal, x, grad)[0])
