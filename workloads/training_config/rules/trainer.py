"""Rules about the trainer: steps, evaluation, precision, logging."""

from __future__ import annotations

from workloads.training_config.rules import Rule
from workloads.training_config.settings import Settings

_PLATEAU_SCHEDULERS = ("reduce_lr_on_plateau", "greedy")


def _eval_steps(s: Settings) -> float:
    return float(s["eval_steps"] or s["logging_steps"])


def _fractional(key: str) -> Rule:
    """A number of steps above 1 is whole; below 1 it is a share of the training."""
    strategy = key.replace("_steps", "_strategy")
    return Rule(
        key,
        lambda s: s[strategy] == "steps" and s[key] is not None and s[key] > 1 and s[key] != int(s[key]),
        f"{key} is a whole number of steps, or a share of the training below 1.",
        "write a whole number",
    )


def _unequal_strategies(s: Settings) -> bool:
    return bool(
        s["load_best_model_at_end"] and s["save_strategy"] != "best" and s["save_strategy"] != s["eval_strategy"]
    )


def _saves_between_evaluations(s: Settings) -> bool:
    if not s["load_best_model_at_end"] or s["save_strategy"] == "best" or s["eval_strategy"] != "steps":
        return False
    save, evaluate = float(s["save_steps"]), _eval_steps(s)
    if s["save_strategy"] != "steps" or evaluate <= 0:
        return False
    if save < 1 or evaluate < 1:
        scale = 1_000_000  # as the trainer does it, so that both round alike
        return not (save < 1 and evaluate < 1) or (save * scale) % (evaluate * scale) != 0
    return save % evaluate != 0


def _loggers(s: Settings) -> list[str]:
    value = s["report_to"]
    return [str(each) for each in value] if isinstance(value, list) else [str(value)]


def _words(value: str | list[str] | None) -> list[str]:
    return value if isinstance(value, list) else (value or "").split()


TRAINER_RULES = (
    Rule(
        "do_train",
        lambda s: s.purpose == "train" and not s["do_train"],
        "do_train is not set: LLaMA-Factory would train nothing and report success.",
        "add do_train: true",
        "do-train",
    ),
    Rule(
        "overwrite_output_dir",
        lambda s: bool(s["overwrite_output_dir"]) and s.purpose == "train",
        "LLaMA-Factory would begin again at step 0 after an interruption.",
        "set it to false; a run of tunery does so by itself, so that it resumes where it was",
        "warn-overwrite",
    ),
    Rule(
        "bf16",
        lambda s: s["fp16"] and s["bf16"],
        "fp16 and bf16 are both on.",
        "keep bf16, or fp16 on accelerators before Ampere",
    ),
    Rule(
        "bf16_full_eval",
        lambda s: s["fp16_full_eval"] and s["bf16_full_eval"],
        "fp16_full_eval and bf16_full_eval are both on.",
        "keep one",
    ),
    Rule(
        "logging_steps",
        lambda s: s["logging_strategy"] == "steps" and s["logging_steps"] == 0,
        "Logging by steps needs a number of steps.",
        "set logging_steps to 1 or more",
    ),
    _fractional("logging_steps"),
    _fractional("eval_steps"),
    _fractional("save_steps"),
    Rule(
        "eval_steps",
        lambda s: s["eval_strategy"] == "steps" and _eval_steps(s) <= 0,
        "Evaluating by steps needs a number of steps.",
        "set eval_steps to 1 or more",
    ),
    Rule(
        "load_best_model_at_end",
        _unequal_strategies,
        "To load the best model, a checkpoint must be saved at each evaluation.",
        "give save_strategy and eval_strategy the same value",
    ),
    Rule(
        "load_best_model_at_end",
        lambda s: not _unequal_strategies(s) and _saves_between_evaluations(s),
        "To load the best model, save_steps must be a multiple of eval_steps.",
        "change save_steps or eval_steps",
    ),
    Rule(
        "load_best_model_at_end",
        lambda s: s["load_best_model_at_end"] and s["stage"] in ("rm", "ppo"),
        "A reward model cannot load its best checkpoint at the end.",
        "remove load_best_model_at_end",
    ),
    Rule(
        "lr_scheduler_type",
        lambda s: s["lr_scheduler_type"] in _PLATEAU_SCHEDULERS and s["eval_strategy"] == "no",
        "This scheduler follows the evaluation, and there is none.",
        "set eval_strategy: steps, or another lr_scheduler_type",
    ),
    Rule(
        "early_stopping_steps",
        lambda s: s["early_stopping_steps"] is not None and s["eval_strategy"] == "no",
        "Stopping early follows the evaluation, and there is none.",
        "set eval_strategy: steps, or remove early_stopping_steps",
    ),
    Rule(
        "early_stopping_steps",
        lambda s: (
            s["early_stopping_steps"] is not None
            and s["metric_for_best_model"] is None
            and not s["load_best_model_at_end"]
            and s["lr_scheduler_type"] not in _PLATEAU_SCHEDULERS
        ),
        "Stopping early needs to know which metric to watch.",
        "set metric_for_best_model: loss, or load_best_model_at_end: true",
    ),
    Rule(
        "dataloader_prefetch_factor",
        lambda s: s["dataloader_num_workers"] == 0 and s["dataloader_prefetch_factor"] is not None,
        "Only worker processes prefetch, and there are none.",
        "set dataloader_num_workers to 1 or more, or remove dataloader_prefetch_factor",
    ),
    Rule(
        "fsdp",
        lambda s: s["fsdp"] in ("offload", ["offload"]),
        "FSDP cannot only offload.",
        "write full_shard offload or shard_grad_op offload",
    ),
    Rule(
        "fsdp",
        lambda s: {"full_shard", "shard_grad_op"} <= set(_words(s["fsdp"])),
        "full_shard and shard_grad_op exclude one another.",
        "keep one of them",
    ),
    Rule(
        "project",
        lambda s: "trackio" in _loggers(s) and not s["project"],
        "Trackio needs the name of a project.",
        "set project",
    ),
    Rule(
        "predict_with_generate",
        lambda s: s["stage"] != "sft" and s["predict_with_generate"],
        "Only the stage sft can predict with generated text.",
        "remove predict_with_generate",
    ),
    Rule(
        "do_predict",
        lambda s: s["stage"] == "sft" and s["do_predict"] and not s["predict_with_generate"],
        "Predictions are generated text.",
        "add predict_with_generate: true",
    ),
    Rule(
        "compute_accuracy",
        lambda s: s["predict_with_generate"] and s["compute_accuracy"],
        "predict_with_generate and compute_accuracy exclude one another.",
        "remove one of them",
    ),
)
