"""Which cases answer which question, the most important first."""

from __future__ import annotations

from typing import Any

from benchmarks.gpu.cases import LEVELS, PLAIN, Case

LIGER: dict[str, Any] = {"enable_liger_kernel": True, "disable_gradient_checkpointing": True}
"""What a person sets for speed in LLaMA-Factory; every case that is compared has it."""
FULL: dict[str, Any] = {"finetuning_type": "full", "pure_bf16": True, "bf16": False, "learning_rate": 1e-5}
MODEL = "qwen3-4b"


def smoke(model: str, steps: int) -> list[Case]:
    """Each level for a few steps: does it run, and how fast about."""
    few = LIGER | {"max_steps": steps}
    cases = [Case(f"smoke {level}", model, "isolated", level, few, limit=60) for level in reversed(LEVELS)]
    return [*cases, Case("smoke plain", model, "isolated", PLAIN, few, limit=60)]


def main_table() -> list[Case]:
    """Qwen3-4B, LoRA, 8k tokens a step, three epochs."""
    return [
        Case("layer", MODEL, "isolated", "layer", LIGER),
        Case("plain isolated", MODEL, "isolated", PLAIN, LIGER),
        Case("plain packed", MODEL, "packed", PLAIN, LIGER),
        Case("lora", MODEL, "isolated", "lora", LIGER),
        Case("flat", MODEL, "isolated", "flat", LIGER),
    ]


def main_table_again() -> list[Case]:
    """The main table's outcome in less time: three epochs of the fastest level, one and a bit of the others."""
    some = LIGER | {"max_steps": 30}
    return [
        Case("layer", MODEL, "isolated", "layer", LIGER),
        Case("plain isolated, 30 steps", MODEL, "isolated", PLAIN, some),
        Case("plain packed, 30 steps", MODEL, "packed", PLAIN, some),
    ]


_ONE_PACK: dict[str, Any] = {
    "per_device_train_batch_size": 1,
    "disable_gradient_checkpointing": True,
    "lr_scheduler_type": "constant",
    "max_grad_norm": 0.0,
    "dataloader_num_workers": 0,
}
_RUNS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("fp32", PLAIN, {"bf16": False}),
    (PLAIN, PLAIN, {}),
    *((level, level, LIGER) for level in reversed(LEVELS)),
)


def losses() -> list[Case]:
    """14 steps of one pack each, from the same start."""
    return [
        Case(f"losses {name}", MODEL, "isolated", level, {**_ONE_PACK, **more, "max_steps": 14}, fp32=name == "fp32")
        for name, level, more in _RUNS
    ]


def gradients() -> list[Case]:
    """One step with a LoRA that has learnt already, so that all of its parameters have gradients."""
    return [
        Case(
            f"gradients {name}",
            MODEL,
            "isolated",
            level,
            {**_ONE_PACK, **more, "max_steps": 1},
            gradients=f"/dev/shm/tunery-gpu/{name}.pt",  # noqa: S108 66 MB that the comparison reads
            young=False,
            fp32=name == "fp32",
        )
        for name, level, more in _RUNS
    ]


def others() -> list[Case]:
    """Other architectures and kinds of training, each beside LLaMA-Factory as shipped."""
    short = LIGER | {"max_steps": 12}
    halves = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2}
    lora = [
        Case(f"{model} lora {level}", model, "isolated", level, short | halves)
        for model in ("llama-3-8b", "qwen2.5-7b")
        for level in ("layer", PLAIN)
    ]
    full = [
        Case(f"{model} full {level}", model, "isolated", level, short | FULL)
        for model in ("qwen3-1.7b", "qwen3-0.6b")
        for level in ("flat", PLAIN)
    ]
    quantized = short | halves | {"quantization_bit": 4, "train_from_scratch": False}
    qlora = [
        Case(f"llama-3-8b qlora {level}", "llama-3-8b", "isolated", level, quantized, limit=120)
        for level in ("lora", PLAIN)
    ]
    return [*lora, *full, *qlora]


def profiles() -> list[Case]:
    """Where a step's time goes."""
    few = LIGER | {"max_steps": 14}
    return [Case(f"profile {level}", MODEL, "isolated", level, few, profile=True) for level in ("layer", PLAIN)]


