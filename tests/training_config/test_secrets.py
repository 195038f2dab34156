from __future__ import annotations

import json
from typing import Any

import pytest

SECRET = "hf_" + "abcdefghijklmnopqrstuvwx"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hf_hub_token", SECRET),
        ("hub_token", "anything"),
        ("swanlab_api_key", "anything"),
        ("swanlab_lark_webhook_url", "https://example.com/hook"),
        ("hf_hub_token", 123456789),
        ("run_name", f"run {SECRET}"),
        ("model_name_or_path", "https://someone:word@example.com/model"),
        ("vllm_config", {"nested": [{"api_key": "anything"}]}),
        ("cache_dir", "AKIA" + "ABCDEFGHIJKLMNOP"),
        ("swanlab_mode", SECRET),
    ],
)
def test_a_secret_is_found_and_never_shown(check: Any, key: str, value: Any) -> None:
    problems = check({key: value})
    assert [(problem.key, problem.code) for problem in problems] == [(key, "secret")]
    shown = json.dumps([problem.as_dict() for problem in problems])
    assert str(value) not in shown
    assert "anything" not in shown


def test_the_fix_names_the_variable(check: Any) -> None:
    (problem,) = check({"hf_hub_token": SECRET})
    assert "HF_TOKEN" in problem.fix


@pytest.mark.parametrize("value", ["${oc.env:HF_TOKEN}", " ${HF_TOKEN} "])
def test_a_reference_is_no_secret_but_is_not_resolved(check: Any, value: str) -> None:
    assert [problem.code for problem in check({"hf_hub_token": value})] == ["warn-reference"]


def test_a_reference_with_a_secret_in_it_is_one(check: Any) -> None:
    assert [problem.code for problem in check({"hf_hub_token": f"${{oc.env:HF_TOKEN,{SECRET}}}"})] == ["secret"]


@pytest.mark.parametrize(
    ("key", "value"),
    [("hf_hub_token", ""), ("add_special_tokens", "<token>"), ("lr_scheduler_kwargs", {"pad_token": "<pad>"})],
)
def test_what_is_no_secret(check: Any, key: str, value: Any) -> None:
    assert check({key: value}) == []


def test_aliases_that_unfold_without_end_are_looked_at_once(check: Any) -> None:
    value: dict[str, Any] = {"a": "x"}
    for _ in range(60):
        value = {"a": value, "b": value}
    assert check({"lr_scheduler_kwargs": value}) == []
