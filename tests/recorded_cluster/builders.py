"""Builds one object at a time; whatever a test does not name is as in a run without trouble."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

Object = dict[str, Any]

RUN, NAMESPACE = "llama3-8b-sft-0a1b2c3d4e", "team-research"
NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC).timestamp()
IMAGE = f"europe-west4-docker.pkg.dev/example/gke-llm/trainer@sha256:{'ab' * 32}"
JOB_UID, WORKFLOW_UID = "5d0c8a52-1f0e-4f0e-9a55-6d6ad4a9f6c1", "0f9c31cc-86f0-4d3f-8f52-7c6b1d2e3f40"


def ago(seconds: float) -> str:
    """A time before NOW, as Kubernetes writes it."""
    return datetime.fromtimestamp(NOW - seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def condition(kind: str, status: str, reason: str, message: str = "", seconds: float = 60) -> Object:
    """A condition of any object."""
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": ago(seconds),
    }


def node(stage: str, phase: str, kind: str = "Pod", message: str = "") -> Object:
    """A node of a workflow's status."""
    found = {
        "id": f"{RUN}-{stage}",
        "displayName": stage,
        "templateName": stage,
        "type": kind,
        "phase": phase,
        "startedAt": ago(600),
    }
    return found | ({"message": message} if message else {}) | ({"finishedAt": ago(30)} if phase != "Running" else {})


def workflow(phase: str = "Running", *nodes: Object, message: str = "", **spec: Any) -> Object:
    """The run's Workflow; an empty phase means that Argo has not seen it."""
    found: Object = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"name": RUN, "namespace": NAMESPACE, "uid": WORKFLOW_UID, "creationTimestamp": ago(3600)},
        "spec": {"workflowTemplateRef": {"name": RUN}, **spec},
    }
    if phase:
        root = {"id": RUN, "displayName": RUN, "type": "DAG", "phase": phase, "startedAt": ago(3600)}
        found["status"] = {"phase": phase, "nodes": {each["id"]: each for each in (root, *nodes)}}
        if phase != "Running":
            found["status"] |= {"finishedAt": ago(30)}
    if message:
        found["status"]["message"] = message
    return found


def job(*conditions: Object, kind: str = "Job", suspend: bool = False, **status: Any) -> Object:
    """The Job or JobSet of the training."""
    return {
        "apiVersion": "batch/v1" if kind == "Job" else "jobset.x-k8s.io/v1alpha2",
        "kind": kind,
        "metadata": {
            "name": f"{RUN}-t",
            "namespace": NAMESPACE,
            "uid": JOB_UID,
            "creationTimestamp": ago(600),
            "labels": {"kueue.x-k8s.io/queue-name": "l4x1"},
        },
        "spec": {"suspend": suspend, "activeDeadlineSeconds": 172800},
        "status": {"conditions": list(conditions), **status},
    }


def pod(
    state: Object | None = None,
    *conditions: Object,
    name: str = f"{RUN}-t-8xk2p",
    stage: str = "train",
    phase: str = "Running",
    rank: int | None = None,
    created: float = 500,
    on: str = "gke-tunery-l4x1-7c2d-x1y2",
    **status: Any,
) -> Object:
    """A pod of the run; ``state`` is that of its container."""
    labels = {"tunery.dev/run": RUN, "tunery.dev/stage": stage}
    if rank is not None:
        labels["batch.kubernetes.io/job-completion-index"] = str(rank)
    statuses = [] if state is None else [{"name": "main", "state": state, "restartCount": 0, "image": IMAGE}]
    owner = ("Job", f"{RUN}-t", JOB_UID) if stage in ("train", "evaluate") else ("Workflow", RUN, WORKFLOW_UID)
    return {
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": NAMESPACE,
            "labels": labels,
            "creationTimestamp": ago(created),
            "ownerReferences": [{"kind": owner[0], "name": owner[1], "uid": owner[2]}],
        },
        "spec": {"nodeName": on, "containers": [{"name": "main", "resources": {"limits": {"memory": "25Gi"}}}]},
        "status": {"phase": phase, "conditions": list(conditions), "containerStatuses": statuses, **status},
    }


