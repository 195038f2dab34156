"""Attention over flat rows sees what a mask would let it see, forward and backward."""

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from workloads.training.fast.attention import Documents, attend, attend_backward, attend_forward

LENGTHS = [5, 1, 9, 3]
WINDOWS = [None, 4, 100]


def _documents(lengths: list[int]) -> Documents:
    nothing = torch.empty(0, dtype=torch.int64)
    return Documents(torch.tensor([0, *lengths]).cumsum(0).int(), max(lengths), nothing, nothing)


def _inputs(total: int, seed: int = 0) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    shapes = ((total, 4, 8), (total, 2, 8), (total, 2, 8))
    return tuple(torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_() for shape in shapes)


def _masked(*inputs: torch.Tensor, window: int | None) -> torch.Tensor:
    """The same by a mask over the whole row, which is how transformers does it."""
    numbers = torch.repeat_interleave(torch.arange(len(LENGTHS)), torch.tensor(LENGTHS))
    back = torch.arange(len(numbers))[:, None] - torch.arange(len(numbers))
    mask = (numbers[:, None] == numbers) & (back >= 0) & (back < (window or len(numbers)))
    query, key, value = (each.transpose(0, 1)[None] for each in inputs)
    out = scaled_dot_product_attention(query, key, value, mask, scale=0.3, enable_gqa=True)
    return out[0].transpose(0, 1)


@pytest.mark.parametrize("window", WINDOWS)
def test_it_equals_a_masked_row(window: int | None) -> None:
    inputs = _inputs(sum(LENGTHS))
    out = attend(*inputs, _documents(LENGTHS), 0.3, window)
    torch.testing.assert_close(out, _masked(*inputs, window=window))


@pytest.mark.parametrize("window", WINDOWS)
def test_its_own_backward_gives_autograd_s_gradients(window: int | None) -> None:
    inputs, documents = _inputs(sum(LENGTHS)), _documents(LENGTHS)
    grad = torch.randn_like(inputs[0])
    expected = torch.autograd.grad(_masked(*inputs, window=window), inputs, grad)
    with torch.no_grad():
        out, kept = attend_forward(*inputs, documents, 0.3, window)
        found = attend_backward(grad, *inputs, out, kept, documents, 0.3, window)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_no_document_feels_another() -> None:
    documents, start = _documents(LENGTHS), LENGTHS[0] + LENGTHS[1]
    query, key, value = _inputs(sum(LENGTHS))
    changed = [torch.cat([torch.randn_like(each[:start]), each[start:]]) for each in (query, key, value)]
    before = attend(query, key, value, documents, 0.3)[start:]
    after = attend(*changed, documents, 0.3)[start:]
    assert torch.equal(before, after)
    gradients = torch.autograd.grad(before.square().sum(), (query, key, value))
    assert all(not each[:start].any() for each in gradients)
