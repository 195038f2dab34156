from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from workloads.errors import InputError
from workloads.training_config import LoadedConfig, apply_overrides, check_config

CONFIG = LoadedConfig(Path("config.yaml"), {"lora_rank": 8, "fsdp_config": {"a": 1, "b": 2}}, {"lora_rank": 1})


SCALARS = ["1e-4", "null", "", '"x y"', "x y", "true", "'1'", "a=b", "2024-01-01"]


@given(
    st.lists(
        st.builds(
            "{}={}".format, st.sampled_from(["lora_rank", "fsdp_config.a", "new.inner.key"]), st.sampled_from(SCALARS)
        )
        # LLaMA-Factory cannot put a list or a scalar where a mapping is.
        | st.builds("dataset={}".format, st.sampled_from([*SCALARS, "[1,2]"]))
        | st.builds("fsdp_config={}".format, st.sampled_from(["{b: 3, c: 4}", "{a: {d: 5}}", "{}"])),
        max_size=4,
    )
)
def test_overrides_give_what_llamafactory_gets(overrides: list[str]) -> None:
    expected = OmegaConf.to_container(OmegaConf.merge(OmegaConf.create(CONFIG.values), OmegaConf.from_cli(overrides)))
    assert apply_overrides(CONFIG, overrides).values == expected


def test_the_config_itself_stays_as_it_is() -> None:
    apply_overrides(CONFIG, ["fsdp_config.a=5", "lora_rank=16"])
    assert CONFIG.values == {"lora_rank": 8, "fsdp_config": {"a": 1, "b": 2}}


def test_every_bad_override_is_named() -> None:
    with pytest.raises(InputError) as caught:
        apply_overrides(CONFIG, ["lora_rank", "=5", "a..b=1", "dataset=[a", "learning_rate=1"])
    assert [(problem.file, problem.key) for problem in caught.value.problems] == [
        ("command line", "lora_rank"),
        ("command line", None),
        ("command line", "a..b"),
        ("command line", "dataset"),
    ]


def test_a_problem_of_an_overridden_value_points_to_the_command_line() -> None:
    changed = apply_overrides(CONFIG, ["lora_rank=abc"])
    (problem,) = [each for each in check_config(changed, data=False) if each.key == "lora_rank"]
    assert (problem.file, problem.line) == ("command line", None)