def pending(message: str, **more: Any) -> Object:
    """A pod that no node was found for."""
    found = pod(None, condition("PodScheduled", "False", "Unschedulable", message), phase="Pending", **more)
    del found["spec"]["nodeName"]
    return found


def waiting(reason: str, message: str = "", **more: Any) -> Object:
    """A pod with a node, whose container is not made yet."""
    scheduled = condition("PodScheduled", "True", "")
    return pod({"waiting": {"reason": reason, "message": message}}, scheduled, phase="Pending", **more)


def running(started: float = 400, **more: Any) -> Object:
    """A pod that works."""
    return pod({"running": {"startedAt": ago(started)}}, condition("Ready", "True", ""), **more)


def ended(code: int, how: str = "Error", *conditions: Object, **more: Any) -> Object:
    """A pod whose process has ended."""
    state = {"terminated": {"exitCode": code, "reason": how, "finishedAt": ago(40)}}
    return pod(state, *conditions, phase="Failed", **more)


def event(
    reason: str, message: str, *, about: Object | str = f"{RUN}-t-8xk2p", seconds: float = 30, kind: str = "Pod"
) -> Object:
    """An event of core/v1."""
    name = about if isinstance(about, str) else about["metadata"]["name"]
    return {
        "metadata": {"name": f"{name}.17f", "namespace": NAMESPACE, "creationTimestamp": ago(seconds + 60)},
        "involvedObject": {"kind": kind, "name": name, "namespace": NAMESPACE},
        "reason": reason,
        "message": message,
        "type": "Warning",
        "count": 3,
        "lastTimestamp": ago(seconds),
    }


def workload(*conditions: Object, run: str = RUN, uid: str = JOB_UID, priority: int = 0, **more: Any) -> Object:
    """A Workload of Kueue."""
    return {
        "apiVersion": "kueue.x-k8s.io/v1beta2",
        "kind": "Workload",
        "metadata": {
            "name": f"job-{run}-t-3f1a2",
            "namespace": NAMESPACE,
            "labels": {"kueue.x-k8s.io/job-uid": uid},
            "ownerReferences": [{"kind": "Job", "name": f"{run}-t", "uid": uid}],
        },
        "spec": {"queueName": "l4x1", "active": True, "priority": priority, **more.pop("spec", {})},
        "status": {"conditions": list(conditions), **more},
    }


def not_reserved(message: str, reason: str = "Pending") -> Object:
    """Kueue's word for quota that is not there."""
    return condition("QuotaReserved", "False", reason, message)


def holder(run: str, priority: int = 0) -> Object:
    """A Workload that has its quota."""
    reserved = condition("QuotaReserved", "True", "QuotaReserved", "Quota reserved in ClusterQueue team-research-l4x1")
    admitted = condition("Admitted", "True", "Admitted", "The workload is admitted")
    return workload(reserved, admitted, run=run, uid=f"uid-{run}", priority=priority)


def queue(kind: str = "ClusterQueue", stop: str = "None", *conditions: Object, used: str = "2") -> Object:
    """A LocalQueue or ClusterQueue."""
    resources = [{"name": "nvidia.com/gpu", "total": used, "borrowed": "0"}]
    return {
        "kind": kind,
        "metadata": {"name": "team-research-l4x1" if kind == "ClusterQueue" else "l4x1"},
        "spec": {"stopPolicy": stop, "clusterQueue": "team-research-l4x1"},
        "status": {
            "conditions": list(conditions) or [condition("Active", "True", "Ready", "Can admit new workloads")],
            "flavorsReservation": [{"name": "l4x1", "resources": resources}],
        },
    }


def told(name: str, seconds: float, **fields: Any) -> Object:
    """A line of the run's own event log."""
    return {"time": NOW - seconds, "event": name, **fields}


def failure(exit_code: int, message: str, stage: str = "train", **problem: Any) -> tuple[Object, ...]:
    """The log of a stage that failed and said why."""
    problems = [{"message": message, "fix": "do it otherwise", "code": "invalid", **problem}]
    return (
        told("stage_started", 300, stage=stage),
        told("stage_failed", 40, stage=stage, exit_code=exit_code, problems=problems),
    )
