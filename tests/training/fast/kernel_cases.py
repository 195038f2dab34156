"""The Triton kernels compute what their plain torch references compute.

Triton decides when it is imported whether it interprets, so `test_kernels.py` runs these cases in a process of its own.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from triton.runtime import interpreter

from workloads.training.fast import factor_kernel, gated_kernels, head_kernel, kernels, reference, short_attention
from workloads.training.fast.attention import Documents, attend_backward, attend_forward
from workloads.training.fast.layer_attention import spans
from workloads.training.fast.reference import HeadNorm


@pytest.fixture(autouse=True)
def _bounds_of_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    """Triton 3.5's interpreter makes loop bounds of arrays of one element, which NumPy 2.4 no longer converts."""
    patch_tensor = interpreter._patch_lang_tensor

    def patch(tensor: Any) -> None:
        patch_tensor(tensor)
        tensor.__index__ = lambda self: self.handle.data.item()

    monkeypatch.setattr(interpreter, "_patch_lang_tensor", patch)


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


@pytest.mark.parametrize("ranks", [(3, 6), (0, 6), (3, 40), (20, 17)])
@pytest.mark.parametrize(("rows", "width"), [(5, 40), (33, 130), (70, 8)])
def test_gated_activation_and_its_gradient(
    rows: int, width: int, ranks: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gated_kernels, "BACKWARD_SLABS", 2)
    monkeypatch.setattr(gated_kernels, "FORWARD_SLABS", 2)
    monkeypatch.setattr(gated_kernels, "FORWARD_TILE", (16, 32, 4, 1))
    torch.manual_seed(0)
    gate_up, grad = torch.randn(rows, 2 * width), torch.randn(rows, width)
    factor = torch.zeros(64 if ranks[0] else 0, width)
    factor[: ranks[0]] = torch.randn(ranks[0], width)
    out, expected = wide(rows, width + len(factor)), wide(rows, width + len(factor))
    low = kernels.gated(gate_up, factor, ranks[0], out)
    close(low, reference.gated(gate_up, factor, ranks[0], expected))
    close(out, expected)
    left, low = torch.randn(rows, 64)[:, : 64 if ranks[0] else 0], torch.randn(rows, 64)
    out, expected = wide(rows, 2 * width), wide(rows, 2 * width)
    found = kernels.gated_backward(grad, gate_up, left, low, ranks, out)
    wanted = reference.gated_backward(grad, gate_up, left, low, ranks, expected)
    close(out, expected)
    torch.testing.assert_close(found[0][: ranks[0]], wanted[0][: ranks[0]], rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(found[1][:, : ranks[1]], wanted[1][:, : ranks[1]], rtol=1e-5, atol=1e-4)


def test_copies_of_factors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(factor_kernel, "_BLOCK", 8)
    torch.manual_seed(0)
    sources = [torch.randn(3, 5), torch.randn(7, 2), torch.randn(1, 1)]
    buffer = torch.zeros(12, 9)
    targets = [buffer[8:11, :5], buffer[:7, 5:7], buffer[11:, 8:]]
    copy = factor_kernel.Copies(sources, targets, [1.0, 0.5, 3.0])
    for change in (0.0, 1.0):
        for source in sources:
            source.add_(change)
        copy()
        expected = torch.zeros(12, 9)
        expected[8:11, :5], expected[:7, 5:7], expected[11:, 8:] = sources[0], sources[1] / 2, sources[2] * 3
        close(buffer, expected)


@pytest.mark.parametrize("vocabulary", [11, 40])
def test_cross_entropy_and_its_gradient(vocabulary: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head_kernel, "_BLOCK", 16)
    torch.manual_seed(0)
    logits, targets = 5 * torch.randn(4, vocabulary), torch.randint(0, vocabulary, (4,))
    expected = logits.clone().requires_grad_()
    losses = torch.nn.functional.cross_entropy(expected, targets, reduction="none")
    wanted = torch.autograd.grad(losses.sum(), expected)[0]
    close(head_kernel.entropy_in_place(logits, targets, False), losses.detach())
    close(head_kernel.entropy_in_place(logits, targets, True), losses.detach())
    close(logits, wanted)


def test_references_agree_with_autograd() -> None:
    torch.manual_seed(0)
    x, weight, grad = torch.randn(4, 12, requires_grad=True), torch.randn(12), torch.randn(4, 12)
    out = torch.empty(4, 12)
    inverse = reference.rms_norm(x.detach(), weight, 1e-5, out)
    normal = torch.nn.functional.rms_norm(x, (12,), weight, 1e-5)
    close(out, normal.detach())
    reference.rms_norm_backward(grad, x.detach(), inverse, weight, torch.zeros(4, 12), out)
    close(out, torch.autograd.grad(normal, x, grad)[0])


@pytest.mark.parametrize("lengths", [[70, 3, 64, 1, 20], [5], [130]])
@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 2), (3, 1)])
def test_attention_over_short_documents(lengths: list[int], heads: int, kv_heads: int) -> None:
    torch.manual_seed(0)
    tokens, dim = sum(lengths), 16
    starts = torch.tensor([0, *lengths]).cumsum(0).int()
    documents = Documents(starts, max(lengths), starts, starts)
    qkv = torch.randn(tokens, heads + 2 * kv_heads, dim)
    query, key, value = qkv.split((heads, kv_heads, kv_heads), 1)
    grad = torch.randn(tokens, heads, dim)
    first, last = spans(documents, tokens)
    assert last.tolist() == [sum(lengths[: i + 1]) - 1 for i, length in enumerate(lengths) for _ in range(length)]
    out = wide(tokens, heads * dim).unflatten(1, (heads, dim))
    total = short_attention.attend_forward(query, key, value, first, 0.3, out)
    expected, kept = attend_forward(query, key, value, documents, 0.3)
    close(out, expected)
    found = short_attention.attend_backward(grad, query, key, value, out, total, first, last, 0.3)
    for one, other in zip(found, attend_backward(grad, query, key, value, out, kept, documents, 0.3), strict=True):
        close(one, other)
