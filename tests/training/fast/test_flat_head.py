"""The loss of a flat row is transformers' loss, however the head works and however few rows it takes at a time."""

import pytest
import torch
from torch import nn
from transformers.loss.loss_utils import ForCausalLMLoss

from workloads.training.fast import head
from workloads.training.fast.attention import Documents
from workloads.training.fast.head import loss_of, loss_of_logits

WIDTH, VOCABULARY, TOKENS = 6, 11, 9


def _case(dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor, Documents]:
    torch.manual_seed(3)
    hidden = torch.randn(1, TOKENS, WIDTH, dtype=dtype, requires_grad=True)
    labels = torch.tensor([[4, -100, 2, 2, -100, -100, 10, 0, 7]])
    rows = torch.tensor([1, 2, 5, 6, 7])  # those before a label
    return hidden, labels, Documents(torch.tensor([0, TOKENS]).int(), TOKENS, rows, labels[0, rows + 1])


class _Doubled(nn.Linear):
    """A head that is more than its weight."""

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(rows)


@pytest.mark.parametrize("items", [None, torch.tensor(17)], ids=["mean", "items"])
@pytest.mark.parametrize("trained", [False, True], ids=["frozen", "trained"])
@pytest.mark.parametrize("kind", [nn.Linear, _Doubled])
@pytest.mark.parametrize("logits", [VOCABULARY * 2, VOCABULARY * 100], ids=["in pieces", "at once"])
def test_loss_and_gradients_are_those_of_transformers(
    monkeypatch: pytest.MonkeyPatch, items: torch.Tensor | None, trained: bool, kind: type[nn.Linear], logits: int
) -> None:
    monkeypatch.setattr(head, "LOGITS_AT_ONCE", logits)
    hidden, labels, documents = _case()
    layer = kind(WIDTH, VOCABULARY, bias=False, dtype=torch.float64).requires_grad_(trained)
    expected = ForCausalLMLoss(layer(hidden), labels, VOCABULARY, num_items_in_batch=items)
    found = loss_of(hidden, layer, documents, items)
    torch.testing.assert_close(found.double(), expected.double(), rtol=1e-6, atol=0)
    learning = [hidden, layer.weight] if trained else [hidden]
    for one, other in zip(torch.autograd.grad(found, learning), torch.autograd.grad(expected, learning), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-8)


def test_logits_of_a_model_s_own_give_the_same_loss() -> None:
    hidden, labels, documents = _case()
    layer = nn.Linear(WIDTH, VOCABULARY, bias=False, dtype=torch.float64)
    found = loss_of_logits(layer(hidden)[0, documents.rows], documents, None)
    torch.testing.assert_close(found, ForCausalLMLoss(layer(hidden), labels, VOCABULARY), rtol=1e-6, atol=0)


def test_a_row_without_labels_costs_nothing_and_teaches_nothing() -> None:
    hidden, _, documents = _case()
    nothing = torch.empty(0, dtype=torch.int64)
    empty = Documents(documents.starts, documents.longest, nothing, nothing)
    layer = nn.Linear(WIDTH, VOCABULARY, bias=False, dtype=torch.float64)
    loss = loss_of(hidden, layer, empty, torch.tensor(5))
    assert loss.item() == 0
    assert not torch.autograd.grad(loss, hidden)[0].any()


def test_evaluation_makes_no_gradient_of_the_weight() -> None:
    hidden, _, documents = _case()
    layer = nn.Linear(WIDTH, VOCABULARY, bias=False, dtype=torch.float64)
    with torch.no_grad():
        assert not loss_of(hidden, layer, documents, None).requires_grad
