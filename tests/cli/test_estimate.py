"""``tunery estimate``: its table, its JSON, where it finds the model, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from workloads.cli.main import main

MODEL = {
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "dtype": "bfloat16",
}
TRAINING = {
    "model_name_or_path": "llama3",
    "stage": "sft",
    "do_train": True,
    "finetuning_type": "lora",
    "lora_rank": 16,
    "dataset": "rows",
    "template": "llama3",
    "bf16": True,
    "per_device_train_batch_size": 1,
    "output_dir": "out",
}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A training config beside its base model's config.json."""
    (tmp_path / "llama3").mkdir()
    (tmp_path / "llama3" / "config.json").write_text(json.dumps(MODEL))
    path = tmp_path / "training.yaml"
    path.write_text(yaml.safe_dump(TRAINING))
    return path


def run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as stop:
        main(["estimate", *map(str, arguments)])
    assert isinstance(stop.value.code, int)
    return stop.value.code


def test_the_table_names_parts_accelerators_and_changes(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(config) == 0
    shown = capsys.readouterr().out
    for text in ("8.03 billion", "41.9 million", "weights", "total", "NVIDIA L4", "quantization_bit=4", "liger"):
        assert text in shown


def test_json_is_in_bytes_and_adds_up(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(config, "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert sum(answer["parts"].values()) == answer["total"]
    assert answer["parts"]["weights"] == 2 * answer["parameters"]
    assert {fit["accelerator"] for fit in answer["accelerators"]} >= {"l4", "a100-40", "h100"}
    assert "way_to_fit" not in answer


def test_overrides_count(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(config, "--json")
    before = json.loads(capsys.readouterr().out)
    run(config, "quantization_bit=4", "lora_rank=8", "--json")
    after = json.loads(capsys.readouterr().out)
    assert after["parts"]["weights"] < 0.4 * before["parts"]["weights"]
    assert after["trained"] * 2 == before["trained"]


def test_one_accelerator_gets_a_way_to_fit(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(config, "finetuning_type=full", "--accelerator", "L4") == 0
    shown = capsys.readouterr().out
    assert "does not fit" in shown
    assert "fits on one NVIDIA L4" in shown
    assert "H100" not in shown


def test_the_model_may_be_given_as_a_file_or_a_folder(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    totals = []
    for model in ("llama3", "llama3/config.json"):
        assert run(config, "model_name_or_path=elsewhere", "--model", config.parent / model, "--json") == 0
        totals.append(json.loads(capsys.readouterr().out)["total"])
    assert totals[0] == totals[1]


def test_the_model_is_found_in_the_hub(config: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from workloads.hub import open_hub

    open_hub().publish(tiny_model, "team/tiny", lineage={})
    assert run(config, "model_name_or_path=team/tiny", "--json") == 0
    sizes = json.loads((tiny_model / "config.json").read_text())
    parameters = json.loads(capsys.readouterr().out)["parameters"]
    assert sizes["vocab_size"] * sizes["hidden_size"] < parameters < 1_000_000


def test_a_run_spec_brings_its_own_base_model(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = config.with_name("run.yaml")
    spec.write_text(yaml.safe_dump({"name": "x", "training": config.name, "base": {"model": "llama3"}}))
    assert run(spec, "model_name_or_path=elsewhere") == 0
    assert "8.03 billion" in capsys.readouterr().out


def test_deepspeed_is_looked_for_beside_the_config(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.with_name("zero.json").write_text(json.dumps({"zero_optimization": {"stage": 3}}))
    assert run(config, "deepspeed=zero.json", "finetuning_type=full", "--json") == 0
    counts = {fit["accelerator"]: fit["count"] for fit in json.loads(capsys.readouterr().out)["accelerators"]}
    assert counts["h100"] == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["model_name_or_path=nowhere/model"], "--model"),
        (["--model", "no such name"], "--model"),
        (["--accelerator", "h10"], "did you mean 'h100'"),
        (["lora_rank=abc"], "lora_rank"),
        (["lora_target=c_attn"], "q_proj"),
        (["deepspeed=nowhere.json"], "deepspeed"),
    ],
)
def test_a_mistake_ends_with_64_and_says_how_to_go_on(
    arguments: list[str], message: str, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(config, *arguments) == 64
    shown = capsys.readouterr().err
    assert message in shown
    assert "Traceback" not in shown


@pytest.mark.parametrize("content", ["{", "[1]", '{"model_type": "bert"}'])
def test_a_file_that_is_no_model_config_is_refused(
    content: str, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = config.with_name("other.json")
    file.write_text(content)
    assert run(config, "--model", file) == 64
    assert "config.json" in capsys.readouterr().err
