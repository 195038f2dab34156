"""What the preset chooses, and that it never changes what is learnt."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.errors import InputError
from workloads.training_config.accelerators import ACCELERATORS, find_accelerator, named_by_driver
from workloads.training_config.level_memory import memory_at
from workloads.training_config.levels import Level
from workloads.training_config.preset import Choice, Device, Lengths, choose

QWEN3_4B: dict[str, Any] = {
    "model_type": "qwen3", "hidden_size": 2560, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
    "intermediate_size": 9728, "num_hidden_layers": 36, "vocab_size": 151936, "tie_word_embeddings": True,
    "dtype": "bfloat16", "layer_types": ["full_attention"] * 36,
}  # fmt: skip
TRAINING: dict[str, Any] = {
    "stage": "sft", "finetuning_type": "lora", "lora_rank": 8, "bf16": True, "cutoff_len": 2048, "neat_packing": True,
    "per_device_train_batch_size": 1, "gradient_accumulation_steps": 8,
}  # fmt: skip
HOW = {
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "disable_gradient_checkpointing",
    "enable_liger_kernel",
    "flash_attn",
    "dataloader_num_workers",
    "dataloader_persistent_workers",
    "accelerator_config",
}
"""Keys that say how a step is computed and not what it learns, as long as batch times accumulation stays."""


def _device(name: str, **changes: Any) -> Device:
    found = find_accelerator(name)
    return Device(found.title, **{"bytes": found.bytes, "bf16": found.bf16, "tflops": found.tflops, **changes})


H100 = _device("h100", liger=True)


def _batch(training: dict[str, Any], choice: Choice) -> tuple[int, int]:
    config = {**training, **choice.changes}
    return config.get("per_device_train_batch_size", 8), config.get("gradient_accumulation_steps", 1)


options = st.fixed_dictionaries(
    {},
    optional={
        "per_device_train_batch_size": st.integers(1, 33),
        "gradient_accumulation_steps": st.integers(1, 33),
        "cutoff_len": st.sampled_from([64, 512, 2048, 8192, 32768]),
        "finetuning_type": st.sampled_from(["lora", "full", "freeze"]),
        "packing": st.booleans(),
        "neat_packing": st.booleans(),
        "quantization_bit": st.sampled_from([4, 8]),
        "lora_dropout": st.sampled_from([0.0, 0.1]),
        "use_dora": st.booleans(),
        "disable_gradient_checkpointing": st.booleans(),
        "dataloader_drop_last": st.booleans(),
        "streaming": st.booleans(),
        "flash_attn": st.sampled_from(["auto", "sdpa", "fa2", "disabled"]),
        "deepspeed": st.just({"zero_optimization": {"stage": 2}}),
        "neftune_noise_alpha": st.just(5),
        "stage": st.sampled_from(["sft", "pt", "dpo"]),
    },
)
lengths = st.builds(Lengths, st.integers(1, 10**6), st.floats(1, 2000), st.integers(2000, 2049), st.booleans())


@settings(deadline=None, max_examples=150)
@given(
    changes=options,
    device=st.sampled_from([_device(each.name) for each in ACCELERATORS] + [Device("the CPU", cuda=False), H100]),
    rows=st.none() | lengths,
    processes=st.integers(1, 8),
    mode=st.sampled_from(["auto", "fast", "none"]),
)
def test_what_is_learnt_stays(
    changes: dict[str, Any], device: Device, rows: Lengths | None, processes: int, mode: Any
) -> None:
    training = {**TRAINING, **changes}
    choice = choose(training, QWEN3_4B, device, mode=mode, lengths=rows, processes=processes)
    assert choice.changes.keys() <= HOW
    assert math.prod(_batch(training, choice)) == math.prod(_batch(training, Choice(Level.PLAIN)))
    assert choice.changes.keys() <= {line.setting for line in choice.lines}
    assert all(line.because for line in choice.lines)
    if mode == "none" or choice.level == Level.PLAIN:
        assert not choice.changes


@settings(deadline=None, max_examples=150)
@given(
    n=st.integers(1, 300), batch=st.integers(1, 12), accumulation=st.integers(1, 12), drop=st.booleans(),
    processes=st.integers(1, 4), device=st.sampled_from([H100, _device("l4"), _device("a100-40")]),
)  # fmt: skip
def test_every_step_of_an_epoch_takes_the_samples_it_took(
    n: int, batch: int, accumulation: int, drop: bool, processes: int, device: Device
) -> None:
    training = {
        **TRAINING,
        "per_device_train_batch_size": batch,
        "gradient_accumulation_steps": accumulation,
        "dataloader_drop_last": drop,
    }
    choice = choose(training, QWEN3_4B, device, lengths=Lengths(n, 1900.0, 2049), processes=processes)
    before, after = (_steps(n, *each, processes, drop) for each in ((batch, accumulation), _batch(training, choice)))
    assert before == after


def _steps(rows: int, batch: int, accumulation: int, processes: int, drop: bool) -> list[list[int]]:
    """The samples of each optimizer step, as torch's sampler and accelerate's shards deal them out."""
    batches = [list(range(start, min(start + batch, rows))) for start in range(0, rows, batch)]
    if drop and batches and len(batches[-1]) < batch:
        batches.pop()
    if processes > 1 and not drop:  # even_batches: filled up from the beginning
        order = [row for each in batches for row in each]
        whole = batch * processes
        order += [order[place % rows] for place in range(-len(order) % whole)]
        batches = [order[start : start + batch] for start in range(0, len(order), batch)]
    if processes > 1 and drop:
        batches = batches[: len(batches) // processes * processes]
    of_step = accumulation * processes
    return [
        sorted(row for each in batches[start : start + of_step] for row in each)
        for start in range(0, len(batches), of_step)
    ]


def test_a_step_on_an_h100() -> None:
    choice = choose(TRAINING, QWEN3_4B, H100)
    assert choice.level == Level.LAYER
    assert _batch(TRAINING, choice) == (4, 2)
    assert choice.changes["disable_gradient_checkpointing"] is True
    assert "enable_liger_kernel" not in choice.changes
    assert choice.memory is not None
    assert 33 * 2**30 <= choice.memory <= 40e9
    assert (choice.tokens_per_second, choice.plain_tokens_per_second) == pytest.approx((28347, 13376 * 2 / 3), rel=0.01)


LLAMA_8B: dict[str, Any] = {
    "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256, "dtype": "bfloat16",
}  # fmt: skip


@pytest.mark.parametrize(
    ("level", "model", "batch", "held"),
    [
        (Level.LAYER, QWEN3_4B, 4, 34.0),
        (Level.LORA, QWEN3_4B, 4, 43.1),
        (Level.FLAT, QWEN3_4B, 4, 51.4),
        (Level.LAYER, LLAMA_8B, 2, 34.2),
    ],
)
def test_memory_is_as_measured_on_an_h100(level: Level, model: dict[str, Any], batch: int, held: float) -> None:
    training = TRAINING | {
        "per_device_train_batch_size": batch,
        "disable_gradient_checkpointing": True,
        "enable_liger_kernel": True,
    }
    assert memory_at(level, training, model, batch * 2045) / 2**30 == pytest.approx(held, rel=0.05)


def test_the_smaller_a_card_the_shorter_its_rows() -> None:
    sizes = [choose(TRAINING, QWEN3_4B, _device(name)) for name in ("l4", "a100-40", "h200")]
    assert [_batch(TRAINING, each)[0] for each in sizes] == [1, 4, 4]
    for choice, name in zip(sizes, ("l4", "a100-40", "h200"), strict=True):
        assert choice.memory is not None
        assert choice.memory < find_accelerator(name).bytes


def test_what_does_not_fit_is_computed_again() -> None:
    training = TRAINING | {"cutoff_len": 16384}
    choice = choose(training, QWEN3_4B, _device("l4"))
    assert choice.changes["disable_gradient_checkpointing"] is False
    [line] = [line for line in choice.lines if line.setting == "disable_gradient_checkpointing"]
    assert "computed again" in line.because


@pytest.mark.parametrize(
    ("training", "device", "reason"),
    [
        ({}, Device("the CPU", cuda=False), "no GPU"),
        ({}, _device("t4"), "bf16"),
        ({"bf16": False}, H100, "bf16"),
        ({"neat_packing": False}, H100, "packed rows"),
        ({"finetuning_type": "full"}, H100, "LoRA"),
        ({"stage": "dpo"}, H100, "LoRA in supervised"),
    ],
    ids=["cpu", "t4", "fp32", "not packed", "full", "dpo"],
)
def test_by_default_only_what_is_measured_changes(training: dict[str, Any], device: Device, reason: str) -> None:
    choice = choose(TRAINING | training, QWEN3_4B, device)
    assert (choice.level, choice.changes) == (Level.PLAIN, {})
    assert reason in choice.lines[0].because
    assert "preset: fast" in choice.lines[0].because


@pytest.mark.parametrize(
    ("training", "model", "level", "reason"),
    [
        ({"finetuning_type": "full"}, {}, Level.FLAT, "no LoRA"),
        ({"use_dora": True}, {}, Level.FLAT, "DoRA"),
        ({"quantization_bit": 8}, {}, Level.FLAT, "quantization_bit"),
        ({"quantization_bit": 4}, {}, Level.LORA, "whole weights"),
        ({"lora_dropout": 0.1}, {}, Level.LORA, "lora_dropout"),
        ({}, {"model_type": "phi3"}, Level.LORA, "phi3"),
        ({}, {"mlp_bias": True}, Level.LORA, "mlp_bias"),
        ({}, {"hidden_act": "gelu"}, Level.LORA, "gelu"),
        ({"stage": "dpo"}, {}, Level.PLAIN, "dpo"),
        ({"deepspeed": {"zero_optimization": {"stage": 3}}}, {}, Level.PLAIN, "deepspeed"),
        ({"flash_attn": "disabled"}, {}, Level.PLAIN, "flash_attn"),
        ({}, {"layer_types": ["full_attention", "linear_attention"]}, Level.PLAIN, "linear_attention"),
        ({}, {"head_dim": 100}, Level.PLAIN, "100 wide"),
        ({}, {"attn_logit_softcapping": 50.0}, Level.PLAIN, "softcapping"),
        ({}, {"vision_config": {}}, Level.PLAIN, "more than text"),
    ],
)
def test_a_level_is_refused_with_the_reason(
    training: dict[str, Any], model: dict[str, Any], level: Level, reason: str
) -> None:
    choice = choose(TRAINING | training, QWEN3_4B | model, H100, mode="fast")
    assert choice.level == level
    assert any(reason in each.reason and each.level == level + 1 for each in choice.refused)


def test_liger_helps_where_the_hand_written_layer_is_refused() -> None:
    training = TRAINING | {"lora_dropout": 0.1}
    assert choose(training, QWEN3_4B, H100).changes["enable_liger_kernel"] is True
    assert "enable_liger_kernel" not in choose(training, QWEN3_4B, _device("h100")).changes


def test_another_attention_gives_way_to_that_of_flat_rows() -> None:
    assert choose(TRAINING | {"flash_attn": "fa2"}, QWEN3_4B, H100).changes["flash_attn"] == "sdpa"


def test_a_model_that_is_no_decoder_is_the_user_s_mistake() -> None:
    with pytest.raises(InputError, match="hidden_size is missing"):
        choose(TRAINING, {"model_type": "qwen3", "num_attention_heads": 2, "head_dim": 8}, H100)


def test_choices_can_be_told() -> None:
    told = choose(TRAINING, QWEN3_4B, H100).as_dict()
    assert told["level"] == "layer"
    assert "gradient_accumulation_steps: 2, because a step has 8 rows as before" in told["because"]
    assert "disable_gradient_checkpointing: true, because" in " ".join(told["because"])


@pytest.mark.parametrize(
    ("name", "gigabytes", "found"),
    [
        ("NVIDIA H100 80GB HBM3", 85, "h100"),
        ("NVIDIA A100-SXM4-40GB", 42, "a100-40"),
        ("NVIDIA A100-SXM4-80GB", 85, "a100-80"),
        ("NVIDIA L4", 24, "l4"),
        ("NVIDIA L40S", 48, "l40s"),
        ("NVIDIA GeForce RTX 4090", 25, "rtx4090"),
        ("Tesla T4", 16, "t4"),
        ("Quadro K620", 2, None),
    ],
)
def test_cards_are_known_by_what_the_driver_calls_them(name: str, gigabytes: int, found: str | None) -> None:
    known = named_by_driver(name, gigabytes * 10**9)
    assert (None if known is None else known.name) == found
