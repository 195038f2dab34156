"""evaluate: the base model and the trained one on the same held-out data and questions, and the gate."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from workloads.errors import InputError, Problem
from workloads.gate import GateRow, judge
from workloads.run_spec import METRICS
from workloads.stages.context import RunContext
from workloads.stages.runner import main
from workloads.storage.atomic import read_json, write_json


def run(context: RunContext) -> dict[str, Any]:
    """Writes evaluation.json.

    Raises:
        InputError: the gate did not pass; evaluation.json is written all the same.
    """
    result = _measure(context)
    gate = context.spec.gate
    baseline = _baseline(context)
    rows = judge(gate, result["before"], result["after"], baseline) if gate else []
    passed = all(row.passed for row in rows)
    result |= {"baseline": baseline or None}
    result["gate"] = {"passed": passed, "rows": [asdict(row) for row in rows]} if gate else None
    write_json(context.paths.evaluation, result)
    if gate:
        context.events.append("gate_passed" if passed else "gate_failed")
    if not passed:
        raise InputError([_problem(context, row) for row in rows if not row.passed])
    return {"before": result["before"], "after": result["after"], "gate": bool(gate)}


def intact(context: RunContext) -> bool:
    """Whether the evaluation is still there."""
    return read_json(context.paths.evaluation) is not None


def _measure(context: RunContext) -> dict[str, Any]:
    from workloads.training.answers import generate, grade, is_right, load_questions
    from workloads.training.loading import before_and_after
    from workloads.training.scoring import held_out_rows, score

    asked = context.spec.evaluation.questions
    questions = load_questions(context.spec_file(asked.file)) if asked else []
    rows = held_out_rows(context.paths.tokenized) if context.paths.tokenized.is_dir() else []
    stage = str(context.config.get("stage", "sft"))
    metrics: dict[str, dict[str, float]] = {"before": {}, "after": {}}
    answers: dict[str, list[str]] = {}
    models = before_and_after(context.config, context.base_model, context.paths.trained, is_lora=context.is_lora)
    for when, loaded in models:
        metrics[when] = score(loaded.model, rows, stage)
        if asked and questions:
            answers[when] = generate(loaded, [each.question for each in questions], asked.max_new_tokens)
            metrics[when] |= grade(questions, answers[when], rouge=context.spec.evaluation.rouge)
    samples = [
        {
            "question": each.question,
            "answer": each.answer,
            "category": each.category,
            "before": answers["before"][number],
            "after": answers["after"][number],
            "correct_before": is_right(answers["before"][number], each.answer),
            "correct_after": is_right(answers["after"][number], each.answer),
        }
        for number, each in enumerate(questions[: context.spec.evaluation.samples])
    ]
    counts = {"questions": {"count": len(questions)}, "held_out": {"rows": len(rows)}}
    return {**metrics, "samples": samples, **counts}


def _baseline(context: RunContext) -> dict[str, float]:
    gate = context.spec.gate
    if gate is None or gate.baseline is None:
        return {}
    path = context.spec_file(gate.baseline)
    value = read_json(path)
    if not isinstance(value, dict):
        raise InputError.of("The baseline is not a JSON object.", "write {metric: value}", file=path)
    return {name: float(number) for name, number in value.items() if name in METRICS}


def _problem(context: RunContext, row: GateRow) -> Problem:
    actual = "was not measured" if row.actual is None else f"is {row.actual:.4g}"
    required = "but there is nothing to compare with" if row.required is None else f"required is {row.required:.4g}"
    return Problem(
        f"The gate stops here: {row.metric} {actual}, {required} ({row.rule}). Nothing is published.",
        "train longer or on better data, or change the gate in a reviewed commit",
        file=str(context.paths.evaluation),
        key=row.metric,
        code="gate",
    )


if __name__ == "__main__":
    main("evaluate")
