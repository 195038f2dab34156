"""Rules that LLaMA-Factory's parser does not have; those that it has are in test_against_llamafactory.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest


@pytest.mark.parametrize(
    ("changes", "key", "code"),
    [
        ({"do_train": None}, "do_train", "do-train"),
        ({"do_train": False}, "do_train", "do-train"),
        ({"stage": "ppo", "reward_model": "a"}, "stage", "ppo"),
        ({"quantization_bit": 5}, "quantization_bit", "quantization"),
        ({"quantization_bit": 4, "quantization_method": "eetq"}, "quantization_bit", "quantization"),
        (
            {"quantization_bit": 4, "adapter_name_or_path": "a", "export_dir": "out", "do_train": None},
            "export_dir",
            "quantization",
        ),
        (
            {
                "export_dir": "out",
                "adapter_name_or_path": "a",
                "export_quantization_bit": 4,
                "export_quantization_dataset": "b",
            },
            "export_quantization_bit",
            "quantization",
        ),
        (
            {"export_quantization_bit": 5, "export_quantization_dataset": "b"},
            "export_quantization_bit",
            "quantization",
        ),
        ({"template": "gemma2", "train_on_prompt": True}, "train_on_prompt", "conflict"),
        ({"early_stopping_steps": 3}, "early_stopping_steps", "conflict"),
        ({"early_stopping_steps": 3, "eval_strategy": "steps", "val_size": 0.1}, "early_stopping_steps", "conflict"),
        (
            {"finetuning_type": "full", "use_galore": True, "galore_layerwise": True, "gradient_accumulation_steps": 2},
            "galore_layerwise",
            "conflict",
        ),
        (
            {"finetuning_type": "full", "use_apollo": True, "apollo_layerwise": True, "gradient_accumulation_steps": 2},
            "apollo_layerwise",
            "conflict",
        ),
        ({"finetuning_type": "oft", "use_unsloth": True}, "use_unsloth", "conflict"),
        ({"finetuning_type": "full", "use_kt": True}, "use_kt", "conflict"),
        ({"use_kt": True, "compute_accuracy": True}, "use_kt", "conflict"),
        ({"streaming": True, "max_steps": 5, "tokenized_path": "no/such"}, "streaming", "conflict"),
        ({"overwrite_output_dir": True}, "overwrite_output_dir", "warn-overwrite"),
        ({"finetuning_type": "full", "use_apollo": True}, "optim", "warn-optimizer"),
    ],
)
def test_a_broken_rule(check: Any, changes: dict[str, Any], key: str, code: str) -> None:
    assert (key, code) in [(problem.key, problem.code) for problem in check(changes)]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"stage": "pt"},
        {"stage": "dpo", "pref_loss": "orpo", "pissa_init": True},
        {"stage": "rm", "finetuning_type": "full"},
        {"finetuning_type": "freeze", "freeze_trainable_layers": 2},
        {"quantization_bit": 4, "double_quantization": True},
        {
            "val_size": 0.1,
            "eval_strategy": "steps",
            "eval_steps": 100,
            "early_stopping_steps": 3,
            "metric_for_best_model": "loss",
        },
        {
            "load_best_model_at_end": True,
            "val_size": 0.1,
            "eval_strategy": "steps",
            "save_steps": 200,
            "eval_steps": 100,
        },
        {
            "load_best_model_at_end": True,
            "val_size": 0.1,
            "eval_strategy": "steps",
            "save_steps": 0.2,
            "eval_steps": 0.1,
        },
        {"load_best_model_at_end": True, "val_size": 0.1, "eval_strategy": "epoch", "save_strategy": "epoch"},
        {"eval_dataset": "other", "eval_strategy": "steps", "logging_steps": 5},
        {"dataset": "a, b", "mix_strategy": "interleave_over", "interleave_probs": "0.7,0.3"},
        {"streaming": True, "max_steps": 100, "val_size": 10},
        {"finetuning_type": "full", "use_badam": True, "badam_mode": "ratio"},
        # an evaluation, a merge and a chat train nothing, so they need no do_train
        {"do_train": None, "dataset": None, "do_predict": True, "predict_with_generate": True, "eval_dataset": "mine"},
        {"do_train": None, "dataset": None, "export_dir": "out", "adapter_name_or_path": "a", "stage": None},
        {"do_train": None, "dataset": None, "stage": None, "infer_backend": "vllm", "trust_remote_code": True},
    ],
)
def test_a_config_that_breaks_no_rule(check: Any, changes: dict[str, Any]) -> None:
    assert check(changes) == []


def test_a_rule_says_nothing_about_a_value_that_is_wrong_itself(check: Any) -> None:
    problems = check({"finetuning_type": "fulll", "quantization_bit": 4, "val_size": "much", "eval_dataset": "b"})
    assert sorted(problem.key for problem in problems) == ["finetuning_type", "val_size"]


@pytest.mark.parametrize("written", ["file", "mapping", "text"])
@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"use_unsloth": True}, "use_unsloth"),
        ({"pure_bf16": True}, "pure_bf16"),
        ({"predict_with_generate": True, "val_size": 0.1}, "predict_with_generate"),
        ({"use_kt": True}, "use_kt"),
        ({"pissa_init": True}, "pissa_init"),
        ({"quantization_bit": 8}, "quantization_bit"),
    ],
)
def test_what_zero3_rules_out(check: Any, tmp_path: Path, changes: dict[str, Any], key: str, written: str) -> None:
    def with_stage(stage: int) -> list[str | None]:
        content = {"zero_optimization": {"stage": stage}}
        (tmp_path / "ds.json").write_text(json.dumps(content), encoding="utf-8")
        value = {"file": "ds.json", "mapping": content, "text": json.dumps(content)}[written]
        return [problem.key for problem in check({**changes, "deepspeed": value}) if problem.code == "zero3"]

    assert with_stage(3) == [key]
    assert with_stage(2) == []


@pytest.mark.parametrize(
    ("changes", "stage", "key"),
    [
        ({"use_galore": True}, 2, "deepspeed"),
        ({"use_badam": True, "badam_mode": "ratio"}, 3, "badam_mode"),
        ({"use_badam": True}, 2, "use_badam"),
    ],
)
def test_optimizers_that_do_not_work_with_deepspeed(check: Any, changes: dict[str, Any], stage: int, key: str) -> None:
    changes = {**changes, "finetuning_type": "full", "deepspeed": {"zero_optimization": {"stage": stage}}}
    assert [problem.key for problem in check(changes) if not problem.is_warning] == [key]


def test_layer_wise_badam_works_with_zero3(check: Any) -> None:
    deepspeed = {"zero_optimization": {"stage": 3}}
    assert check({"finetuning_type": "full", "use_badam": True, "deepspeed": deepspeed}) == []
