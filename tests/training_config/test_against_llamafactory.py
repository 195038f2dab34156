"""The checker against LLaMA-Factory itself: its parser on generated configs, its dataclasses against the schema."""

from __future__ import annotations

import copy
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from workloads.training_config import LoadedConfig, check_config, load_config
from workloads.training_config.schema import SCHEMA_FILE, load_schema, properties

BASE = {
    "model_name_or_path": "organisation/model",
    "do_train": True,
    "dataset": "mine",
    "template": "llama3",
    "output_dir": "no/such/folder",
    "use_cpu": True,  # without it every config with bf16 is refused on a machine without a GPU
}

# Keys that start something when they are parsed: processes, connections, compilers, other programs.
LEFT_OUT = {
    "accelerator_config",
    "ddp_backend",
    "deepspeed",
    "fsdp",
    "fsdp_config",
    "local_rank",
    "new_special_tokens_config",
    "output_dir",
    "push_to_hub",
    "ray_init_kwargs",
    "report_to",
    "torch_compile",
    "torch_compile_backend",
    "torch_compile_mode",
    "use_cpu",
}

# LLaMA-Factory refuses, tunery accepts: what the checker cannot know, since training runs on another machine.
ONLY_LLAMAFACTORY_REFUSES = {
    r"does not support `pure_bf16`": "this machine has no GPU",
    r"requires Ampere": "this machine has no GPU",
    r"requires? .* but|To fix: run|not installed|PackageNotFoundError|No package metadata": "a package is missing here",
}

# tunery refuses, LLaMA-Factory's parser accepts: code, or code and key, of the problem to the reason.
ONLY_TUNERY_REFUSES = {
    "wrong-type": "its parser checks no types: the training fails after the model has loaded",
    "unknown-value": "its parser checks few names: the training fails later",
    "out-of-range": "its parser checks no sizes: the training fails later or learns nothing",
    "ppo": "its PPO fails to import with the trl that it needs",
    "do-train": "it trains nothing and reports success",
    "secret": "it does not look for secrets",
    "conflict:apollo_layerwise": "refused when the optimizer is made",
    "conflict:galore_layerwise": "refused when the optimizer is made",
    "conflict:early_stopping_steps": "refused when the training begins",
    "conflict:train_on_prompt": "refused when the template is loaded",
    "conflict:use_unsloth": "refused when the adapter is made",
    "conflict:use_kt": "refused when the adapter is made",
    "conflict:streaming": "refused when the data is loaded",
    "missing-key:dataset": "without do_train it needs no data, since it trains nothing",
    "missing-file": "it opens these files when the training begins",
    "quantization:quantization_bit": "the numbers of bits are checked when the model is loaded",
    "quantization:export_quantization_bit": "the numbers of bits are checked when the model is exported",
    "quantization:export_dir": "refused by the export, which comes after the training",
}

WRONG = st.sampled_from(["abc", "true", "", -1, 0, 1.5, True, False, [], ["a"], {"a": 1}, None, "5", "none"])


def fitting(key: str) -> st.SearchStrategy[Any]:
    schema = properties()[key]
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    kinds = {
        "boolean": st.booleans(),
        "integer": st.integers(1, 8),
        "number": st.sampled_from([0, 0.1, 0.5, 1, 2.5]),
        "string": st.sampled_from(["a", "a,b", "0.5"]),
        "null": st.none(),
        "array": st.just(["a"]),
        "object": st.just({}),
    }
    return st.one_of(*(kinds[kind] for kind in schema["type"]))


KEYS = sorted(properties().keys() - LEFT_OUT)
# The keys that the rules read are drawn more often, so that conflicts are met.
RULED = [
    key
    for key in KEYS
    if re.match(
        r"stage|finetuning|pref_loss|use_|quantization_bit|export_|adapter_name|pissa|dataset|eval_|val_size|do_|predict|"
        r"streaming|max_s|mix|interleave|load_best|save_st|logging_st|lr_sch|fp16|bf16|neat|mask|train_on|pure|dpo_label|"
        r"dataloader_num|dataloader_pre|compute_acc|image_m|resize|create_new|loraplus|ref_model_q|reward_model_q|galore_l|"
        r"optim$|warmup|infer_b|early|metric_for|tokenized|gradient_acc|model_name",
        key,
    )
]


@st.composite
def configs(draw: st.DrawFn) -> dict[str, Any]:
    config = dict(BASE)
    for key in draw(st.lists(st.sampled_from(RULED) | st.sampled_from(KEYS), max_size=6, unique=True)):
        config[key] = draw(fitting(key))
    if draw(st.integers(0, 3)) == 0:
        config[draw(st.sampled_from(KEYS))] = draw(WRONG)
    if draw(st.integers(0, 5)) == 0:
        key = draw(st.sampled_from(KEYS))
        config[key[:-1] + "x"] = 1
    if draw(st.integers(0, 9)) == 0:
        del config[draw(st.sampled_from(sorted(BASE.keys() - {"output_dir", "use_cpu"})))]
    return config


