"""What a config names outside itself: files, and the base model where it is a folder here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from workloads.errors import Problem, did_you_mean
from workloads.training_config.settings import Settings, UncertainError

# Each takes a path to a JSON file, or the mapping itself, which may be written as JSON text.
_JSON_FILES = ("accelerator_config", "deepspeed", "fsdp_config", "hyper_parallel_args")
_JSON_TEXTS = (
    "gradient_checkpointing_kwargs",
    "lr_scheduler_kwargs",
    "ray_init_kwargs",
    "sglang_config",
    "vllm_config",
)
_OTHER_FILES = ("new_special_tokens_config",)


def check_files(settings: Settings) -> list[Problem]:
    """Config files that are missing or are not JSON."""
    found = []
    for key in (*_JSON_FILES, *_JSON_TEXTS, *_OTHER_FILES):
        try:
            value = settings[key]
        except UncertainError:
            continue
        if isinstance(value, str) and value:
            problem = _check_text(settings, key, value)
            if problem is not None:
                found.append(problem)
    return found


def _check_text(settings: Settings, key: str, value: str) -> Problem | None:
    if value.startswith("{"):
        return _check_json(settings, key, value, "This text") if key not in _OTHER_FILES else None
    if key in _JSON_TEXTS:
        return settings.config.problem(key, f"{value!r} is not a mapping.", "write names with values", "wrong-type")
    path = settings.path(value)
    if path is None:
        folders = (place.parent for place in settings.places(value))
        names = [each.name for folder in folders if folder.is_dir() for each in folder.iterdir()]
        near = did_you_mean(value.rsplit("/", 1)[-1], names)
        looked = " or ".join(str(place) for place in settings.places(value))
        return settings.config.problem(
            key, f"There is no file {looked}.", "correct the path", "missing-file", suggestion=near
        )
    if key not in _JSON_FILES:
        return None
    try:
        return _check_json(settings, key, path.read_text(encoding="utf-8"), f"The file {path}")
    except (OSError, UnicodeDecodeError) as error:
        return settings.config.problem(key, f"{path} cannot be read: {error}.", "name a readable file", "missing-file")


def _check_json(settings: Settings, key: str, text: str, name: str) -> Problem | None:
    try:
        value = json.loads(text)
    except ValueError as error:
        return settings.config.problem(key, f"{name} is not valid JSON: {error}.", "correct it", "syntax")
    if not isinstance(value, dict):
        return settings.config.problem(key, f"{name} holds no JSON object.", "write {...}", "syntax")
    return None


def check_model(settings: Settings, model_config: Mapping[str, Any] | None) -> list[Problem]:
    """What the base model's config.json rules out.

    Args:
        model_config: the parsed config.json, where it is known; else a local folder's is read.
    """
    try:
        config = model_config if model_config is not None else _local_model_config(settings)
        return [] if config is None else [*_check_length(settings, config), *_check_quantized(settings, config)]
    except UncertainError:
        return []


def _local_model_config(settings: Settings) -> Mapping[str, Any] | None:
    name = settings["model_name_or_path"]
    path = settings.path(f"{name}/config.json") if name else None
    try:
        value = json.loads(path.read_text(encoding="utf-8")) if path else None
    except (OSError, ValueError):
        return None  # the stage that loads the model verifies it and says what is wrong
    return value if isinstance(value, dict) else None


def _check_length(settings: Settings, model: Mapping[str, Any]) -> list[Problem]:
    text_part = model.get("text_config")
    known = {**model, **(text_part if isinstance(text_part, dict) else {})}
    longest = known.get("max_position_embeddings")
    cutoff = settings["cutoff_len"]
    if not isinstance(longest, int) or cutoff <= longest or settings["rope_scaling"] is not None:
        return []
    given = settings.given("cutoff_len")
    message = f"cutoff_len is {cutoff}{'' if given else ' by default'}, and the model reads at most {longest} tokens."
    fix = f"set cutoff_len: {longest} or less, or rope_scaling to lengthen what the model reads"
    return [settings.config.problem("cutoff_len", message, fix, "cutoff-len" if given else "warn-cutoff-len")]


def _check_quantized(settings: Settings, model: Mapping[str, Any]) -> list[Problem]:
    quantization = model.get("quantization_config")
    if not isinstance(quantization, dict) or quantization.get("quant_method") == "mxfp4":  # which is dequantized
        return []
    found = []

    def add(key: str, message: str, fix: str) -> None:
        found.append(settings.config.problem(key, message, fix, "quantization"))

    if settings.purpose == "train" and settings["finetuning_type"] not in ("lora", "oft"):
        add(
            "finetuning_type",
            "The base model is quantized: its own weights cannot change.",
            "set finetuning_type: lora",
        )
    if settings.purpose == "export" and settings["adapter_name_or_path"] is not None:
        add("export_dir", "An adapter cannot be merged into a quantized base.", "name the unquantized base model")
    if settings.zero_stage == 3:
        add("deepspeed", "DeepSpeed ZeRO-3 does not work with a quantized base model.", "name a ZeRO-2 config")
    return found