def whole_run() -> Case:
    """A run of tunery with its preset, from start to end, that saves at the end of each epoch."""
    saved = LIGER | {"save_strategy": "steps", "save_steps": 24, "logging_steps": 5}
    return Case("run, preset fast", MODEL, "isolated", "fast", saved, limit=100)


def checkpoints() -> list[Case]:
    """Runs whose saves hold all weights and the optimizer's state."""
    often = LIGER | {"save_strategy": "steps", "save_steps": 8, "max_steps": 24}
    return [
        Case(f"checkpoints {model} full", model, "isolated", "none", often | FULL, limit=90)
        for model in ("qwen3-0.6b", "qwen3-1.7b")
    ]


def memory() -> list[Case]:
    """Peaks of LLaMA-Factory's own trainings: the estimate is held against them."""
    lora: dict[str, Any] = {}
    full = {"finetuning_type": "full"}
    pure = {"finetuning_type": "full", "pure_bf16": True, "bf16": False}
    freeze = {"finetuning_type": "freeze", "freeze_trainable_layers": 2}
    bits4, bits8 = {"quantization_bit": 4}, {"quantization_bit": 8}
    keep, liger = {"disable_gradient_checkpointing": True}, {"enable_liger_kernel": True}
    twice = {"gradient_accumulation_steps": 2}
    table: list[tuple[str, dict[str, Any], int, int]] = [
        ("qwen2.5-0.5b", lora, 8, 1024),
        ("qwen2.5-0.5b", lora | keep, 4, 1024),
        ("qwen2.5-0.5b", full, 4, 2048),
        ("qwen2.5-0.5b", pure | keep | liger, 4, 2048),
        ("qwen3-0.6b", full | keep, 4, 1024),
        ("qwen3-0.6b", full | liger | twice, 4, 4096),
        ("qwen3-0.6b", pure, 8, 1024),
        ("qwen3-0.6b", lora | keep | liger, 2, 8192),
        ("llama-3.2-1b", lora, 4, 4096),
        ("llama-3.2-1b", lora | keep | liger, 8, 1024),
        ("llama-3.2-1b", full | liger, 2, 4096),
        ("llama-3.2-1b", pure | twice, 4, 2048),
        ("llama-3.2-1b", freeze | keep, 4, 2048),
        ("llama-3.2-1b", bits4, 4, 2048),
        ("qwen3-1.7b", lora | {"lora_rank": 64}, 2, 4096),
        ("qwen3-1.7b", full | liger, 4, 2048),
        ("qwen3-1.7b", pure | keep | liger, 2, 2048),
        ("qwen3-1.7b", bits8 | liger, 4, 2048),
        ("qwen3-4b", lora, 4, 2048),
        ("qwen3-4b", lora | keep | liger, 2, 2048),
        ("qwen3-4b", pure | liger, 2, 2048),
        ("qwen3-4b", bits4 | liger, 2, 4096),
        ("qwen3-4b", bits4 | keep, 1, 2048),
        ("mistral-7b", lora | liger, 4, 4096),
        ("mistral-7b", bits4, 2, 2048),
        ("qwen2.5-7b", lora | liger, 2, 8192),
        ("qwen2.5-7b", lora | keep | liger, 2, 2048),
        ("llama-3-8b", lora, 2, 2048),
        ("llama-3-8b", lora | keep | liger, 1, 4096),
        ("llama-3-8b", bits4 | liger, 4, 2048),
        ("llama-3-8b", bits8, 1, 4096),
        ("llama-3-8b", freeze | liger, 2, 4096),
    ]
    return [_memory_case(*row) for row in table]


def _memory_case(model: str, training: dict[str, Any], batch: int, length: int) -> Case:
    values = {**training, "per_device_train_batch_size": batch, "max_steps": 3, "dataloader_num_workers": 0}
    if "quantization_bit" in training:
        values["train_from_scratch"] = False
    words = "+".join(str(value) if key == "finetuning_type" else key for key, value in training.items() if value)
    return Case(f"{model} {words or 'lora'} {batch}x{length}", model, f"full-{length}", PLAIN, values, limit=60)
