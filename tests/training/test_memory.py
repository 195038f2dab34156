"""Memory that was too small: recognized in its many words, and answered with numbers."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import transformers

from workloads.errors import ExitCode, InputError
from workloads.events import read_events
from workloads.runtime import RunPaths
from workloads.stages.context import RunContext
from workloads.stages.runner import run_stages
from workloads.training.memory import is_out_of_memory, kills, too_small

CONFIG = {"stage": "sft", "finetuning_type": "full", "bf16": True, "cutoff_len": 4096, "per_device_train_batch_size": 8}
LLAMA_8B = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "torch_dtype": "bfloat16",
}


class OutOfMemoryError(RuntimeError):
    """As torch names it."""


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OutOfMemoryError("Tried to allocate 2 GiB"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried"), True),
        (OSError(12, "Cannot allocate memory"), True),
        (MemoryError(), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
    ],
)
def test_it_is_recognized(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) is expected


def test_the_estimate_and_the_three_changes_that_save_most_are_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA_8B))
    [problem] = too_small(CONFIG, tmp_path, 1, "It was too small.").problems
    assert "By the estimate it needs" in problem.message
    assert "GB on each of 1: " in problem.message
    assert problem.fix.count(": saves ") == 3
    assert "(3) " in problem.fix
    assert "finetuning_type=lora" in problem.fix


@pytest.mark.parametrize("config", [None, "[]", '{"model_type": "llama"}'])
def test_without_an_estimate_there_are_three_changes_still(tmp_path: Path, config: str | None) -> None:
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    [problem] = too_small({}, tmp_path, 2, "It was too small.").problems
    assert "estimate" not in problem.message
    assert "(3) " in problem.fix


def test_what_the_kernel_killed_is_counted(tmp_path: Path) -> None:
    events = tmp_path / "memory.events"
    assert kills(events) == 0
    events.write_text("low 0\nhigh 0\nmax 41\noom 2\noom_kill 3\noom_group_kill 1\n")
    assert kills(events) == 3


@pytest.mark.training
def test_a_training_that_does_not_fit_ends_as_a_wrong_config(
    make_run: Callable[..., RunPaths], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    paths = make_run()
    context = RunContext.open(paths.root)
    run_stages(context, ["fetch", "prepare"])
    monkeypatch.setattr(transformers.Trainer, "training_step", full)
    with pytest.raises(InputError, match=r"Tried to allocate 2\.00 GiB"):
        run_stages(context, ["train"])
    [failed] = [event for event in read_events(paths.events)[0] if event["event"] == "stage_failed"]
    assert failed["exit_code"] == ExitCode.INPUT
