"""Stages on GPUs as Kubernetes Jobs: one pod is a Job, several that work together are a JobSet.

Both wait in the team's Kueue queue for their pool: the queue label is on the Job or JobSet, never on its pods.
"""

from __future__ import annotations

from typing import Any

from workloads.render import failure
from workloads.render.pods import stage_pod
from workloads.render.run import ClusterRun

JOBSET_API = "jobset.x-k8s.io/v1alpha2"
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
PRIORITY_LABEL = "kueue.x-k8s.io/priority-class"
REPLICATED_JOB = "w"
"""One letter: it is part of every pod's host name, which has at most 63."""
_KEEP_SECONDS = 7 * 24 * 3600
_STAGE_HOURS = 6.0
"""What a stage beside the training may take."""


def gpu_stage(run: ClusterRun, stage: str, name: str) -> dict[str, Any]:
    """The Job or JobSet of a stage, of the given name."""
    return _jobset(run, stage, name) if stage == "train" and run.nodes > 1 else _job(run, stage, name)


def is_gang(manifest: dict[str, Any]) -> bool:
    """Whether a manifest of :func:`gpu_stage` is a JobSet."""
    return bool(manifest["kind"] == "JobSet")


def _job(run: ClusterRun, stage: str, name: str) -> dict[str, Any]:
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": run.team.namespace, "labels": _queued(run, stage)},
        "spec": {
            "suspend": True,  # Kueue starts it
            "activeDeadlineSeconds": _deadline(run, stage),
            "ttlSecondsAfterFinished": _KEEP_SECONDS,
            **failure.job_policy(),
            "template": {"metadata": {"labels": run.labels(stage)}, "spec": stage_pod(run, stage)},
        },
    }


def _jobset(run: ClusterRun, stage: str, name: str) -> dict[str, Any]:
    pod = stage_pod(run, stage, nodes=run.nodes, coordinator=f"{name}-{REPLICATED_JOB}-0-0.{name}")
    return {
        "apiVersion": JOBSET_API,
        "kind": "JobSet",
        "metadata": {"name": name, "namespace": run.team.namespace, "labels": _queued(run, stage)},
        "spec": {
            "suspend": True,  # Kueue starts it
            "ttlSecondsAfterFinished": _KEEP_SECONDS,
            "network": {"enableDNSHostnames": True, "publishNotReadyAddresses": True},
            "failurePolicy": failure.jobset_policy(),
            "replicatedJobs": [
                {
                    "name": REPLICATED_JOB,
                    "replicas": 1,
                    "template": {
                        "spec": {
                            "completionMode": "Indexed",
                            "completions": run.nodes,
                            "parallelism": run.nodes,
                            "activeDeadlineSeconds": _deadline(run, stage),
                            **failure.gang_policy(),
                            "template": {"metadata": {"labels": run.labels(stage)}, "spec": pod},
                        }
                    },
                }
            ],
        },
    }


def _queued(run: ClusterRun, stage: str) -> dict[str, str]:
    return {
        **run.labels(stage),
        QUEUE_LABEL: run.pool.queue,
        PRIORITY_LABEL: run.spec.resources.priority,
    }


def _deadline(run: ClusterRun, stage: str) -> int:
    hours = run.spec.resources.max_hours if stage == "train" else _STAGE_HOURS
    return max(60, int(hours * 3600))
