"""Rules about the model's name and the data."""

from __future__ import annotations

from workloads.training_config.rules import Rule
from workloads.training_config.settings import Settings, efficient_eos


def _probabilities_are_numbers(s: Settings) -> bool:
    try:
        return all(float(each) >= 0 for each in s.names("interleave_probs"))
    except ValueError:
        return False


def _probabilities_for(s: Settings, key: str) -> bool:
    probabilities, names = s.names("interleave_probs"), s.names(key)
    return not probabilities or not names or len(probabilities) == len(names)


MODEL_RULE = Rule(
    "model_name_or_path",
    lambda s: not s["model_name_or_path"],
    "No base model is named.",
    "set model_name_or_path to a model in the hub or a folder",
    "missing-key",
)
"""A run may name its base model elsewhere; everything else names it here."""

DATA_RULES = (
    Rule(
        "dataset",
        lambda s: s.purpose == "train" and s["dataset"] is None,
        "No data set to train on is named; LLaMA-Factory wants one even where tokenized_path holds the data.",
        "set dataset to a name in dataset_info.json",
        "missing-key",
    ),
    Rule(
        "val_size",
        lambda s: s["dataset"] is None and s.held_out > 0,
        "val_size takes a part of dataset, and there is none.",
        "set dataset, or remove val_size",
    ),
    Rule(
        "val_size",
        lambda s: s["eval_dataset"] is not None and s.held_out > 0,
        "val_size and eval_dataset both say what to evaluate on.",
        "keep one of them",
    ),
    Rule(
        "eval_dataset",
        lambda s: s.purpose != "export" and s.evaluates and s["eval_dataset"] is None and not s.held_out,
        "The config evaluates, and has no data to evaluate on.",
        "set val_size: 0.1, or name an eval_dataset",
        "missing-key",
    ),
    Rule(
        "interleave_probs",
        lambda s: s["interleave_probs"] is not None and s["mix_strategy"] == "concat",
        "interleave_probs says how to interleave data sets, and mix_strategy is concat.",
        "set mix_strategy: interleave_under, or remove interleave_probs",
    ),
    Rule(
        "interleave_probs",
        lambda s: not _probabilities_are_numbers(s),
        "interleave_probs holds something else than numbers.",
        "write one probability for each data set: 0.7,0.3",
        "wrong-type",
    ),
    Rule(
        "interleave_probs",
        lambda s: not _probabilities_for(s, "dataset") or not _probabilities_for(s, "eval_dataset"),
        "There must be one probability for each data set, in dataset and in eval_dataset.",
        "write as many numbers as there are data sets",
    ),
    Rule(
        "val_size",
        lambda s: s["streaming"] and 0 < s.held_out < 1,
        "A stream has no known length, so no share of it can be held out.",
        "set val_size to a number of examples",
    ),
    Rule(
        "max_samples",
        lambda s: s["streaming"] and s["max_samples"] is not None,
        "max_samples does not work on a stream.",
        "remove max_samples, or streaming",
    ),
    Rule(
        "max_steps",
        lambda s: s["streaming"] and s["max_steps"] == -1 and s.purpose in ("train", "evaluate"),
        "A stream has no known length, so the number of steps must be given.",
        "set max_steps",
        "missing-key",
    ),
    Rule(
        "streaming",
        lambda s: s["streaming"] and bool(s["tokenized_path"]) and s.path(s["tokenized_path"]) is None,
        "A stream cannot be tokenized to disk.",
        "remove streaming or tokenized_path",
    ),
    Rule(
        "mask_history",
        lambda s: s["mask_history"] and s["train_on_prompt"],
        "mask_history and train_on_prompt exclude one another.",
        "remove one of them",
    ),
    Rule(
        "neat_packing",
        lambda s: s["stage"] != "sft" and s["neat_packing"],
        "neat_packing works only in the stage sft.",
        "remove neat_packing",
    ),
    Rule(
        "train_on_prompt",
        lambda s: s["stage"] != "sft" and s["train_on_prompt"],
        "train_on_prompt works only in the stage sft.",
        "remove train_on_prompt",
    ),
    Rule(
        "mask_history",
        lambda s: s["stage"] != "sft" and s["mask_history"],
        "mask_history works only in the stage sft.",
        "remove mask_history",
    ),
    Rule(
        "train_on_prompt",
        lambda s: s["train_on_prompt"] and efficient_eos(s["template"]),
        "This template does not support train_on_prompt.",
        "remove train_on_prompt, or use another template",
    ),
    Rule(
        "image_max_pixels",
        lambda s: s["image_max_pixels"] < s["image_min_pixels"],
        "image_max_pixels is smaller than image_min_pixels.",
        "change one of them",
    ),
    Rule(
        "video_max_pixels",
        lambda s: s["video_max_pixels"] < s["video_min_pixels"],
        "video_max_pixels is smaller than video_min_pixels.",
        "change one of them",
    ),
)
