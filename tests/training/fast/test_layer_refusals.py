"""What the hand-written layer does not know it refuses with the reason; what it is not meant for runs as it did."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from tests.training.fast.layers import FAMILIES, flat_row, isolation, tiny_model, watch
from workloads.training.fast import layer


def _decoder(model: Any) -> Any:
    return layer.decoder_layers(model)[1]


def _quantize(model: Any) -> None:
    class Linear4bit(nn.Linear):
        pass

    _decoder(model).mlp.up_proj.base_layer.__class__ = Linear4bit


def _train_a_norm(model: Any) -> None:
    _decoder(model).input_layernorm.weight.requires_grad_()


def _add_hook(model: Any) -> None:
    _decoder(model).self_attn.v_proj.register_forward_hook(lambda *_: None)


def _keep_norm_in_fp32_class(model: Any) -> None:
    _decoder(model).post_attention_layernorm = nn.LayerNorm(32)


def _second_adapter(model: Any) -> None:
    from peft import LoraConfig

    model.add_adapter("other", LoraConfig(r=2, target_modules=["q_proj"]))
    model.base_model.set_adapter(["default", "other"])


def _bias_on_output(model: Any) -> None:
    _decoder(model).self_attn.o_proj.base_layer.bias = nn.Parameter(torch.zeros(32), requires_grad=False)


def _adapter_with_options(**options: Any) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        from peft import LoraConfig

        model.delete_adapter("default")
        model.add_adapter("default", LoraConfig(r=2, target_modules=["down_proj"], **options))
        model.set_adapter("default")

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_adapter_with_options(lora_dropout=0.1), "down_proj: lora_dropout is 0.1"),
        (_adapter_with_options(use_dora=True), "down_proj: DoRA"),
        (_adapter_with_options(lora_bias=True), "down_proj: LoRA has a bias"),
        (_quantize, "up_proj: the base is a Linear4bit"),
        (_train_a_norm, "input_layernorm.weight is trained"),
        (_add_hook, "v_proj has forward hooks"),
        (_keep_norm_in_fp32_class, "post_attention_layernorm is a LayerNorm"),
        (_second_adapter, "q_proj: 2 LoRA adapters are active"),
        (_bias_on_output, "o_proj has a bias"),
        (lambda model: model.merge_adapter(), "q_proj: its LoRA adapter is merged"),
        (lambda model: model.base_model.disable_adapter_layers(), "q_proj: its LoRA adapter is disabled"),
    ],
)
def test_refusals_name_the_layer_and_the_reason(change: Callable[[Any], None], reason: str) -> None:
    model = tiny_model("Qwen2")
    change(model)
    refused = layer.refuse(model)
    assert refused is not None
    assert refused.startswith("decoder layer ")
    assert reason in refused


@pytest.mark.parametrize(
    ("family", "options", "reason"),
    [
        ("Llama", {"attention_dropout": 0.1}, "attention_dropout is 0.1"),
        ("Llama", {"hidden_act": "gelu"}, "with gelu"),
        ("Llama", {"mlp_bias": True}, "down_proj has a bias"),
        ("Qwen3", {"attention_bias": True}, "o_proj has a bias"),
        ("Llama", {"head_dim": 4}, "no kernel for heads of 4"),
        ("Gemma", {}, "no decoder layer of Llama, Mistral, Qwen2, Qwen3"),
    ],
)
def test_configs_that_are_not_known(family: str, options: dict[str, Any], reason: str) -> None:
    assert reason in str(layer.refuse(tiny_model(family, **options)))


@pytest.mark.parametrize("family", FAMILIES)
def test_ordinary_lora_is_let_pass(family: str) -> None:
    assert layer.refuse(tiny_model(family)) is None
    assert layer.refuse(tiny_model(family, targets=("q_proj", "v_proj"))) is None


def test_what_is_not_a_flat_row_runs_as_before() -> None:
    plain, fast = tiny_model("Qwen3"), tiny_model("Qwen3")
    layer.replace_layers(fast)
    nodes = watch(fast)
    inputs, _ = flat_row([6, 3])
    batch = {**inputs, "attention_mask": isolation([6, 3])}
    torch.testing.assert_close(fast(**batch).logits, plain(**batch).logits)
    assert "_LayerBackward" not in nodes


def test_generation_is_as_before() -> None:
    plain, fast = tiny_model("Llama").eval(), tiny_model("Llama").eval()
    layer.replace_layers(fast)
    prompt = torch.tensor([[3, 5, 8, 13]])
    options = {"max_new_tokens": 6, "do_sample": False, "pad_token_id": 0}
    assert torch.equal(fast.generate(input_ids=prompt, **options), plain.generate(input_ids=prompt, **options))


def test_a_disabled_adapter_is_left_out() -> None:
    model = tiny_model("Mistral")
    layer.replace_layers(model)
    inputs, documents = flat_row([7])
    adapted = model(**inputs, documents=documents).logits
    with model.disable_adapter(), torch.no_grad():
        base = model(**inputs, documents=documents).logits
        expected = model.get_base_model()(**inputs).logits
    assert torch.equal(base, expected)
    assert not torch.allclose(base, adapted)


def test_a_model_that_was_moved_or_loaded_anew_is_packed_again() -> None:
    model, other = tiny_model("Qwen3", seed=0), tiny_model("Qwen3", seed=5)
    layer.replace_layers(model)
    for target, source in zip(model.parameters(), other.parameters(), strict=True):
        target.data = source.data.clone()
    layer.replace_layers(other)
    inputs, documents = flat_row([4, 5])
    assert torch.equal(model(**inputs, documents=documents).logits, other(**inputs, documents=documents).logits)


def test_names_weights_and_saved_adapters_stay(tmp_path: Any) -> None:
    from safetensors.torch import load_file

    plain, fast = tiny_model("Qwen2"), tiny_model("Qwen2")
    layer.replace_layers(fast)
    state = plain.state_dict()
    assert list(state) == list(fast.state_dict())
    assert all(torch.equal(value, state[name]) for name, value in fast.state_dict().items())
    for name, model in (("plain", plain), ("fast", fast)):
        model.save_pretrained(tmp_path / name)
    saved = [load_file(tmp_path / name / "adapter_model.safetensors") for name in ("plain", "fast")]
    assert saved[0].keys() == saved[1].keys()
    assert all(torch.equal(value, saved[1][name]) for name, value in saved[0].items())
