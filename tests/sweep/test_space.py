import json
from pathlib import Path
from typing import Any

import pytest

from workloads.errors import InputError, Problem
from workloads.run_spec_loader import load_run_spec
from workloads.sweep.space import is_tunable
from workloads.training.arguments import OWNED_KEYS
from workloads.training_config.schema import properties

TRAINING = {
    "model_name_or_path": "tunery/tiny",
    "stage": "sft",
    "do_train": True,
    "dataset": "numbers",
    "template": "qwen",
    "output_dir": "out",
    "val_size": 0.1,
    "max_steps": 90,
}
RATE = {"min": 1e-5, "max": 1e-3, "log": True}


def problems_of(folder: Path, sweep: dict[str, Any], training: dict[str, Any] | None = None) -> list[Problem]:
    path = folder / "run.yaml"
    path.write_text(json.dumps({"name": "test", "training": TRAINING | (training or {}), "sweep": sweep}))
    try:
        found = load_run_spec(path).check(data=False)
    except InputError as error:
        found = list(error.problems)
    assert all(problem.file == str(path) for problem in found)
    return [problem for problem in found if not problem.is_warning]


def sweep_of(parameters: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"method": "random", "trials": 4, "parameters": parameters, **more}


@pytest.mark.parametrize(
    ("sweep", "key"),
    [
        (sweep_of({"learning_rat": RATE}), "sweep.parameters.learning_rat"),
        (sweep_of({"learning_rate": {"min": -1, "max": 1}}), "sweep.parameters.learning_rate.min"),
        (sweep_of({"lora_rank": {"values": [8, "many"]}}), "sweep.parameters.lora_rank.values.1"),
        (sweep_of({"lora_rank": {"min": 4.5, "max": 8}}), "sweep.parameters.lora_rank.min"),
        (sweep_of({"lr_scheduler_type": {"values": ["cosin"]}}), "sweep.parameters.lr_scheduler_type.values.0"),
        (sweep_of({"lr_scheduler_type": {"min": 1, "max": 2}}), "sweep.parameters.lr_scheduler_type.min"),
        (sweep_of({"output_dir": {"values": ["a", "b"]}}), "sweep.parameters.output_dir"),
        (sweep_of({"cutoff_len": {"values": [64, 128]}}), "sweep.parameters.cutoff_len"),
        (sweep_of({"learning_rate": {"max": 1}}), "sweep.parameters.learning_rate"),
        (sweep_of({"learning_rate": {"min": 0, "max": 1, "log": True}}), "sweep.parameters.learning_rate"),
        (sweep_of({"learning_rate": {"values": [1e-3, 1e-3]}}), "sweep.parameters.learning_rate"),
        (sweep_of({"learning_rate": {"minn": 1e-3}}), "sweep.parameters.learning_rate.minn"),
        (sweep_of({"learning_rate": {**RATE, "points": 3}}), "sweep.parameters.learning_rate.points"),
        (sweep_of({"learning_rate": RATE}, metric="exact_match"), "sweep.metric"),
        (sweep_of({"learning_rate": RATE}, trials=0), "sweep.trials"),
        (sweep_of({"learning_rate": RATE}, budget={}), "sweep.budget"),
        (sweep_of({"learning_rate": RATE}, min_steps=5), "sweep"),
        ({"method": "grid", "parameters": {"learning_rate": RATE}}, "sweep.parameters.learning_rate.points"),
        ({"method": "grid", "trials": 3, "parameters": {"lora_rank": {"values": [4]}}}, "sweep"),
        ({"method": "asha", "trials": 9, "parameters": {"learning_rate": RATE}}, "sweep"),
        (sweep_of({"learning_rate": RATE}, method="asha", min_steps=90), "sweep.min_steps"),
        (sweep_of({"learning_rate": RATE}, method="asha", trials=27, min_steps=10), "sweep.min_steps"),
        (
            sweep_of({"max_steps": {"values": [50, 100]}}, method="asha", min_steps=5),
            "sweep.parameters.max_steps",
        ),
    ],
)
def test_a_wrong_sweep_is_named_by_file_and_key(tmp_path: Path, sweep: dict[str, Any], key: str) -> None:
    assert key in [problem.key for problem in problems_of(tmp_path, sweep)]


def test_a_sweep_that_is_right_has_no_problems(tmp_path: Path) -> None:
    parameters = {"learning_rate": RATE, "lora_rank": {"values": [4, 8]}, "use_dora": {"values": [True, False]}}
    assert problems_of(tmp_path, sweep_of(parameters)) == []
    assert problems_of(tmp_path, sweep_of(parameters, method="asha", trials=9, min_steps=10)) == []


def test_an_unknown_key_has_a_suggestion_that_a_sweep_may_try(tmp_path: Path) -> None:
    [problem] = problems_of(tmp_path, sweep_of({"learning_rat": RATE}))
    assert problem.suggestion == "learning_rate"


def test_an_unknown_key_of_a_parameter_has_a_suggestion(tmp_path: Path) -> None:
    [problem] = problems_of(tmp_path, sweep_of({"learning_rate": {"minn": 1e-3}}))
    assert problem.suggestion == "min"


def test_a_value_that_does_not_go_with_the_config_is_found_before_anything_runs(tmp_path: Path) -> None:
    sweep = sweep_of({"quantization_bit": {"values": [4, 8]}})
    found = problems_of(tmp_path, sweep, {"finetuning_type": "full"})
    assert {problem.key for problem in found} == {f"sweep.parameters.quantization_bit.values.{n}" for n in (0, 1)}


def test_what_is_wrong_with_the_config_anyway_is_not_said_of_every_value(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(
        json.dumps(
            {"name": "test", "training": TRAINING | {"lora_rank": 0}, "sweep": sweep_of({"learning_rate": RATE})}
        )
    )
    problems = [each for each in load_run_spec(path).check(data=False) if not each.is_warning]
    assert [problem.key for problem in problems] == ["lora_rank"]


def test_a_grid_that_is_too_large_is_refused(tmp_path: Path) -> None:
    values = {"values": list(range(1, 41))}
    sweep = {"method": "grid", "parameters": {"lora_rank": values, "lora_alpha": values}}
    [problem] = problems_of(tmp_path, sweep)
    assert problem.key == "sweep.parameters"
    assert "1,600" in problem.message


def test_a_sweep_may_not_try_what_decides_paths_data_or_secrets() -> None:
    for key in properties():
        if key in OWNED_KEYS or key.endswith(("_dir", "_path", "_token", "_folder", "_key")):
            assert not is_tunable(key), key


def test_a_training_that_cannot_be_continued_has_no_asha(tmp_path: Path) -> None:
    sweep = sweep_of({"learning_rate": RATE}, method="asha", min_steps=5, metric="preference_accuracy")
    found = problems_of(tmp_path, sweep, {"stage": "rm", "finetuning_type": "full"})
    assert [problem.key for problem in found] == ["sweep.method"]
