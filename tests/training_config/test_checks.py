from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from workloads.training_config import LoadedConfig, check_config, shared_output_dirs
from workloads.training_config.schema import properties

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)


@given(st.dictionaries(st.sampled_from(sorted(properties())), VALUES, max_size=12))
def test_any_values_give_problems_and_no_traceback(values: dict[str, Any]) -> None:
    problems = check_config(LoadedConfig(Path("config.yaml"), values, {}), data=True)
    assert all(problem.message and problem.fix and problem.file for problem in problems)


def test_all_problems_come_at_once_in_the_order_of_the_lines(check: Any) -> None:
    problems = check({"lora_rank": "abc", "optimm": "a", "bf16": True, "fp16": True, "deepspeed": "none.json"})
    assert [problem.key for problem in problems] == ["lora_rank", "optimm", "bf16", "deepspeed"]
    assert [problem.line for problem in problems] == sorted(problem.line for problem in problems)


def test_a_run_may_name_its_base_model_elsewhere(check: Any) -> None:
    assert [problem.key for problem in check({"model_name_or_path": None})] == ["model_name_or_path"]
    assert check({"model_name_or_path": None}, in_run=True) == []


def test_a_shared_output_dir_is_a_warning_for_the_second_config() -> None:
    first, second, third = (
        LoadedConfig(Path(f"{name}.yaml"), {"output_dir": folder}, {"output_dir": 3})
        for name, folder in (("a", "saves/x"), ("b", "saves/./x"), ("c", "saves/y"))
    )
    (problem,) = shared_output_dirs([first, second, third])
    assert (problem.file, problem.line, problem.is_warning) == ("b.yaml", 3, True)
    assert "a.yaml" in problem.message


def test_one_config_named_twice_shares_nothing() -> None:
    config = LoadedConfig(Path("a.yaml"), {"output_dir": "x"}, {})
    again = LoadedConfig(Path("../") / Path.cwd().name / "a.yaml", {"output_dir": "x"}, {})
    assert shared_output_dirs([config, again]) == []
