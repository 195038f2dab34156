import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from workloads.errors import InputError
from workloads.run_spec import NAME_PATTERN
from workloads.run_spec_loader import default_name, load_run_spec

TRAINING = {"stage": "sft", "do_train": True, "model_name_or_path": "m", "dataset": "d", "template": "qwen"}


def _write(folder: Path, values: dict[str, Any], name: str = "run.yaml") -> Path:
    path = folder / name
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    return path


def test_a_bare_training_config_gets_a_default_run_spec(tmp_path: Path) -> None:
    resolved = load_run_spec(_write(tmp_path, TRAINING, "My LoRA 1.yaml"))
    assert resolved.spec.name == "my-lora-1"
    assert resolved.training.values == TRAINING


def test_overrides_reach_the_training_config_and_the_spec(tmp_path: Path) -> None:
    _write(tmp_path, TRAINING, "training.yaml")
    spec = {"name": "a", "training": "training.yaml", "overrides": {"lora_rank": 4, "bf16": False, "seed": None}}
    path = _write(tmp_path, spec)
    resolved = load_run_spec(path, ["lora_rank=16", "learning_rate=1e-4", "publish.name=team/x", "name=b"])
    assert resolved.training.values["lora_rank"] == 16
    assert resolved.training.values["bf16"] is False
    assert resolved.training.values["learning_rate"] == 1e-4
    assert resolved.spec.publish is not None
    assert resolved.spec.publish.name == "team/x"
    assert resolved.spec.name == "b"


def test_every_mistake_of_a_spec_is_reported_with_its_key(tmp_path: Path) -> None:
    spec = {
        "name": "Not A Name",
        "training": "t.yaml",
        "evaluations": {},
        "gate": {"rules": [{"metric": "exact_mach", "min": 1}, {"metric": "loss"}]},
        "publish": {"nam": "x"},
    }
    with pytest.raises(InputError) as caught:
        load_run_spec(_write(tmp_path, spec))
    found = {problem.key: problem for problem in caught.value.problems}
    assert set(found) == {"name", "evaluations", "gate.rules.0.metric", "gate.rules.1", "publish.name", "publish.nam"}
    assert found["evaluations"].suggestion == "evaluation"
    assert found["publish.nam"].suggestion == "name"
    assert found["evaluations"].line == 3
    assert all(problem.file == str(tmp_path / "run.yaml") and problem.fix for problem in found.values())


@pytest.mark.parametrize(
    ("spec", "key"),
    [
        ({"gate": {"rules": [{"metric": "exact_match", "min": 1}]}}, "gate.rules.0.metric"),
        ({"gate": {"rules": [{"metric": "rougeL", "min": 1}]}}, "gate.rules.0.metric"),
        ({"gate": {"rules": [{"metric": "loss", "max": 1}]}}, "gate.rules.0.metric"),
        ({"gate": {"baseline": "no.json", "rules": [{"metric": "loss", "max": 1}]}}, "gate.baseline"),
        ({"evaluation": {"questions": {"file": "no.jsonl"}}}, "evaluation.questions.file"),
        ({"export": {"merge": False}, "overrides": {"finetuning_type": "full"}}, "export.merge"),
    ],
)
def test_what_the_spec_needs_is_checked_against_the_training(tmp_path: Path, spec: dict[str, Any], key: str) -> None:
    values = {"name": "a", "training": TRAINING, **spec}
    problems = load_run_spec(_write(tmp_path, values)).check(data=False)
    assert key in {problem.key for problem in problems}


def test_serving_needs_publishing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="only a published model is served"):
        load_run_spec(_write(tmp_path, {"name": "a", "training": TRAINING, "serve": {}}))


@pytest.mark.parametrize("training", ["absent.yaml", "run.yaml"])
def test_training_must_name_a_training_config(tmp_path: Path, training: str) -> None:
    with pytest.raises(InputError) as caught:
        load_run_spec(_write(tmp_path, {"name": "a", "training": training}))
    assert caught.value.problems[0].key == "training"


@given(st.text(max_size=60))
def test_a_default_name_is_always_a_name(stem: str) -> None:
    import re

    assert re.fullmatch(NAME_PATTERN, default_name(Path(f"x{stem}".replace("/", "").replace("\0", "") + ".yaml")))


def test_json_is_read_too(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(json.dumps({"name": "a", "training": TRAINING}))
    assert load_run_spec(path).spec.name == "a"


@pytest.mark.parametrize(
    ("data", "keys"),
    [
        ({}, ["data.o"]),
        ({"o": {"sha256": "0" * 64}}, []),
        ({"o": {"sha256": "0" * 64, "revision": "main"}, "h": {"revision": "v1"}}, ["data.o"]),
        ({"o": {"sha256": "0" * 64}, "h": {"sha256": "0" * 64}}, ["data.h"]),
        ({"o": {"sha256": "0" * 64}, "d": {}, "hh": {}}, ["data.d", "data.hh"]),
    ],
)
def test_the_version_of_data_that_is_elsewhere(tmp_path: Path, data: dict[str, Any], keys: list[str]) -> None:
    rows = [{"instruction": "Say 1.", "input": "", "output": "1"}]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    info = {
        "d": {"file_name": "rows.json"},
        "h": {"hf_hub_url": "a/b"},
        "o": {"cloud_file_name": "gs://bucket/rows.jsonl"},
    }
    (tmp_path / "dataset_info.json").write_text(json.dumps(info))
    training = {**TRAINING, "dataset": "d,h,o", "dataset_dir": str(tmp_path)}
    resolved = load_run_spec(_write(tmp_path, {"name": "a", "training": training, "data": data}))
    assert [problem.key for problem in resolved.check()] == keys


@given(st.one_of(st.sampled_from(["no", "off", "yes", "1e-4", "null", "~", "a: b", "[1]", "", " ", "#"]), st.text()))
def test_a_text_among_the_overrides_stays_that_text(text: str) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "run.yaml"
        values = {"name": "a", "training": TRAINING, "overrides": {"eval_strategy": text}}
        path.write_text(yaml.safe_dump(values, default_style='"'))  # every text in quotes
        assert load_run_spec(path).training.values["eval_strategy"] == text
