"""What is known of the trials of a sweep: a result file in each trial's directory, and sweep.json about all of them.

A trial's result is the truth and is written by whoever trained it; sweep.json is made of the results for people, the
report and other programs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from workloads.errors import Problem
from workloads.run_spec import METRICS, Scalar, Sweep
from workloads.runtime import RunPaths
from workloads.storage.atomic import read_json, write_json
from workloads.sweep.rungs import Rung, promoted, ranked

RESULT = "result.json"
"""A trial's result, in its directory."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """What a trial reached in one round: the step, and the metrics on held-out data."""

    step: int
    metrics: Mapping[str, float]


@dataclass(slots=True)
class TrialResult:
    """One trial.

    Attributes:
        measured: number of the rung -> what was measured there.
        seconds: time spent on it, interrupted attempts included.
        problems: why it failed, each as ``Problem.as_dict``; a failed trial is not tried again.
    """

    number: int
    parameters: Mapping[str, Scalar]
    measured: dict[int, Measurement] = field(default_factory=dict)
    seconds: float = 0.0
    problems: list[dict[str, Any]] = field(default_factory=list)

    @property
    def last(self) -> Measurement | None:
        """What was measured last."""
        return self.measured[max(self.measured)] if self.measured else None

    def metric(self, sweep: Sweep, rung: int) -> float | None:
        """The sweep's metric at a rung; None when it was not reached or not measured."""
        found = self.measured.get(rung)
        return None if found is None else found.metrics.get(sweep.metric)

    def write(self, paths: RunPaths) -> None:
        """Writes the trial's result file."""
        write_json(
            paths.trial(self.number) / RESULT,
            {
                "number": self.number,
                "parameters": dict(self.parameters),
                "measured": {
                    str(rung): {"step": each.step, "metrics": dict(each.metrics)}
                    for rung, each in self.measured.items()
                },
                "seconds": round(self.seconds, 3),
                "problems": self.problems,
            },
        )

    @classmethod
    def read(cls, paths: RunPaths, number: int, parameters: Mapping[str, Scalar]) -> TrialResult:
        """The trial's result on this disk."""
        return cls.parse(read_json(paths.trial(number) / RESULT), number, parameters)

    @classmethod
    def parse(cls, value: Any, number: int, parameters: Mapping[str, Scalar]) -> TrialResult:
        """The result that a file holds, or an empty one when it cannot be read or is of other parameters."""
        empty = cls(number, parameters)
        if not isinstance(value, dict) or value.get("parameters") != dict(parameters):
            return empty
        try:
            measured = {
                int(rung): Measurement(
                    int(each["step"]), {name: float(each["metrics"][name]) for name in each["metrics"]}
                )
                for rung, each in value["measured"].items()
            }
            return cls(number, parameters, measured, float(value["seconds"]), list(value["problems"]))
        except (AttributeError, KeyError, TypeError, ValueError):
            return empty


def read_results(paths: RunPaths, trials: Sequence[Mapping[str, Scalar]]) -> list[TrialResult]:
    """The results of all trials, by number."""
    return [TrialResult.read(paths, number, parameters) for number, parameters in enumerate(trials)]


def contestants(sweep: Sweep, results: Sequence[TrialResult], rounds: Sequence[Rung], rung: int) -> list[int]:
    """The trials of a rung: all in the first, and then the best of the one before."""
    numbers = list(range(len(results)))
    for before in rounds[:rung]:
        metrics = {number: results[number].metric(sweep, before.number) for number in numbers}
        numbers = promoted(sweep, metrics, rounds[before.number + 1].trials)
    return numbers


def best(sweep: Sweep, results: Sequence[TrialResult]) -> int | None:
    """The best of the trials that got furthest; None when no trial has the sweep's metric."""
    for rung in sorted({rung for each in results for rung in each.measured}, reverse=True):
        metrics = {each.number: value for each in results if (value := each.metric(sweep, rung)) is not None}
        if promoted(sweep, metrics, 1):
            return ranked(sweep, metrics)[0]
    return None


