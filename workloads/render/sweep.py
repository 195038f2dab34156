"""A sweep as one WorkflowTemplate: the pipeline of any run, with rungs of trials in the place of the train stage.

A rung is so many trials, of which a limited number runs at once; each is a Job in the team's queue, as a training is.
After each rung a small step reads the results from the store and writes down who goes on. Which trial a Job works on
is its slot, a number that Argo counts; nothing that a person wrote is filled in by Argo.
"""

from __future__ import annotations

import math
from typing import Any

from workloads import runtime
from workloads.render.failure import CONTAINER
from workloads.render.run import ClusterRun
from workloads.render.text import to_yaml
from workloads.render.training import gpu_stage
from workloads.render.workflow import workflow_template
from workloads.run_spec import Sweep
from workloads.sweep.rungs import Rung, rungs
from workloads.sweep.space import most_trials

RUNG, SLOT, COUNT, ITEM = (
    "{{inputs.parameters.rung}}",
    "{{inputs.parameters.slot}}",
    "{{inputs.parameters.count}}",
    "{{item}}",
)
FILLED_IN = (RUNG, SLOT, COUNT, ITEM)
"""Argo's own variables: numbers, all of them."""

TRIAL, CHOOSE = "trial", "choose"
"""The templates of what works on a sweep, and how the nodes of a workflow name them."""

_TRIAL_MODULE = "workloads.stages.trial"
_CHOOSE_MODULE = "workloads.stages.choose"
_WAITING_HOURS = 24.0
"""What every wave of trials may wait for quota."""


def sweep_template(run: ClusterRun) -> dict[str, Any]:
    """The WorkflowTemplate of a run with a sweep.

    Raises:
        ValueError: the spec has no sweep.
    """
    sweep = run.spec.sweep
    if sweep is None:
        raise ValueError("the run spec has no sweep")
    rounds = rungs(sweep, most_trials(sweep))
    template = workflow_template(run)
    by_name = {each["name"]: each for each in template["spec"]["templates"]}
    pipeline = by_name.pop("pipeline")
    trial = _trial(run, by_name.pop("train"))
    pipeline["dag"]["tasks"] = _tasks(pipeline["dag"]["tasks"], rounds)
    template["spec"]["templates"] = [
        pipeline,
        _rung(sweep),
        trial,
        _choose(run, by_name["prepare"]),
        *by_name.values(),
    ]
    waves = sum(math.ceil(each.trials / sweep.parallel) for each in rounds)
    more_hours = (waves - 1) * (run.spec.resources.max_hours + _WAITING_HOURS)
    template["spec"]["activeDeadlineSeconds"] += int(more_hours * 3600)
    return template


def trial_job(run: str, rung: str, slot: str) -> str:
    """The name of the Job that trains the trial of a slot to a rung."""
    return f"{run}-t{rung}-{slot}"


def _tasks(tasks: list[dict[str, Any]], rounds: list[Rung]) -> list[dict[str, Any]]:
    """The pipeline's tasks with the rungs and choices where the training was."""
    found: list[dict[str, Any]] = []
    last = f"{CHOOSE}-{rounds[-1].number}"
    for task in tasks:
        if task["name"] == "train":
            before = task["depends"]
            for rung in rounds:
                number = str(rung.number)
                found.append(_task(f"rung-{number}", "rung", before, rung=number, count=str(rung.trials)))
                found.append(_task(f"{CHOOSE}-{number}", CHOOSE, f"rung-{number}", rung=number))
                before = f"{CHOOSE}-{number}"
        else:
            found.append(task | ({"depends": last} if task.get("depends") == "train" else {}))
    return found


def _task(name: str, template: str, depends: str, **parameters: str) -> dict[str, Any]:
    return {"name": name, "template": template, "depends": depends, "arguments": _arguments(**parameters)}


def _arguments(**parameters: str) -> dict[str, Any]:
    return {"parameters": [{"name": name, "value": value} for name, value in parameters.items()]}


def _inputs(*names: str) -> dict[str, Any]:
    return {"parameters": [{"name": name} for name in names]}


def _rung(sweep: Sweep) -> dict[str, Any]:
    """So many trials, of which ``parallel`` run at once; one rung runs at a time."""
    trials = {
        "name": TRIAL,
        "template": TRIAL,
        "withSequence": {"count": COUNT},
        "arguments": _arguments(rung=RUNG, slot=ITEM),
    }
    return {
        "name": "rung",
        "inputs": _inputs("rung", "count"),
        "parallelism": sweep.parallel,
        "dag": {"tasks": [trials]},
    }


def _trial(run: ClusterRun, train: dict[str, Any]) -> dict[str, Any]:
    """The training's Job under a name of its own for each slot, working on that slot's trial."""
    job = gpu_stage(run, "train", trial_job(run.instance, RUNG, SLOT))
    container = _main(job["spec"]["template"]["spec"])
    container["command"] = [*container["command"][:-3], _TRIAL_MODULE, run.instance, RUNG, SLOT]
    if run.trial_hours is not None:
        container["env"] = [*container["env"], {"name": runtime.ENV_SWEEP_HOURS, "value": f"{run.trial_hours:.6g}"}]
    resource = {**train["resource"], "manifest": to_yaml(job)}
    return {**train, "name": TRIAL, "inputs": _inputs("rung", "slot"), "resource": resource}


def _choose(run: ClusterRun, prepare: dict[str, Any]) -> dict[str, Any]:
    """A small step on a CPU, like the preparation, that reads results and writes down a choice."""
    container = prepare["container"]
    command = [*container["command"][:-3], _CHOOSE_MODULE, run.instance, RUNG]
    return {
        **prepare,
        "name": CHOOSE,
        "metadata": {"labels": run.labels("train")},
        "inputs": _inputs("rung"),
        "container": {**container, "command": command},
    }


def _main(pod: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = next(each for each in pod["containers"] if each["name"] == CONTAINER)
    return found
