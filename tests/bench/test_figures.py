"""Figures from the marks of single steps."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.bench.figures import Block, Step, figures, flops_per_token

MODEL = {
    "model_type": "llama",
    "hidden_size": 8,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "vocab_size": 100,
}


def block(seconds: list[float], tokens: int = 90, slots: int = 100, allocated: int = 5) -> Block:
    steps = [Step(each, tokens, slots, {"data": 0.1 * each, "forward": 0.3 * each}) for each in seconds]
    return Block("cpu", 1000.0, allocated, 7, 0, {"first_step": 2.0}, steps, {1: 0.5})


def test_the_warm_up_does_not_count() -> None:
    found = figures([[block([50.0, 1.0, 2.0, 3.0])]], flops_per_token=2.0, warmup=1)
    assert found.steps == 3
    assert found.tokens_per_second == pytest.approx(3 * 90 / 6)
    assert found.p50 == 2.0
    assert found.p95 == 3.0
    assert found.padding == pytest.approx(0.1)
    assert found.mfu == pytest.approx(45 * 2 / 1000)
    assert found.to_first_step == 2.0


def test_the_parts_add_up_to_the_step() -> None:
    found = figures([[block([9.0, 1.0, 3.0])]], 1.0, 1)
    assert found.parts["data"] == pytest.approx(0.2)
    assert found.parts["other"] == pytest.approx(2.0 - 0.2 - 0.6)
    assert sum(found.parts.values()) == pytest.approx(2.0)


def test_processes_share_the_time_and_add_their_tokens() -> None:
    found = figures([[block([9.0, 2.0]), block([9.0, 2.0], tokens=30, allocated=8)]], 1.0, 1)
    assert found.tokens_per_second == pytest.approx((90 + 30) / 2)
    assert found.mfu == pytest.approx(60 / (2 * 1000))
    assert found.allocated == 8


def test_blocks_of_one_config_count_together() -> None:
    found = figures([[block([9.0, 1.0])], [block([9.0, 3.0])]], 1.0, 1)
    assert found.steps == 2
    assert found.tokens_per_second == pytest.approx(180 / 4)


def test_no_step_is_left() -> None:
    with pytest.raises(ValueError, match="warm-up"):
        figures([[block([1.0])]], 1.0, 1)


def test_a_block_survives_json() -> None:
    made = block([1.0, 2.0])
    assert Block.from_dict(json.loads(json.dumps(made.as_dict()))) == made


def test_the_formula_counts_the_matrices_and_the_head() -> None:
    layer = 4 * 8 * 8 + 3 * 8 * 16
    assert flops_per_token({}, MODEL) == 4 * (2 * layer + 800)
    assert flops_per_token({"finetuning_type": "full"}, MODEL) == 6 * (2 * layer + 800)


@given(st.lists(st.floats(0.001, 100), min_size=1, max_size=40))
def test_half_of_the_steps_are_at_most_the_median(seconds: list[float]) -> None:
    found = figures([[block(seconds)]], 1.0, 0)
    assert found.p50 <= found.p95 or found.p95 == pytest.approx(found.p50)
    assert min(seconds) <= found.p50 <= max(seconds)
    assert found.p95 <= max(seconds)
