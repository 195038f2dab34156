"""The gate: whether a trained model is good enough to be published."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from workloads.run_spec import METRICS, Gate, Rule


@dataclass(frozen=True, slots=True)
class GateRow:
    """One condition and how the model stands to it.

    Attributes:
        rule: in words, such as ``at least 0.9``.
        required: the bound, in the metric's unit; None when what it refers to is missing.
        actual: the trained model's value; None when it was not measured, which does not pass.
    """

    metric: str
    rule: str
    required: float | None
    actual: float | None
    passed: bool


def judge(
    gate: Gate, before: Mapping[str, float], after: Mapping[str, float], baseline: Mapping[str, float]
) -> list[GateRow]:
    """Every condition of the gate; the model passes when all rows do.

    Args:
        before: metrics of the untrained base model.
        after: metrics of the trained model.
        baseline: metrics of the last accepted model.
    """
    return [row for rule in gate.rules for row in _rows(rule, before, after, baseline)]


def _rows(
    rule: Rule, before: Mapping[str, float], after: Mapping[str, float], baseline: Mapping[str, float]
) -> Iterator[GateRow]:
    name = rule.metric
    more_is_better = METRICS[name]
    actual = after.get(name)

    def row(words: str, required: float | None, *, at_least: bool) -> GateRow:
        if actual is None or required is None:
            return GateRow(name, words, required, actual, False)
        return GateRow(name, words, required, actual, actual >= required if at_least else actual <= required)

    if rule.min is not None:
        yield row(f"at least {rule.min:g}", rule.min, at_least=True)
    if rule.max is not None:
        yield row(f"at most {rule.max:g}", rule.max, at_least=False)
    sign = 1 if more_is_better else -1
    if rule.improve_by is not None:
        start = before.get(name)
        required = None if start is None else start + sign * rule.improve_by
        yield row(f"better than the base model by {rule.improve_by:g}", required, at_least=more_is_better)
    if rule.tolerance is not None:
        accepted = baseline.get(name)
        required = None if accepted is None else accepted - sign * rule.tolerance
        yield row(f"within {rule.tolerance:g} of the baseline", required, at_least=more_is_better)
