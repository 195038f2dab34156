from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from workloads.errors import TuneryError
from workloads.training_config import LoadedConfig, schema
from workloads.training_config.schema import load_schema, properties


@pytest.mark.parametrize(
    ("key", "value", "code", "words"),
    [
        ("lora_rnak", 8, "unknown-key", "lora_rank"),
        ("lora_rank", "abc", "wrong-type", "write a whole number (the default is 8)"),
        ("lora_rank", "8", "wrong-type", "without quotes"),
        ("lora_rank", 8.0, "wrong-type", "write 8"),
        ("lora_rank", True, "wrong-type", "a whole number"),
        ("lora_rank", 0, "out-of-range", "at least 1"),
        ("lora_dropout", 1, "out-of-range", "at least 0 and less than 1"),
        ("learning_rate", "fast", "wrong-type", "write a number"),
        ("bf16", "true", "wrong-type", "without quotes"),
        ("bf16", 1, "wrong-type", "true or false"),
        ("run_name", 7, "wrong-type", 'put it in quotes: "7"'),
        ("optim", "adamw_troch", "unknown-value", "adamw_torch"),
        ("eval_strategy", "Steps", "unknown-value", "steps"),
        ("template", "llama33", "unknown-value", "llama3"),
        ("report_to", "tensorbord", "unknown-value", "tensorboard"),
        ("report_to", ["wandb", "tensorbord"], "unknown-value", "tensorboard"),
        ("fsdp", "full_shard autowrap", "unknown-value", "auto_wrap"),
        ("dataset", ["mine", 5], "wrong-type", "text"),
        ("dataset", {"a": 1}, "wrong-type", "text or null or a list"),
        ("rope_scaling", "linaer", "unknown-value", "linear"),
    ],
)
def test_a_value_that_does_not_fit(check: Any, key: str, value: Any, code: str, words: str) -> None:
    (problem,) = [each for each in check({key: value}) if each.key == key]
    assert problem.code == code
    assert problem.line is not None
    assert words in f"{problem.message} {problem.fix} {problem.suggestion}"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("learning_rate", 1),
        ("num_train_epochs", 3.0),
        ("eval_steps", 0.1),
        ("lora_target", ["q_proj", "v_proj"]),
        ("lora_target", "q_proj,v_proj"),
        ("report_to", "none"),
        ("report_to", ["wandb", "tensorboard"]),
        ("fsdp", "full_shard auto_wrap"),
        ("include_num_input_tokens_seen", True),
        ("include_num_input_tokens_seen", "non_padding"),
        ("gradient_checkpointing_kwargs", {"use_reentrant": False}),
        ("ddp_timeout", 180000000),
        ("lr_scheduler_type", "cosine"),
    ],
)
def test_a_value_that_fits(check: Any, key: str, value: Any) -> None:
    assert check({key: value}) == []


def test_a_missing_schema_is_no_fault_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setattr(schema, "SCHEMA_FILE", tmp_path / "none.json")
    load_schema.cache_clear()
    try:
        with pytest.raises(TuneryError, match="install tunery again") as caught:
            load_schema()
        assert caught.value.exit_code == 70
    finally:
        load_schema.cache_clear()


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([0.5, -0.5, 1.5]),
    st.sampled_from(["", "a", "llama3", "steps", "none"]),
    st.just(["a"]),
    st.just([1]),
    st.just({"a": 1}),
)
# Where the checker asks for more than JSON Schema can say.
STRICTER = {"debug", "fsdp", "report_to"}


@settings(max_examples=500)
@given(st.sampled_from(sorted(properties().keys() - STRICTER)), VALUES)
def test_the_checker_and_an_editor_agree(key: str, value: Any) -> None:
    by_editor = Draft202012Validator(load_schema()).is_valid({key: value})
    by_checker = not schema.check_values(LoadedConfig(Path("config.yaml"), {key: value}, {}))
    assert by_checker == by_editor
