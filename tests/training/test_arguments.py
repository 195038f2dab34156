from pathlib import Path

import pytest

from workloads.runtime import RunPaths
from workloads.training.arguments import inference_arguments, kept_checkpoints, resumable, training_arguments

PATHS = RunPaths(Path("runs/x"))
BASE = Path("base")


def test_what_is_learnt_stays_as_the_config_says() -> None:
    config = {"stage": "sft", "learning_rate": 1e-4, "lora_rank": 8, "num_train_epochs": 3.0, "packing": True}
    arguments = training_arguments(config, PATHS, BASE)
    assert {key: arguments[key] for key in config} == config


def test_the_run_decides_where_things_lie_and_how_it_resumes() -> None:
    config = {
        "output_dir": "/elsewhere",
        "overwrite_output_dir": True,
        "resume_from_checkpoint": "x",
        "save_only_model": True,
        "do_eval": True,
        "model_name_or_path": "org/model",
        "tokenized_path": "t",
    }
    arguments = training_arguments(config, PATHS, BASE)
    assert arguments["output_dir"] == str(PATHS.checkpoints)
    assert arguments["overwrite_output_dir"] is False
    assert arguments["model_name_or_path"] == "base"
    assert arguments["tokenized_path"] == str(PATHS.tokenized)
    assert not {"resume_from_checkpoint", "save_only_model", "do_eval"} & set(arguments)


@pytest.mark.parametrize(("wanted", "kept"), [(1, 2), (2, 2), (5, 5), (None, 3)])
def test_the_worker_removes_checkpoints_and_not_the_trainer(wanted: int | None, kept: int) -> None:
    assert training_arguments({"save_total_limit": wanted}, PATHS, BASE)["save_total_limit"] is None
    assert kept_checkpoints({"save_total_limit": wanted}) == kept


def test_a_reward_adapter_is_named_twice_to_resume() -> None:
    config = {"stage": "rm", "finetuning_type": "lora"}
    arguments = training_arguments(config, PATHS, BASE, Path("checkpoint-5"))
    assert arguments["adapter_name_or_path"] == arguments["resume_from_checkpoint"] == "checkpoint-5"


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"stage": "sft", "finetuning_type": "full"}, True),
        ({"stage": "rm", "finetuning_type": "lora"}, True),
        ({"stage": "rm"}, True),
        ({"stage": "rm", "finetuning_type": "full"}, False),
        ({"stage": "rm", "finetuning_type": "freeze"}, False),
    ],
)
def test_resumable(config: dict[str, object], expected: bool) -> None:
    assert resumable(config) is expected


def test_a_quantized_training_is_evaluated_and_merged_unquantized() -> None:
    config = {"quantization_bit": 4, "template": "qwen", "finetuning_type": "lora"}
    assert inference_arguments(config, BASE, Path("adapter")) == {
        "template": "qwen",
        "model_name_or_path": "base",
        "finetuning_type": "lora",
        "adapter_name_or_path": "adapter",
    }
