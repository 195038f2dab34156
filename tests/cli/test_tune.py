"""``tunery tune``: what it shows, where it takes the device and the lengths from, and what was measured."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from workloads.cli.main import main
from workloads.events import EventLog
from workloads.runtime import RunPaths
from workloads.stages.context import RunContext
from workloads.stages.runner import run_stages

MODEL = {
    "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256, "dtype": "bfloat16",
}  # fmt: skip
TRAINING = {
    "model_name_or_path": "llama3", "stage": "sft", "do_train": True, "finetuning_type": "lora", "dataset": "rows",
    "template": "llama3", "bf16": True, "neat_packing": True, "per_device_train_batch_size": 1,
    "gradient_accumulation_steps": 16, "output_dir": "out",
}  # fmt: skip


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    """A run spec beside its base model's config.json."""
    (tmp_path / "llama3").mkdir()
    (tmp_path / "llama3" / "config.json").write_text(json.dumps(MODEL))
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump({"name": "tuned", "training": TRAINING, "resources": {"accelerator": "a100-80"}}))
    return path


def _run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as stop:
        main(["tune", *map(str, arguments)])
    assert isinstance(stop.value.code, int)
    return stop.value.code


def _told(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> dict[str, Any]:
    assert _run(*arguments, "--json") == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_every_choice_is_shown_with_its_reason(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(spec, "lora_dropout=0.1") == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "gradient_accumulation_steps 4 a step has 16 rows as before" in shown
    assert "effective batch 16" in shown
    assert "Level layer is refused: lora_dropout: 0.1: the kernels have none." in shown
    assert "of 85.9 GB of one NVIDIA A100 80 GB" in shown
    assert "without the preset" in shown
    assert "measured" not in shown


def test_the_accelerator_is_the_spec_s_unless_another_is_named(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _told(capsys, spec)["accelerator"] == "NVIDIA A100 80 GB"
    small = _told(capsys, spec, "--accelerator", "l4")
    assert small["accelerator"] == "NVIDIA L4 24 GB"
    assert small["changes"]["disable_gradient_checkpointing"] is False
    assert "per_device_train_batch_size" not in small["changes"]
    assert small["memory"] < 24e9


def test_the_preset_can_be_turned_off(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = _told(capsys, spec, "preset=none")
    assert (found["level"], found["changes"], found["because"]) == ("plain", {}, ["level: plain, because preset: none"])


@pytest.mark.parametrize("other", [["--accelerator", "h1000"], ["preset=quick"], ["--model", "nowhere"]])
def test_a_mistake_ends_with_64(spec: Path, other: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert _run(spec, *other) == 64
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.training
def test_a_run_gives_its_rows_and_what_was_measured(
    spec: Path, make_run: Callable[..., RunPaths], capsys: pytest.CaptureFixture[str]
) -> None:
    paths = make_run({"neat_packing": True})
    run_stages(RunContext.open(paths.root), ["fetch", "prepare"])
    EventLog(paths.events).append("preset_measured", tokens_per_second=1234.5, memory=5 * 10**9)
    capsys.readouterr()
    found = _told(capsys, spec, "--run", paths.root)
    assert found["measured"]["tokens_per_second"] == 1234.5
    assert found["changes"]["per_device_train_batch_size"] == 16  # rows of at most 65 tokens
    assert _run(spec, "--run", paths.root) == 0
    shown = capsys.readouterr().out
    assert "measured 1,234.5 tokens/s" in shown
    assert "measured 5.0 GB" in shown
    assert _run(spec, "--run", paths.root.parent) == 64
