"""From a training config as a person means it to the arguments that LLaMA-Factory gets.

A run decides where things lie and how it is resumed, so those keys are tunery's; everything that is learnt stays
as the config says.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from workloads.run_record import FILE_KEYS
from workloads.runtime import RunPaths

OWNED_KEYS = (
    "model_name_or_path",
    "output_dir",
    "overwrite_output_dir",
    "resume_from_checkpoint",
    "dataset_dir",
    "tokenized_path",
    "overwrite_cache",
    "do_train",
    "do_eval",
    "do_predict",
    "predict_with_generate",
    "save_only_model",
    "push_to_hub",
    "export_dir",
    "export_hub_model_id",
)
"""Keys of a training config that a run sets itself."""

_KEEP_CHECKPOINTS = 3
_MIN_CHECKPOINTS = 2  # when the newest turns out to be damaged, there is one before it


def training_arguments(
    config: dict[str, Any], paths: RunPaths, base_model: Path, resume_from: Path | None = None
) -> dict[str, Any]:
    """The arguments of ``run_exp`` for a training.

    Args:
        config: the training config after overrides.
        base_model: the folder of the base model.
        resume_from: a verified checkpoint, or None to start at step 0.
    """
    arguments = {key: value for key, value in config.items() if key not in OWNED_KEYS and value is not None}
    for key in (*FILE_KEYS, "media_dir"):
        if str(arguments.get(key, "")).startswith(f"{paths.inputs.name}/"):
            arguments[key] = str(paths.root / arguments[key])
    arguments |= {
        "model_name_or_path": str(base_model),
        "dataset_dir": str(paths.data),
        "tokenized_path": str(paths.tokenized),
        "output_dir": str(paths.checkpoints),
        "overwrite_output_dir": False,
        "do_train": True,
        "save_total_limit": None,  # the trainer would delete what counts before the new one does
        "logging_nan_inf_filter": False,  # it would hide a loss that has gone
        "report_to": arguments.get("report_to", "none"),
        "logging_steps": arguments.get("logging_steps", 5),
        "include_num_input_tokens_seen": arguments.get("include_num_input_tokens_seen", "non_padding"),
    }
    if config.get("streaming"):
        del arguments["tokenized_path"]
    if resume_from is not None:
        arguments["resume_from_checkpoint"] = str(resume_from)
        if config.get("stage") == "rm" and config.get("finetuning_type", "lora") == "lora":
            # The trainer does not load the adapter of a reward model by itself: LLaMA-Factory says to name it.
            arguments["adapter_name_or_path"] = str(resume_from)
    return arguments


def kept_checkpoints(config: dict[str, Any]) -> int:
    """How many checkpoints a training keeps, the newest ones."""
    limit = config.get("save_total_limit")
    return max(_KEEP_CHECKPOINTS if limit is None else int(limit), _MIN_CHECKPOINTS)


def may_be_written_later(config: dict[str, Any]) -> bool:
    """Whether nothing reads a checkpoint's files while the training goes on.

    LLaMA-Factory takes the value head out of a reward model's saved weights; the trainer loads the best checkpoint.
    """
    return config.get("stage", "sft") not in {"rm", "ppo"} and not config.get("load_best_model_at_end")


def inference_arguments(config: dict[str, Any], model: Path, adapter: Path | None = None) -> dict[str, Any]:
    """The arguments with which LLaMA-Factory loads a model for evaluation, export or serving.

    Args:
        config: the training config, for the template and what shapes the model.
        model: the base model's folder, or the trained weights of a full or freeze training.
        adapter: the LoRA adapter's folder.
    """
    kept = (
        "template",
        "trust_remote_code",
        "default_system",
        "enable_thinking",
        "tool_format",
        "rope_scaling",
        "resize_vocab",
        "add_tokens",
        "add_special_tokens",
        "flash_attn",
        "stage",
    )
    arguments: dict[str, Any] = {key: config[key] for key in kept if config.get(key) is not None}
    arguments |= {"model_name_or_path": str(model), "finetuning_type": config.get("finetuning_type", "lora")}
    if adapter is not None:
        arguments["adapter_name_or_path"] = str(adapter)
    return arguments


def resumable(config: dict[str, Any]) -> bool:
    """Whether LLaMA-Factory 0.9.5 can continue this training from a checkpoint.

    It refuses for reward models that are trained in full or by freezing (hparams/parser.py).
    """
    return not (config.get("stage") == "rm" and config.get("finetuning_type", "lora") in ("full", "freeze"))


def preparation_stage(config: dict[str, Any]) -> str:
    """The name under which LLaMA-Factory's data loader knows this kind of training data."""
    stage = str(config.get("stage", "sft"))
    return "rm" if stage == "dpo" else stage
