"""evaluation.json as rows: metrics before and after, the gate, sample answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from workloads.report.formats import metric_change, metric_label, metric_value
from workloads.report.source import RunSource, mapping, number, objects, text
from workloads.run_spec import METRICS

_LONGEST_ANSWER = 2000
_MOST_SAMPLES = 100


@dataclass(frozen=True, slots=True)
class Change:
    """How a value differs from another; ``verdict`` is ``better``, ``worse``, ``same`` or empty when unknown."""

    text: str
    verdict: str


@dataclass(frozen=True, slots=True)
class MetricRow:
    """One metric; values are ready to show, None where it was not measured."""

    label: str
    before: str | None
    after: str | None
    change: Change | None
    baseline: str | None
    against_baseline: Change | None


@dataclass(frozen=True, slots=True)
class GateRow:
    """One condition of the gate."""

    label: str
    rule: str
    required: str | None
    actual: str | None
    passed: bool


@dataclass(frozen=True, slots=True)
class Sample:
    """One question with the answers of the base model and of the trained one."""

    question: str
    expected: str
    category: str
    before: str
    after: str
    correct_before: bool | None
    correct_after: bool | None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What was measured; ``gate_passed`` is None without a gate."""

    metrics: tuple[MetricRow, ...]
    gate_passed: bool | None
    gate: tuple[GateRow, ...]
    samples: tuple[Sample, ...]
    questions: float | None
    held_out_rows: float | None

    @property
    def has_baseline(self) -> bool:
        """Whether anything is compared with a committed baseline."""
        return any(row.baseline for row in self.metrics)


def read_evaluation(source: RunSource) -> Evaluation:
    """Everything about the run's evaluation; empty when there was none."""
    found = source.evaluation
    before, after, baseline = (mapping(found.get(key)) for key in ("before", "after", "baseline"))
    names = [*METRICS, *(name for name in {**before, **after} if name not in METRICS)]
    rows = (_metric_row(name, *(number(each.get(name)) for each in (before, after, baseline))) for name in names)
    gate = mapping(found.get("gate"))
    return Evaluation(
        metrics=tuple(row for row in rows if row.before or row.after),
        gate_passed=gate.get("passed") is True if gate else None,
        gate=tuple(_gate_row(row) for row in objects(gate.get("rows"))),
        samples=tuple(_sample(each) for each in objects(found.get("samples"))[:_MOST_SAMPLES]),
        questions=number(mapping(found.get("questions")).get("count")),
        held_out_rows=number(mapping(found.get("held_out")).get("rows")),
    )


def _metric_row(name: str, before: float | None, after: float | None, baseline: float | None) -> MetricRow:
    return MetricRow(
        metric_label(name),
        _shown(name, before),
        _shown(name, after),
        _change(name, before, after),
        _shown(name, baseline),
        _change(name, baseline, after),
    )


def _shown(name: str, value: float | None) -> str | None:
    return None if value is None else metric_value(name, value)


def _change(name: str, old: float | None, new: float | None) -> Change | None:
    if old is None or new is None:
        return None
    more_is_better = METRICS.get(name)
    if metric_value(name, old) == metric_value(name, new):  # what looks the same on the page is called the same
        return Change("no change", "same")
    verdict = "" if more_is_better is None else "better" if (new > old) == more_is_better else "worse"
    return Change(metric_change(name, new - old), verdict)


def _gate_row(row: dict[str, Any]) -> GateRow:
    name = text(row.get("metric"))
    return GateRow(
        metric_label(name),
        text(row.get("rule")),
        _shown(name, number(row.get("required"))),
        _shown(name, number(row.get("actual"))),
        row.get("passed") is True,
    )


def _sample(each: dict[str, Any]) -> Sample:
    right = [value if isinstance(value := each.get(key), bool) else None for key in ("correct_before", "correct_after")]
    question, expected, before, after = (_cut(each.get(key)) for key in ("question", "answer", "before", "after"))
    return Sample(question, expected, text(each.get("category")), before, after, *right)


def _cut(value: Any) -> str:
    whole = text(value)
    left_out = len(whole) - _LONGEST_ANSWER
    return whole if left_out <= 0 else f"{whole[:_LONGEST_ANSWER]} … ({left_out:,} more characters)"
