"""Base, LoRA delta and residual are summed before anything is rounded."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from workloads.training.fast.packed import Factors, Lora, Projection


def _projection(rank: int = 4, scale: float = 2.0) -> tuple[Projection, Lora]:
    torch.manual_seed(0)
    base = nn.Linear(96, 64, bias=False, dtype=torch.bfloat16).requires_grad_(False)
    lora = Lora(nn.Parameter(torch.randn(rank, 96) / 10), nn.Parameter(torch.randn(64, rank) / 2000), scale)
    return Projection([base], [lora]), lora


def _forward(projection: Projection, x: Tensor, residual: Tensor | None) -> tuple[Tensor, Tensor]:
    Factors([projection])()
    buffer = projection.input_buffer(x.shape[0])
    buffer[:, : projection.width] = x
    hidden = projection.fill(buffer)
    return projection.forward(buffer, residual), hidden


@pytest.mark.parametrize("with_residual", [True, False])
def test_a_young_delta_survives_rounding(with_residual: bool) -> None:
    projection, lora = _projection()
    x = torch.randn(512, 96).bfloat16()
    residual = 4 * torch.randn(512, 64).bfloat16() if with_residual else None
    young, _ = _forward(projection, x, residual)
    with torch.no_grad():
        delta = lora.scale * (x.float() @ lora.a.bfloat16().float().t()) @ lora.b.bfloat16().float().t()
        lora.b.zero_()
    without, _ = _forward(projection, x, residual)
    assert delta.abs().mean() < without.abs().float().mean() / 256  # below half an ulp of bf16
    arrived = ((young.float() - without.float()) * delta).sum() / delta.square().sum()
    assert 0.8 < arrived < 1.2


def test_gradients_are_those_of_the_formula() -> None:
    torch.manual_seed(1)
    bases = [nn.Linear(10, 6), nn.Linear(10, 3, bias=False), nn.Linear(10, 5, bias=False)]
    weights = [base.requires_grad_(False).weight.clone() for base in bases]
    loras = [Lora(nn.Parameter(torch.randn(2, 10)), nn.Parameter(torch.randn(6, 2)), 0.5), None,
             Lora(nn.Parameter(torch.randn(3, 10)), nn.Parameter(torch.randn(5, 3)), 3.0)]  # fmt: skip
    projection = Projection(bases, loras)
    x, grad = torch.randn(7, 10, requires_grad=True), torch.randn(7, 14)
    out, hidden = _forward(projection, x.detach(), None)
    parts = []
    for base, weight, lora in zip(bases, weights, loras, strict=True):
        part = nn.functional.linear(x, weight, base.bias)
        parts.append(part if lora is None else part + lora.scale * (x @ lora.a.t()) @ lora.b.t())
    expected = torch.cat(parts, 1)
    torch.testing.assert_close(out, expected.detach())
    buffer = projection.output_buffer(7)
    buffer[:, :14] = grad
    projection.backward_hidden(buffer)
    found = [
        projection.backward_input(buffer),
        *projection.split(projection.grad_a(buffer, x.detach()), projection.grad_b(buffer, hidden)),
    ]
    for one, other in zip(found, torch.autograd.grad(expected, [x, *projection.parameters], grad), strict=True):
        torch.testing.assert_close(one, other)


def test_weights_share_the_memory_of_the_buffer() -> None:
    projection, _ = _projection()
    base = projection.bases[0]
    before = base.weight.clone()
    Factors([projection])()
    assert torch.equal(base.weight, before)
    assert base.weight.untyped_storage().nbytes() == projection.input_buffer(1).element_size() * (64 + 64) * (96 + 64)
