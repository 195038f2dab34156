"""All objects that a run is sent as, in the order in which they are created."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from workloads.errors import InputError
from workloads.render.failure import ACTION
from workloads.render.run import FIRING, ClusterRun
from workloads.render.sweep import FILLED_IN, sweep_template
from workloads.render.workflow import cron_workflow, workflow, workflow_template

_EXPANDED = ("{{", "$(")
"""What Argo and Kubernetes replace inside texts."""


def objects(run: ClusterRun) -> list[dict[str, Any]]:
    """The run's Workflow, or when the spec has a schedule a WorkflowTemplate and the CronWorkflow that starts it.

    A Workflow has the run's name, so that the second submission finds the first. Each firing of a schedule is a run
    of its own, named by Argo, that starts from the inputs stored under the run's name.

    Raises:
        InputError: a text would mean more than it says; only a contract that was written by hand can do that.
    """
    template = workflow_template(run) if run.spec.sweep is None else sweep_template(run)
    found = [workflow(template)] if run.spec.schedule is None else [template, cron_workflow(run)]
    for text in _texts(found):
        for known in (FIRING, ACTION, *FILLED_IN):
            text = text.replace(known, "")
        if any(mark in text for mark in _EXPANDED):
            raise InputError.of(
                f"{text[:200]!r} would be expanded by Argo or Kubernetes.",
                "take {{ and $( out of the platform contract",
                file=f"{run.platform.environment}.json",
            )
    return found


def file_name(manifest: dict[str, Any]) -> str:
    """The file that an object has in a folder for GitOps."""
    return f"{str(manifest['kind']).lower()}.yaml"


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _texts(key)
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)
