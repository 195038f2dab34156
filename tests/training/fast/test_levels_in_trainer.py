"""Inside LLaMA-Factory's trainer every level learns what LLaMA-Factory by itself learns."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from workloads.training.fast.install import Installed
from workloads.training.fast.trainer import fast_trainer
from workloads.training.process import forget_training
from workloads.training_config.levels import Level

pytestmark = pytest.mark.training
FLAT, LORA, LAYER = Level.FLAT, Level.LORA, Level.LAYER
slow = pytest.mark.slow


@dataclass(frozen=True)
class Learnt:
    """What came of a training: the weights, and the numbers that it logged."""

    weights: dict[str, torch.Tensor]
    logs: list[dict[str, float]]
    installed: Installed | None
    config: dict[str, Any]


Train = Callable[..., Learnt]


@pytest.fixture
def train(built_tiny_model: Path, tmp_path: Path) -> Train:
    """Trains the tiny model at a level; several short documents come into each row."""
    rows = [
        {"instruction": f"Say {n}. " * (1 + n % 3), "input": "", "output": f"It is {n}. " * (1 + n % 5)}
        for n in range(56)
    ]
    (tmp_path / "numbers.json").write_text(json.dumps(rows))
    (tmp_path / "dataset_info.json").write_text(json.dumps({"numbers": {"file_name": "numbers.json"}}))
    count = 0

    def run(level: Level | None, **config: Any) -> Learnt:
        nonlocal count
        from llamafactory.train.tuner import run_exp

        count += 1
        output = tmp_path / f"output-{count}"
        values = {
            "model_name_or_path": str(built_tiny_model), "stage": "sft", "do_train": True, "finetuning_type": "lora",
            "dataset": "numbers", "dataset_dir": str(tmp_path), "template": "chatml", "cutoff_len": 256,
            "neat_packing": True, "output_dir": str(output), "per_device_train_batch_size": 2,
            "gradient_accumulation_steps": 2, "learning_rate": 1e-3, "max_steps": 4, "logging_steps": 1, "seed": 3,
            "val_size": 0.1, "eval_strategy": "steps", "eval_steps": 4, "save_strategy": "no", "report_to": "none",
            "include_num_input_tokens_seen": "all", "overwrite_cache": True,
        }  # fmt: skip
        told: list[Installed] = []
        with nullcontext() if level is None else fast_trainer(level, told=told.append):
            run_exp(values | config)
        forget_training()
        logs = json.loads((output / "trainer_state.json").read_text())["log_history"]
        [weights] = output.glob("*model.safetensors")
        saved = output / "config.json"
        model_config = json.loads(saved.read_text()) if saved.is_file() else {}
        return Learnt(load_file(weights), logs, told[0] if told else None, model_config)

    return run


def _same(one: Learnt, other: Learnt) -> None:
    """Equal to what fp32 keeps: sums are added up in another order."""
    names = ("loss", "eval_loss", "grad_norm")
    numbers = [
        [(log["step"], name, log[name]) for log in each.logs for name in names if name in log] for each in (one, other)
    ]
    assert [each[:2] for each in numbers[0]] == [each[:2] for each in numbers[1]]
    assert any(name == "eval_loss" for _, name, _ in numbers[0])
    assert [each[2] for each in numbers[0]] == pytest.approx([each[2] for each in numbers[1]], rel=2e-5)
    assert one.weights.keys() == other.weights.keys()
    for name, weight in one.weights.items():
        torch.testing.assert_close(weight, other.weights[name], rtol=1e-3, atol=5e-5)


def test_every_level_learns_what_isolated_packing_learns(train: Train) -> None:
    plain = train(None)
    for level in (FLAT, LORA, LAYER):
        found = train(level)
        assert found.installed == Installed(level)
        _same(found, plain)
        tokens = [each.logs[-1]["num_input_tokens_seen"] for each in (found, plain)]
        assert tokens[0] < tokens[1]  # what was padding is gone


@pytest.mark.parametrize(
    ("level", "config"),
    [
        (FLAT, {"finetuning_type": "full"}),
        pytest.param(FLAT, {"finetuning_type": "freeze", "freeze_trainable_layers": 1}, marks=slow),
        pytest.param(LORA, {"neat_packing": False, "packing": True}, marks=slow),
        pytest.param(LORA, {"neat_packing": False}, marks=slow),
        pytest.param(LORA, {"train_on_prompt": True}, marks=slow),
        pytest.param(LORA, {"mask_history": True}, marks=slow),
        pytest.param(LORA, {"disable_gradient_checkpointing": True}, marks=slow),
        pytest.param(LORA, {"use_reentrant_gc": False}, marks=slow),
        pytest.param(LORA, {"additional_target": "lm_head,embed_tokens"}, marks=slow),
        pytest.param(LORA, {"use_rslora": True, "lora_target": "q_proj,down_proj"}, marks=slow),
        pytest.param(LAYER, {"disable_gradient_checkpointing": True}, marks=slow),
        pytest.param(LAYER, {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 4}, marks=slow),
        pytest.param(LORA, {"compute_accuracy": True}, marks=slow),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else value.name.lower(),
)
def test_a_level_learns_the_same(train: Train, level: Level, config: dict[str, Any]) -> None:
    found = train(level, **config)
    assert found.installed == Installed(level)
    _same(found, train(None, **config))
    assert "documents" not in json.dumps(found.config)


@pytest.mark.slow
def test_a_base_in_four_bits_learns_the_same(train: Train) -> None:
    config = {"quantization_bit": 4, "eval_strategy": "no"}  # bitsandbytes 0.49 cannot evaluate this model on a CPU
    found, plain = train(LORA, **config), train(None, **config)
    assert found.installed == Installed(LORA)
    losses = [[log["loss"] for log in each.logs if "loss" in log] for each in (found, plain)]
    assert losses[0] == pytest.approx(losses[1], rel=2e-5)
    for name, weight in found.weights.items():
        torch.testing.assert_close(weight, plain.weights[name], rtol=1e-3, atol=5e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "level", "reason"),
    [
        ({"use_dora": True}, FLAT, "DoRA"),
        ({"quantization_bit": 8}, FLAT, "Linear8bitLt"),
        ({"label_smoothing_factor": 0.1}, Level.PLAIN, "label_smoothing_factor"),
        ({"neftune_noise_alpha": 5}, Level.PLAIN, "neftune_noise_alpha"),
        ({"use_dft_loss": True}, Level.PLAIN, "another loss"),
    ],
    ids=["dora", "8 bits", "label smoothing", "noise", "other loss"],
)
def test_a_level_that_is_refused_says_why_and_the_one_below_learns_the_same(
    train: Train, config: dict[str, Any], level: Level, reason: str
) -> None:
    found = train(LORA, **config)
    assert found.installed is not None
    assert found.installed.level == level
    assert reason in found.installed.refused[0].reason
    _same(found, train(None, **config))


@pytest.mark.slow
def test_dropout_falls_alike_on_both_ways_to_compute_a_linear_layer(train: Train) -> None:
    flat, lora = train(FLAT, lora_dropout=0.2), train(LORA, lora_dropout=0.2)
    _same(flat, lora)
    assert lora.installed == Installed(LORA)
    refused = train(LAYER, lora_dropout=0.2).installed
    assert refused is not None
    assert refused.level == LORA
    assert "lora_dropout" in refused.refused[0].reason