@pytest.fixture(scope="module")
def parse(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """LLaMA-Factory's parser: the reason why it refuses a config, or None."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("empty"))
        patch.setattr(sys, "argv", ["train"])
        import transformers
        from llamafactory.hparams import get_train_args

        transformers.utils.logging.set_verbosity_error()

        def refusal(values: dict[str, Any]) -> str | None:
            try:
                get_train_args(copy.deepcopy(values))
            except Exception as error:  # whatever it fails with, the config is refused
                return f"{type(error).__name__}: {error}"
            return None

        yield refusal


def explained(problem_codes: set[str], refusal: str | None) -> bool:
    if refusal is None:
        return all(code in ONLY_TUNERY_REFUSES or code.split(":")[0] in ONLY_TUNERY_REFUSES for code in problem_codes)
    return bool(problem_codes) or any(re.search(pattern, refusal) for pattern in ONLY_LLAMAFACTORY_REFUSES)


@settings(
    max_examples=400,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(values=configs())
def test_the_checker_and_the_parser_agree(values: dict[str, Any], parse: Any, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(values), encoding="utf-8")
    config = load_config(file)
    codes = {f"{problem.code}:{problem.key}" for problem in check_config(config, data=False) if not problem.is_warning}
    refusal = parse(config.values)
    assert explained(codes, refusal), f"tunery: {sorted(codes) or 'accepts'}; LLaMA-Factory: {refusal or 'accepts'}"


# Changes to BASE that LLaMA-Factory's parser refuses, and the key that tunery names.
CONFLICTS: list[tuple[dict[str, Any], str]] = [
    ({"model_name_or_path": None}, "model_name_or_path"),
    ({"dataset": None}, "dataset"),
    ({"dataset": None, "do_train": False, "val_size": 0.1}, "val_size"),
    ({"eval_dataset": "other", "val_size": 0.1}, "val_size"),
    ({"eval_strategy": "steps"}, "eval_dataset"),
    ({"do_eval": True}, "eval_dataset"),
    ({"predict_with_generate": True}, "eval_dataset"),
    ({"do_predict": True, "val_size": 0.1}, "do_predict"),
    ({"interleave_probs": "0.5"}, "interleave_probs"),
    ({"interleave_probs": "0.5,0.5", "mix_strategy": "interleave_under"}, "interleave_probs"),
    ({"interleave_probs": "half", "mix_strategy": "interleave_under"}, "interleave_probs"),
    ({"streaming": True}, "max_steps"),
    ({"streaming": True, "max_steps": 5, "val_size": 0.1}, "val_size"),
    ({"streaming": True, "max_steps": 5, "max_samples": 5}, "max_samples"),
    ({"mask_history": True, "train_on_prompt": True}, "mask_history"),
    ({"stage": "pt", "mask_history": True}, "mask_history"),
    ({"stage": "pt", "train_on_prompt": True}, "train_on_prompt"),
    ({"stage": "dpo", "neat_packing": True}, "neat_packing"),
    ({"stage": "dpo", "predict_with_generate": True, "val_size": 0.1}, "predict_with_generate"),
    ({"predict_with_generate": True, "compute_accuracy": True, "val_size": 0.1}, "compute_accuracy"),
    ({"stage": "dpo", "pref_loss": "ipo", "dpo_label_smoothing": 0.1}, "dpo_label_smoothing"),
    ({"stage": "ppo"}, "stage"),
    ({"stage": "dpo", "pissa_init": True}, "pissa_init"),
    ({"stage": "kto", "pissa_init": True}, "pissa_init"),
    ({"finetuning_type": "full", "pissa_init": True}, "pissa_init"),
    ({"finetuning_type": "full", "use_dora": True}, "use_dora"),
    ({"finetuning_type": "freeze", "use_rslora": True}, "use_rslora"),
    ({"finetuning_type": "oft", "loraplus_lr_ratio": 16.0}, "loraplus_lr_ratio"),
    ({"finetuning_type": "full", "use_llama_pro": True}, "use_llama_pro"),
    ({"finetuning_type": "full", "adapter_name_or_path": "a"}, "adapter_name_or_path"),
    ({"use_badam": True}, "finetuning_type"),
    ({"finetuning_type": "full", "use_galore": True, "use_apollo": True}, "use_galore"),
    ({"finetuning_type": "full", "quantization_bit": 4}, "quantization_bit"),
    ({"finetuning_type": "freeze", "quantization_bit": 8}, "quantization_bit"),
    ({"quantization_bit": 4, "pissa_init": True}, "pissa_init"),
    ({"quantization_bit": 4, "resize_vocab": True}, "resize_vocab"),
    ({"quantization_bit": 4, "adapter_name_or_path": "a", "create_new_adapter": True}, "create_new_adapter"),
    ({"quantization_bit": 4, "adapter_name_or_path": "a,b"}, "adapter_name_or_path"),
    ({"quantization_bit": 4, "fp8": True}, "fp8"),
    ({"quantization_device_map": "auto"}, "quantization_device_map"),
    ({"export_quantization_bit": 4}, "export_quantization_bit"),
    ({"ref_model_quantization_bit": 5}, "ref_model_quantization_bit"),
    ({"reward_model_quantization_bit": 5}, "reward_model_quantization_bit"),
    ({"infer_backend": "vllm"}, "infer_backend"),
    ({"image_max_pixels": 1}, "image_max_pixels"),
    ({"video_max_pixels": 1}, "video_max_pixels"),
    ({"fp16": True, "bf16": True}, "bf16"),
    ({"fp16_full_eval": True, "bf16_full_eval": True}, "bf16_full_eval"),
    ({"logging_steps": 0}, "logging_steps"),
    ({"logging_steps": 2.5}, "logging_steps"),
    ({"save_steps": 2.5}, "save_steps"),
    ({"eval_strategy": "steps", "val_size": 0.1, "eval_steps": 2.5}, "eval_steps"),
    ({"eval_strategy": "steps", "val_size": 0.1, "logging_strategy": "no", "logging_steps": 0}, "eval_steps"),
    ({"load_best_model_at_end": True}, "load_best_model_at_end"),
    (
        {"load_best_model_at_end": True, "eval_strategy": "steps", "val_size": 0.1, "eval_steps": 300},
        "load_best_model_at_end",
    ),
    (
        {"load_best_model_at_end": True, "eval_strategy": "steps", "val_size": 0.1, "eval_steps": 0.1},
        "load_best_model_at_end",
    ),
    (
        {
            "stage": "rm",
            "load_best_model_at_end": True,
            "eval_strategy": "epoch",
            "save_strategy": "epoch",
            "val_size": 1,
        },
        "load_best_model_at_end",
    ),
    ({"lr_scheduler_type": "reduce_lr_on_plateau"}, "lr_scheduler_type"),
    ({"dataloader_prefetch_factor": 2}, "dataloader_prefetch_factor"),
    ({"fsdp": "offload"}, "fsdp"),
    ({"fsdp": ["full_shard", "shard_grad_op"]}, "fsdp"),
    ({"fsdp": "full_shards"}, "fsdp"),
    ({"debug": "everything"}, "debug"),
    ({"optim": "adamw_troch"}, "optim"),
    ({"eval_strategy": "step"}, "eval_strategy"),
    ({"lora_rnak": 8}, "lora_rnak"),
    ({"torch_empty_cache_steps": 0}, "torch_empty_cache_steps"),
    ({"warmup_steps": -1}, "warmup_steps"),
    ({"fsdp_config": "no-such-file.json", "fsdp": "full_shard"}, "fsdp_config"),
    ({"accelerator_config": "no-such-file.json"}, "accelerator_config"),
    ({"new_special_tokens_config": "no-such-file.yaml"}, "new_special_tokens_config"),
    ({"lr_scheduler_kwargs": "{"}, "lr_scheduler_kwargs"),
    ({"vllm_config": "{"}, "vllm_config"),
    ({"report_to": "trackio", "project": ""}, "project"),
]


@pytest.mark.parametrize(("changes", "key"), CONFLICTS, ids=lambda value: value if isinstance(value, str) else "")
def test_both_refuse_a_conflict(changes: dict[str, Any], key: str, parse: Any, tmp_path: Path) -> None:
    values = {name: value for name, value in {**BASE, **changes}.items() if value is not None}
    problems = check_config(LoadedConfig(tmp_path / "config.yaml", values, {}), data=False)
    assert key in {problem.key for problem in problems if not problem.is_warning}
    assert parse(values) is not None


def test_both_accept_the_base_of_the_conflicts(parse: Any, tmp_path: Path) -> None:
    assert check_config(LoadedConfig(tmp_path / "config.yaml", dict(BASE), {}), data=False) == []
    assert parse(BASE) is None


def test_the_schema_is_that_of_the_installed_llamafactory() -> None:
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
    try:
        import generate_training_schema
    finally:
        sys.path.pop(0)
    assert generate_training_schema.render() == SCHEMA_FILE.read_text(encoding="utf-8"), (
        "run python scripts/generate_training_schema.py"
    )


def test_the_schema_is_valid_and_takes_all_defaults() -> None:
    Draft202012Validator.check_schema(load_schema())
    defaults = {key: each["default"] for key, each in properties().items() if "default" in each}
    errors = list(Draft202012Validator(load_schema()).iter_errors(json.loads(json.dumps(defaults))))
    assert [error.message for error in errors] == []
