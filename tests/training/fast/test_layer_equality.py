"""The hand-written layer computes what transformers and peft compute: outputs and gradients in fp32, on the CPU."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.fast.layers import ALL, FAMILIES, compare, flat_row, isolation, step, tiny_model
from workloads.training.fast import layer


@pytest.mark.parametrize("lean", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_families(family: str, lean: bool) -> None:
    compare(family, [5, 1, 9, 7], lean)


@given(
    family=st.sampled_from(FAMILIES),
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=5).filter(lambda lengths: max(lengths) > 1),
    targets=st.lists(st.sampled_from(ALL), min_size=1, unique=True).map(tuple),
)
@settings(max_examples=12, deadline=None)
def test_any_documents_and_any_choice_of_adapted_projections(
    family: str, lengths: list[int], targets: tuple[str, ...]
) -> None:
    compare(family, lengths, targets=targets)


def test_biases_of_the_projections_where_the_config_asks_for_them() -> None:
    model = tiny_model("Qwen2")
    assert any(name.endswith("q_proj.base_layer.bias") for name, _ in model.named_parameters())
    compare("Qwen2", [6, 3])


def test_a_sliding_window_shorter_than_the_documents() -> None:
    lengths, window = [9, 4, 12], 5
    inputs, documents = flat_row(lengths)
    plain, fast = tiny_model("Mistral", sliding_window=window), tiny_model("Mistral", sliding_window=window)
    layer.replace_layers(fast)
    weight = torch.randn(1, sum(lengths), 97)
    far = torch.ones(sum(lengths), sum(lengths)).tril(-window) * torch.finfo(torch.float32).min
    logits, grads = step(plain, {**inputs, "attention_mask": isolation(lengths) + far}, weight)
    fast_logits, fast_grads = step(fast, {**inputs, "documents": documents}, weight)
    torch.testing.assert_close(fast_logits, logits, rtol=1e-5, atol=1e-5)
    for name, grad in grads.items():
        torch.testing.assert_close(fast_grads[name], grad, rtol=1e-4, atol=1e-4 * float(grad.abs().max()))


@pytest.mark.parametrize("reentrant", [True, False])
def test_gradient_checkpointing(reentrant: bool) -> None:
    lengths = [5, 8]
    inputs, documents = flat_row(lengths)
    weight = torch.randn(1, sum(lengths), 97)
    kept, again = tiny_model("Qwen3"), tiny_model("Qwen3")
    for model in (kept, again):
        layer.replace_layers(model)
        model.enable_input_require_grads()
    again.gradient_checkpointing_enable({"use_reentrant": reentrant})
    logits, grads = step(kept, {**inputs, "documents": documents}, weight)
    same_logits, same_grads = step(again, {**inputs, "documents": documents}, weight)
    assert torch.equal(logits, same_logits)
    assert all(torch.equal(grad, same_grads[name]) for name, grad in grads.items())


def test_gradients_accumulate() -> None:
    model = tiny_model("Llama")
    layer.replace_layers(model)
    parts = [flat_row([4, 6], seed=1), flat_row([9], seed=2)]
    weights = [torch.randn(1, 10, 97), torch.randn(1, 9, 97)]
    alone = [
        step(model, {**inputs, "documents": documents}, weight)[1]
        for (inputs, documents), weight in zip(parts, weights, strict=True)
    ]
    model.zero_grad()
    for (inputs, documents), weight in zip(parts, weights, strict=True):
        (model(**inputs, documents=documents).logits * weight).sum().backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            torch.testing.assert_close(parameter.grad, alone[0][name] + alone[1][name])


def test_adapters_in_fp32_over_a_bf16_model_get_fp32_gradients() -> None:
    model = tiny_model("Qwen2").bfloat16()
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data = parameter.data.float()
    assert layer.refuse(model) is None
    layer.replace_layers(model)
    inputs, documents = flat_row([5, 8])
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(**inputs, documents=documents).logits.float().logsumexp(-1).sum()
    loss.backward()
    assert {p.grad.dtype for p in model.parameters() if p.grad is not None} == {torch.float32}
