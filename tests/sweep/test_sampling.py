import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.run_spec import Parameter, Sweep
from workloads.sweep.sampling import sample
from workloads.sweep.space import points

RATE = {"min": 1e-5, "max": 1e-2, "log": True}


def sweep(method: str, parameters: dict[str, Any], **more: Any) -> Sweep:
    if method == "asha":
        more.setdefault("min_steps", 5)
    return Sweep.model_validate({"method": method, "parameters": parameters, **more})


@pytest.mark.parametrize("method", ["random", "asha"])
def test_the_same_seed_draws_the_same_trials(method: str) -> None:
    parameters = {"learning_rate": RATE, "lora_rank": {"min": 4, "max": 64}, "lora_dropout": {"values": [0.0, 0.1]}}
    first = sample(sweep(method, parameters, trials=20, seed=3))
    assert sample(sweep(method, parameters, trials=20, seed=3)) == first
    assert sample(sweep(method, parameters, trials=20, seed=4)) != first


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), trials=st.integers(1, 30))
def test_more_trials_begin_with_the_same_ones(seed: int, trials: int) -> None:
    parameters = {"learning_rate": RATE, "lora_rank": {"min": 1, "max": 4096}}
    few = sample(sweep("random", parameters, trials=trials, seed=seed))
    more = sample(sweep("random", parameters, trials=trials + 5, seed=seed))
    assert more[:trials] == few
    for each in more:
        assert list(each) == ["learning_rate", "lora_rank"]
        assert 1e-5 <= each["learning_rate"] <= 1e-2
        assert isinstance(each["lora_rank"], int)
        assert 1 <= each["lora_rank"] <= 4096


_VALUES = st.lists(st.integers(1, 50), min_size=1, max_size=4, unique=True)


@settings(max_examples=40, deadline=None)
@given(ranks=_VALUES, alphas=_VALUES, count=st.integers(2, 4), seed=st.integers(0, 1000))
def test_a_grid_is_every_combination_once(ranks: list[int], alphas: list[int], count: int, seed: int) -> None:
    rate = RATE | {"points": count}
    spec = sweep(
        "grid", {"lora_rank": {"values": ranks}, "lora_alpha": {"values": alphas}, "learning_rate": rate}, seed=seed
    )
    rates = points("learning_rate", Parameter.model_validate(rate))
    expected = set(itertools.product(ranks, alphas, rates))
    trials = sample(spec)
    assert len(trials) == len(expected)
    assert {tuple(each.values()) for each in trials} == expected


def test_points_of_a_range_are_even_and_include_its_ends() -> None:
    assert points("learning_rate", Parameter(min=1e-5, max=1e-2, log=True, points=4)) == (1e-5, 1e-4, 1e-3, 1e-2)
    assert points("lora_dropout", Parameter(min=0, max=0.3, points=4)) == (0.0, 0.1, 0.2, 0.3)
    assert points("lora_rank", Parameter(min=1, max=3, points=9)) == (1, 2, 3)


def test_no_trial_comes_twice_and_there_are_fewer_when_there_are_not_so_many() -> None:
    spec = sweep("random", {"lora_rank": {"values": [4, 8, 16]}}, trials=50)
    assert sorted(each["lora_rank"] for each in sample(spec)) == [4, 8, 16]


def test_values_keep_their_kind() -> None:
    trials = sample(sweep("grid", {"use_dora": {"values": [True, False]}, "lora_dropout": {"values": [0, 0.0, None]}}))
    kinds = sorted({(type(each["use_dora"]).__name__, type(each["lora_dropout"]).__name__) for each in trials})
    assert kinds == [("bool", "NoneType"), ("bool", "float"), ("bool", "int")]


def test_a_range_of_rates_is_drawn_evenly_over_powers_of_ten() -> None:
    rates = [each["learning_rate"] for each in sample(sweep("random", {"learning_rate": RATE}, trials=300))]
    for low in (1e-5, 1e-4, 1e-3):
        assert 70 <= sum(low <= rate < low * 10 for rate in rates) <= 130