def state(sweep: Sweep, results: Sequence[TrialResult], rounds: Sequence[Rung], number: int, *, over: bool) -> str:
    """``finished``, ``failed``, ``pruned`` (others were better), ``skipped`` (the budget was spent) or ``waiting``.

    Args:
        over: no more trials are started.
    """
    result = results[number]
    if result.problems:
        return "failed"
    if rounds[-1].number in result.measured:
        return "finished"
    reached = max(result.measured, default=-1)
    if reached >= 0:
        numbers = contestants(sweep, results, rounds, reached)
        decided = over or all(reached in results[each].measured or results[each].problems for each in numbers)
        if decided and number not in contestants(sweep, results, rounds, reached + 1):
            return "pruned"
    return "skipped" if over else "waiting"


def summary(sweep: Sweep, results: Sequence[TrialResult], rounds: Sequence[Rung], *, over: bool) -> dict[str, Any]:
    """What sweep.json holds."""
    rows = [
        {
            "trial": each.number,
            "state": state(sweep, results, rounds, each.number, over=over),
            "parameters": dict(each.parameters),
            "metric": None if each.last is None else each.last.metrics.get(sweep.metric),
            "metrics": {} if each.last is None else dict(each.last.metrics),
            "rung": max(each.measured, default=None),
            "steps": None if each.last is None else each.last.step,
            "seconds": round(each.seconds, 3),
            **({"problems": each.problems} if each.problems else {}),
        }
        for each in results
    ]
    return {
        "method": sweep.method,
        "metric": sweep.metric,
        "more_is_better": METRICS[sweep.metric],
        "over": over,
        "best": best(sweep, results),
        "rungs": [
            {
                "rung": each.number,
                "steps": each.steps,
                "trials": each.trials,
                "measured": sum(each.number in result.measured for result in results),
            }
            for each in rounds
        ],
        "trials": rows,
    }


def write_summary(
    paths: RunPaths, sweep: Sweep, results: Sequence[TrialResult], rounds: Sequence[Rung], *, over: bool
) -> None:
    """Writes sweep.json."""
    write_json(paths.sweep, summary(sweep, results, rounds, over=over))


def conclusion(sweep: Sweep, winner: TrialResult, digest: str, folder: str) -> dict[str, Any]:
    """What the train stage of a sweep records: as of any training, and which trial it was.

    Args:
        digest: of the winner's weights.
        folder: where they are, relative to the run directory.
    """
    last = winner.last
    return {
        "steps": None if last is None else last.step,
        "digest": digest,
        "folder": folder,
        "trial": winner.number,
        "parameters": dict(winner.parameters),
        "metric": {sweep.metric: None if last is None else last.metrics.get(sweep.metric)},
    }


def nothing_measured(sweep: Sweep, results: Sequence[TrialResult], paths: RunPaths) -> list[Problem]:
    """What to say of a sweep without a best trial."""
    for result in results:
        if result.problems:
            first = [Problem(**each) for each in result.problems]
            return [replace(each, message=f"Every trial failed; the first: {each.message}") for each in first]
    return [
        Problem(
            f"No trial has a finite {sweep.metric}: the trainings diverged, or there is no held-out data.",
            "try smaller learning rates; sweep.json in the run directory lists the trials",
            file=str(paths.root),
            key="sweep",
        )
    ]


def spent(sweep: Sweep, results: Sequence[TrialResult], hours: float | None = None) -> bool:
    """Whether the budget allows no more trials.

    Args:
        hours: a limit beside the spec's own: what its cost buys on an environment.
    """
    own = None if sweep.budget is None else sweep.budget.hours
    limits = [limit for limit in (own, hours) if limit is not None]
    return bool(limits) and sum(each.seconds for each in results) >= min(limits) * 3600
