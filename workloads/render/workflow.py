"""The pipeline as Argo Workflows objects: a Workflow that has all of it, or for a schedule a template and its clock.

Stages without a GPU are pods of the workflow; stages with one are Jobs or JobSets that the workflow creates and waits
for, since Kueue admits those and not the workflow's pods. Their manifests hold validated names only; the one thing
that Argo fills in is the workflow's own name.
"""

from __future__ import annotations

import json
from typing import Any

from workloads.render import failure
from workloads.render.pods import stage_pod
from workloads.render.run import ClusterRun
from workloads.render.steps import STEPS
from workloads.render.text import to_yaml
from workloads.render.training import gpu_stage, is_gang

ARGO_API = "argoproj.io/v1alpha1"
EXECUTOR = "runner"
"""The service account of the steps that create Jobs and JobSets and wait for them; it may do nothing else."""
APPROVAL = "approve"

_POD_KEYS = ("volumes", "nodeSelector", "tolerations", "securityContext")
"""What a PodSpec and an Argo template have in common, under the same names."""
_PATCHED = ("terminationGracePeriodSeconds", "enableServiceLinks")
"""What a PodSpec has beyond them."""

_PATIENCE = {
    # Errors that pass by themselves: Argo's own list lacks some of those that an API server causes by being away.
    "TRANSIENT_ERROR_PATTERN": "dial tcp|unreachable|connection (refused|reset|lost)|timeout|EOF",
    "EXECUTOR_RETRY_BACKOFF_STEPS": "12",  # five minutes in all, instead of 16 seconds
}
"""Variables of Argo's executor. Without them a step ends with 64, as an error of ours would not, when the API server
is away for some seconds; and the workflow then waits for its report without end."""

_KEEP = {"secondsAfterCompletion": 7 * 24 * 3600}
_EXTRA_HOURS = 72.0
"""What a workflow may take beyond its training: waiting for quota, the other stages, and a person's approval."""


def planned(run: ClusterRun) -> list[str]:
    """The stages that the run's spec asks for, in order."""
    absent = {"publish": run.spec.publish is None, "serve": run.spec.serve is None}
    return [stage for stage in STEPS if not absent.get(stage, False)]


def workflow_template(run: ClusterRun) -> dict[str, Any]:
    """The WorkflowTemplate: the run's stages one after the other."""
    stages = planned(run)
    names = list(stages)
    if run.spec.serve is not None and run.spec.serve.approval:
        names.insert(names.index("serve"), APPROVAL)
    tasks = [
        {"name": name, "template": name, **({"depends": names[number - 1]} if number else {})}
        for number, name in enumerate(names)
    ]
    templates = [{"name": "pipeline", "dag": {"tasks": tasks}}, *(_template(run, stage) for stage in stages)]
    if APPROVAL in names:
        templates.append({"name": APPROVAL, "suspend": {}})
    return {
        "apiVersion": ARGO_API,
        "kind": "WorkflowTemplate",
        "metadata": {"name": run.id, "namespace": run.team.namespace, "labels": run.labels()},
        "spec": {
            "entrypoint": "pipeline",
            "serviceAccountName": EXECUTOR,
            "podSpecPatch": _patch(),
            "activeDeadlineSeconds": int((run.spec.resources.max_hours + _EXTRA_HOURS) * 3600),
            "podGC": {"strategy": "OnWorkflowSuccess"},
            "ttlStrategy": _KEEP,
            "templates": templates,
        },
    }


def workflow(template: dict[str, Any]) -> dict[str, Any]:
    """A template's Workflow, of the run's name: submitted twice, it is the same object.

    It refers to nothing. Argo looks for a template in a cache that may not have what was made a moment ago, and then
    ends the workflow before it has begun.
    """
    return {**template, "kind": "Workflow"}


def _template(run: ClusterRun, stage: str) -> dict[str, Any]:
    if STEPS[stage].device == "gpu":
        return _resource(run, stage)
    pod = stage_pod(run, stage)
    container = pod["containers"][0]
    moved: dict[str, Any] = {key: pod[key] for key in _POD_KEYS if key in pod}
    return {
        "name": stage,
        "metadata": {"labels": run.labels(stage)},
        "serviceAccountName": pod["serviceAccountName"],
        "podSpecPatch": _patch("wait", **{key: pod[key] for key in _PATCHED if key in pod}),
        "retryStrategy": failure.step_retry(),
        "container": {key: value for key, value in container.items() if key != "name"},
        **moved,
    }


def _patch(executor: str | None = None, **keys: Any) -> str:
    """What Argo's templates have no keys for, as JSON that Argo merges into the PodSpec.

    Args:
        executor: the container that is Argo's own: ``wait`` beside a stage, ``main`` where Argo itself works.

    Its sidecar reports each step as the step's own account, whose role allows just that. The accounts mount no token
    by themselves, and Argo 4.0 passes ``automountServiceAccountToken`` on only when it is false; an account of the
    sidecar's own would need a Secret with a token that never expires.
    """
    if executor is not None:
        variables = [{"name": name, "value": value} for name, value in _PATIENCE.items()]
        keys["containers"] = [{"name": executor, "env": variables}]
    return json.dumps({"automountServiceAccountToken": True, **keys})


def _resource(run: ClusterRun, stage: str) -> dict[str, Any]:
    manifest = gpu_stage(run, stage, f"{run.instance}-{stage[0]}")
    done = (
        ("status.terminalState == Completed", "status.terminalState == Failed")
        if is_gang(manifest)
        else ("status.succeeded > 0", "status.failed > 0")
    )
    return {
        "name": stage,
        "metadata": {"labels": run.labels(stage)},
        "serviceAccountName": EXECUTOR,
        "podSpecPatch": _patch("main"),
        "retryStrategy": failure.resource_retry(),
        "resource": {
            "action": failure.ACTION,
            "setOwnerReference": True,
            "successCondition": done[0],
            "failureCondition": done[1],
            "manifest": to_yaml(manifest),
        },
    }


def cron_workflow(run: ClusterRun) -> dict[str, Any]:
    """The CronWorkflow of a spec with a schedule; a start while the last one still runs is left out.

    Raises:
        ValueError: the spec has no schedule.
    """
    if run.spec.schedule is None:
        raise ValueError("the run spec has no schedule")
    return {
        "apiVersion": ARGO_API,
        "kind": "CronWorkflow",
        "metadata": {"name": run.spec.name, "namespace": run.team.namespace, "labels": run.labels()},
        "spec": {
            "schedules": [run.spec.schedule],
            "timezone": "Etc/UTC",
            "concurrencyPolicy": "Forbid",
            "startingDeadlineSeconds": 3600,
            "successfulJobsHistoryLimit": 3,
            "failedJobsHistoryLimit": 3,
            "workflowMetadata": {"labels": run.labels()},
            "workflowSpec": {"workflowTemplateRef": {"name": run.id}},
        },
    }
