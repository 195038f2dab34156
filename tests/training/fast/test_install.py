"""Flat rows on models of many architectures: what they learn, what stays apart, and what is refused."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers
from peft import LoraConfig, get_peft_model
from torch import Tensor

from workloads.training.fast.attention import Documents
from workloads.training.fast.install import Installed, install, why_not_flat
from workloads.training.fast.trainer import why_not
from workloads.training_config.levels import Level

LENGTHS = [7, 1, 12, 4]
SIZES: dict[str, Any] = {
    "vocab_size": 61, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 1,
    "eos_token_id": 2,
}  # fmt: skip
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "Llama": {"attention_bias": True},
    "Mistral": {"sliding_window": 5},
    "Qwen2": {},
    "Qwen3": {"layer_types": ["full_attention", "sliding_attention"], "sliding_window": 5, "use_sliding_window": True},
    "Phi3": {},
    "Olmo2": {},
    "SmolLM3": {},
    "Gemma": {},
    "Granite": {"logits_scaling": 3.0, "residual_multiplier": 0.5},
    "Qwen3Moe": {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16},
}


def _model(family: str) -> Any:
    options = SIZES | ARCHITECTURES[family]
    config = getattr(transformers, f"{family}Config")(**options, attn_implementation="sdpa")
    torch.manual_seed(0)
    return getattr(transformers, f"{family}ForCausalLM")(config).train()


def _row(seed: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(3, 61, (sum(LENGTHS),), generator=generator)
    return tokens, torch.where(torch.arange(len(tokens)) % 3 == 0, -100, tokens)


def _flat(tokens: Tensor, labels: Tensor) -> dict[str, Any]:
    """The row as the collator gives it; the batch has as many rows as documents."""
    starts = torch.tensor([0, *LENGTHS]).cumsum(0)
    first = torch.zeros(len(tokens), dtype=torch.bool).index_fill(0, starts[:-1], True)
    rows = torch.nonzero((labels != -100) & ~first).flatten() - 1
    return {
        "input_ids": tokens[None],
        "position_ids": torch.cat([torch.arange(length) for length in LENGTHS])[None],
        "labels": labels[None],
        "documents": Documents(starts.int(), max(LENGTHS), rows, labels[rows + 1]),
    }


def _padded(tokens: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """The same documents as rows of a batch."""
    columns = {}
    for name, values, fill in (("input_ids", tokens, 0), ("labels", labels, -100), ("attention_mask", tokens > 0, 0)):
        parts = values.long().split(LENGTHS)
        columns[name] = torch.nn.utils.rnn.pad_sequence(parts, batch_first=True, padding_value=fill)
    return columns


def _gradients(model: Any, batch: dict[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
    model.zero_grad()
    loss = model(**batch, num_items_in_batch=torch.tensor(11)).loss
    loss.backward()
    return loss.detach(), {name: each.grad for name, each in model.named_parameters() if each.grad is not None}


@pytest.mark.parametrize("family", ARCHITECTURES)
def test_a_flat_row_teaches_what_a_padded_batch_teaches(family: str) -> None:
    model, (tokens, labels) = _model(family), _row()
    expected, gradients = _gradients(model, _padded(tokens, labels))
    assert install(model, Level.FLAT) == Installed(Level.FLAT)
    loss, found = _gradients(model, _flat(tokens, labels))
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)
    assert found.keys() == gradients.keys()
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, gradients[name], rtol=1e-3, atol=2e-6)
    again, _ = _gradients(model, _padded(tokens, labels))  # what is no flat row is computed as before
    torch.testing.assert_close(again, expected)


@pytest.mark.parametrize("level", [Level.FLAT, Level.LORA, Level.LAYER])
def test_a_document_does_not_feel_the_others(level: Level) -> None:
    torch.manual_seed(0)
    lora = LoraConfig(r=3, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    model = get_peft_model(_model("Qwen3"), lora)
    assert install(model, level).level == level
    tokens, labels = _row()
    end = LENGTHS[0] + LENGTHS[1]
    labels[:end] = -100  # only the others teach
    changed = torch.cat([tokens[:end].flip(0), tokens[end:]])
    assert not torch.equal(changed, tokens)
    loss, gradients = _gradients(model, _flat(tokens, labels))
    other, others = _gradients(model, _flat(changed, labels))
    assert torch.equal(loss, other)
    assert any(gradient.any() for gradient in gradients.values())
    # A sum over the row also runs over the first documents' zeros, and over other ones in the other row.
    assert all(torch.equal(gradient, others[name]) for name, gradient in gradients.items())


def test_a_model_that_does_not_hand_documents_on_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    model = _model("Llama")
    install(model, Level.FLAT)
    attention = type(model.model.layers[0].self_attn)
    forward = attention.forward

    def forgetful(self: Any, *args: Any, documents: Documents | None = None, **named: Any) -> Any:
        return forward(self, *args, **named)

    monkeypatch.setattr(attention, "forward", forgetful)
    with pytest.raises(RuntimeError, match="does not hand on"):
        model(**_flat(*_row()))


@pytest.mark.parametrize(
    ("family", "changes", "reason"),
    [
        ("Gemma2", {}, "products of queries"),
        ("Llama", {"attention_dropout": 0.1}, "attention_dropout"),
        ("Llama", {"hidden_size": 36, "head_dim": 9}, "9 wide"),
        ("Llama", {"attn_implementation": "eager"}, "attention is eager"),
    ],
)
def test_a_model_is_refused_with_the_reason(family: str, changes: dict[str, Any], reason: str) -> None:
    options = {"attn_implementation": "sdpa", **SIZES, **changes}
    model = getattr(transformers, f"{family}ForCausalLM")(getattr(transformers, f"{family}Config")(**options))
    assert reason in str(why_not_flat(model))
    installed = install(model, Level.LAYER)
    assert installed.level == Level.PLAIN
    assert installed.refused[0].level == Level.FLAT
    assert "forward" not in vars(model)


def test_nothing_is_installed_where_nothing_is_asked_for() -> None:
    model = _model("Llama")
    assert install(model, Level.PLAIN) == Installed(Level.PLAIN)
    assert "forward" not in vars(model)


def test_layers_that_keep_peft_s_forward_are_counted() -> None:
    model = get_peft_model(_model("Qwen3"), LoraConfig(r=2, target_modules=["q_proj", "v_proj"], use_dora=True))
    installed = install(model, Level.LAYER)
    assert installed.level == Level.FLAT
    assert [each.level for each in installed.refused] == [Level.LAYER, Level.LORA]
    assert installed.refused[1].reason.startswith("4 of 4 layers stay as they are: DoRA")


ARGUMENTS = {
    "label_smoothing_factor": 0.0, "neftune_noise_alpha": None, "deepspeed": None, "fsdp": [], "torch_compile": False,
    "fp8": False, "n_gpu": 1,
}  # fmt: skip
FINETUNING = {"use_dft_loss": False, "use_eaft_loss": False, "use_asft_loss": False}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("label_smoothing_factor", 0.1),
        ("neftune_noise_alpha", 5.0),
        ("deepspeed", "zero2.json"),
        ("fsdp", ["full_shard"]),
        ("torch_compile", True),
        ("fp8", True),
        ("n_gpu", 2),
        ("use_eaft_loss", True),
    ],
)
def test_arguments_that_rule_flat_rows_out(name: str, value: Any) -> None:
    def reason(changes: dict[str, Any]) -> str | None:
        args, finetuning = (
            SimpleNamespace(**{key: changes.get(key, usual) for key, usual in known.items()})
            for known in (ARGUMENTS, FINETUNING)
        )
        return why_not(args, finetuning)

    assert reason({}) is None
    assert reason({name: value})


def test_a_model_with_a_processor_has_no_flat_rows() -> None:
    assert why_not(SimpleNamespace(**ARGUMENTS), SimpleNamespace(**FINETUNING), object())
