import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.gate import judge
from workloads.run_spec import Gate


def _judge(rule: dict[str, object], before: float | None, after: float | None, accepted: float | None = None) -> bool:
    gate = Gate.model_validate({"baseline": "b.json", "rules": [rule]})
    name = str(rule["metric"])
    values = [{} if value is None else {name: value} for value in (before, after, accepted)]
    return all(row.passed for row in judge(gate, *values))


@pytest.mark.parametrize(
    ("rule", "before", "after", "accepted", "passed"),
    [
        ({"metric": "exact_match", "min": 0.9}, 0, 0.9, None, True),
        ({"metric": "exact_match", "min": 0.9}, 0, 0.89, None, False),
        ({"metric": "loss", "max": 1.0}, 9, 1.0, None, True),
        ({"metric": "loss", "max": 1.0}, 9, 1.1, None, False),
        ({"metric": "exact_match", "improve_by": 0.5}, 0.2, 0.7, None, True),
        ({"metric": "exact_match", "improve_by": 0.5}, 0.3, 0.7, None, False),
        ({"metric": "loss", "improve_by": 2}, 3, 1, None, True),
        ({"metric": "loss", "improve_by": 2}, 3, 1.5, None, False),
        ({"metric": "exact_match", "tolerance": 0.05}, 0, 0.9, 0.95, True),
        ({"metric": "exact_match", "tolerance": 0.05}, 0, 0.85, 0.95, False),
        ({"metric": "loss", "tolerance": 0.1}, 0, 1.1, 1.0, True),
        ({"metric": "loss", "tolerance": 0.1}, 0, 1.2, 1.0, False),
    ],
)
def test_rules(rule: dict[str, object], before: float, after: float, accepted: float | None, passed: bool) -> None:
    assert _judge(rule, before, after, accepted) is passed


def test_what_was_not_measured_does_not_pass() -> None:
    assert not _judge({"metric": "loss", "max": 1}, 1, None)
    assert not _judge({"metric": "loss", "improve_by": 1}, None, 0.1)
    assert not _judge({"metric": "loss", "tolerance": 1}, 1, 0.1, None)


def test_a_rule_with_two_bounds_gives_a_row_for_each() -> None:
    gate = Gate.model_validate({"rules": [{"metric": "exact_match", "min": 0.5, "improve_by": 0.4}]})
    rows = judge(gate, {"exact_match": 0.3}, {"exact_match": 0.6}, {})
    assert [(row.rule, row.passed) for row in rows] == [
        ("at least 0.5", True),
        ("better than the base model by 0.4", False),
    ]


@given(st.floats(allow_nan=True), st.floats(0, 1))
def test_nan_never_passes(after: float, bound: float) -> None:
    passed = _judge({"metric": "exact_match", "min": bound}, 0, after)
    assert passed is (after >= bound)
