"""A LoRA linear as one node computes what peft computes, and leaves alone what it cannot."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from torch import nn
from torch.utils.checkpoint import checkpoint

from workloads.training.fast.lora_linear import replace_linears, why_not


class Two(nn.Module):
    """Two linear layers with something between."""

    def __init__(self, bias: bool) -> None:
        super().__init__()
        self.first = nn.Linear(6, 10, bias=bias)
        self.second = nn.Linear(10, 4, bias=bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(torch.tanh(self.first(x)))


def _adapted(biased: bool = True, **options: Any) -> PeftModel:
    torch.manual_seed(0)
    model = get_peft_model(Two(biased), LoraConfig(r=3, lora_alpha=7, target_modules=["first", "second"], **options))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.copy_(0.3 * torch.randn_like(parameter))
    return model.train()


def _learn(model: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The output, and the gradients of the input and of what is trained."""
    x = x.detach().requires_grad_()
    torch.manual_seed(5)
    y = model(x)
    y.float().square().sum().backward()
    found = {name: each.grad for name, each in model.named_parameters() if each.grad is not None}
    assert x.grad is not None
    return y.detach(), found | {"x": x.grad}


def _same(one: nn.Module, other: nn.Module, x: torch.Tensor, **close: float) -> None:
    y, gradients = _learn(one, x)
    expected, others = _learn(other, x)
    assert y.dtype == expected.dtype
    assert gradients.keys() == others.keys()
    torch.testing.assert_close(y, expected, **close)
    for name, gradient in gradients.items():
        assert gradient.dtype == others[name].dtype
        torch.testing.assert_close(gradient, others[name], **close)


def _replaced(plain: PeftModel) -> PeftModel:
    model = copy.deepcopy(plain)
    assert replace_linears(model) == (2, {})
    return model


X = torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("biased", "options"),
    [
        (True, {}),
        (False, {}),
        (True, {"use_rslora": True}),
        (True, {"bias": "all"}),
        (True, {"modules_to_save": []}),
        (True, {"lora_dropout": 0.4}),
    ],
    ids=["bias", "no bias", "rslora", "trained bias", "nothing saved whole", "dropout"],
)
def test_it_gives_peft_s_output_and_gradients(biased: bool, options: dict[str, Any]) -> None:
    plain = _adapted(biased, **options)
    _same(_replaced(plain), plain, X)


def test_modules_that_are_saved_whole_stay_as_they_are() -> None:
    torch.manual_seed(0)
    plain = get_peft_model(Two(True), LoraConfig(r=3, target_modules=["first"], modules_to_save=["second"])).train()
    model = copy.deepcopy(plain)
    assert replace_linears(model) == (1, {})
    _same(model, plain, X)


@pytest.mark.parametrize("adapters", [torch.float32, torch.bfloat16])
def test_under_autocast_it_is_as_near_to_fp32_as_peft_is(adapters: torch.dtype) -> None:
    exact = _adapted()
    plain = copy.deepcopy(exact)
    for name, parameter in plain.named_parameters():
        parameter.data = parameter.data.to(adapters if "lora_" in name else torch.bfloat16)
    model = _replaced(plain)
    truth, true_gradients = _learn(exact, X)
    errors = []
    for each in (model, plain):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y, gradients = _learn(each, X.bfloat16())
        assert all(gradients[name].dtype == (adapters if "lora" in name else torch.bfloat16) for name in gradients)
        far = [float((gradients[name].float() - true_gradients[name]).norm() / true_gradients[name].norm())
               for name in gradients]  # fmt: skip
        errors.append([float((y.float() - truth).norm() / truth.norm()), *far])
    assert max(errors[0]) < 0.03
    assert sum(errors[0]) < 1.3 * sum(errors[1])


@pytest.mark.parametrize("reentrant", [True, False])
def test_it_can_be_computed_again(reentrant: bool) -> None:
    plain = _adapted(lora_dropout=0.4)
    model = _replaced(plain)
    whole = _learn(model, X)
    model.zero_grad()
    again = _learn(_Checkpointed(model, reentrant), X)
    assert torch.equal(whole[0], again[0])
    for name, gradient in whole[1].items():
        assert torch.equal(gradient, again[1][name if name == "x" else f"inner.{name}"])


class _Checkpointed(nn.Module):
    def __init__(self, inner: nn.Module, reentrant: bool) -> None:
        super().__init__()
        self.inner, self._reentrant = inner, reentrant

    def forward(self, x: torch.Tensor) -> Any:
        return checkpoint(self.inner, x, use_reentrant=self._reentrant)


def test_adapters_that_are_off_merged_or_changed_are_peft_s_matter() -> None:
    model = _replaced(_adapted())
    plain = _adapted()
    for each in (model, plain):
        each.eval()
    with model.disable_adapter(), plain.disable_adapter():
        torch.testing.assert_close(model(X), plain(X))
    for each in (model, plain):
        each.add_adapter("other", LoraConfig(r=2, target_modules=["first", "second"], init_lora_weights=False))
        each.base_model.set_adapter(["default", "other"])
    plain.load_state_dict(model.state_dict())
    torch.testing.assert_close(model(X), plain(X))
    model.merge_adapter()
    torch.testing.assert_close(model(X), plain(X), rtol=1e-4, atol=1e-5)


def test_saved_adapters_are_peft_s(tmp_path: Path) -> None:
    plain = _adapted()
    model = _replaced(plain)
    plain.save_pretrained(tmp_path / "plain")
    model.save_pretrained(tmp_path / "ours")
    name = "adapter_model.safetensors"
    assert (tmp_path / "plain" / name).read_bytes() == (tmp_path / "ours" / name).read_bytes()
    loaded = PeftModel.from_pretrained(Two(True), str(tmp_path / "ours"))
    assert {key for key, _ in loaded.named_parameters()} == {key for key, _ in plain.named_parameters()}


@pytest.mark.parametrize(
    ("options", "reason"),
    [({"use_dora": True}, "DoRA"), ({"lora_bias": True}, "lora_bias")],
)
def test_what_it_cannot_do_keeps_peft_s_forward_and_says_why(options: dict[str, Any], reason: str) -> None:
    plain = _adapted(**options)
    model = copy.deepcopy(plain)
    replaced, kept = replace_linears(model)
    [(why, count)] = kept.items()
    assert (replaced, count) == (0, 2)
    assert reason in why
    _same(model, plain, X)


def test_two_adapters_an_embedding_and_a_quantized_base_are_told_apart() -> None:
    model = _adapted()
    model.add_adapter("other", LoraConfig(r=2, target_modules=["first", "second"]))
    model.base_model.set_adapter(["default", "other"])
    first, second = (module for module in model.modules() if isinstance(module, LoraLayer))
    assert "2 adapters" in str(why_not(first))
    model.set_adapter("default")
    first.base_layer.weight.requires_grad_(True)
    assert "trained too" in str(why_not(first))
    second.base_layer.__class__ = type("Linear8bitLt", (nn.Linear,), {})
    assert "Linear8bitLt" in str(why_not(second))
    embedded = get_peft_model(nn.Sequential(nn.Embedding(5, 4)), LoraConfig(r=2, target_modules=["0"]))
    [layer] = (module for module in embedded.modules() if isinstance(module, LoraLayer))
    assert "not a linear layer" in str(why_not(layer))
