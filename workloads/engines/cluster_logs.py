"""What the pods of a run print."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from workloads.engines import cluster_client as k8s
from workloads.engines.cluster_client import Cluster
from workloads.engines.cluster_errors import AwayError, RefusedError
from workloads.engines.remote import RemoteRun
from workloads.errors import InputError
from workloads.render.failure import CONTAINER
from workloads.render.steps import STEPS

_QUIET_SECONDS = 600.0
"""A training may print nothing for minutes."""
_PAUSE_SECONDS = 1.0
_REMEMBERED = 2000
"""Lines; more than a pod prints in a second."""
_ARGO = re.compile(r"time=\S+ level=\w+ .*\bargo=true\b")
"""What Argo's own process says in the container that it starts a stage in."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a pod's output; ``pod`` is its stage, with its rank where several work together."""

    pod: str
    text: str


def lines(cluster: Cluster, run: RemoteRun, stage: str | None, *, follow: bool) -> Iterator[Line]:
    """What pods printed, the oldest pod first; with ``follow`` also what they print from now on.

    Raises:
        InputError: nothing was printed, and nothing is to be waited for.
    """
    shown: set[str] = set()
    while True:
        for pod in _pods(cluster, run, stage):
            name = pod["metadata"]["name"]
            if name not in shown and _has_output(pod):
                shown.add(name)
                yield from _of_pod(cluster, run, pod, follow=follow)
        if not follow or _ended(cluster, run):
            break
        cluster.sleep(_PAUSE_SECONDS)
    if not shown:
        what = f"The stage {stage} of {run.id}" if stage else f"The run {run.id}"
        raise InputError.of(
            f"{what} has printed nothing yet, or its pods are gone.",
            f"`tunery status {run.id}` shows what it waits for; on Google Cloud, Cloud Logging keeps what pods printed",
        )


def _pods(cluster: Cluster, run: RemoteRun, stage: str | None) -> list[dict[str, Any]]:
    keys = run.platform.labels
    labels = f"{keys.run}={run.id}" + (f",{keys.stage}={stage}" if stage else "")
    # The pods with which Argo waits for a Job carry the labels too, and print nothing for a person.
    found = [pod for pod in cluster.each(k8s.POD, run.namespace, labels) if not _waits_for_a_job(run, pod)]
    return sorted(found, key=lambda pod: (pod["metadata"]["creationTimestamp"], pod["metadata"]["name"]))


def _waits_for_a_job(run: RemoteRun, pod: dict[str, Any]) -> bool:
    stage = STEPS.get(str(pod["metadata"].get("labels", {}).get(run.platform.labels.stage)))
    owners = {owner.get("kind") for owner in pod["metadata"].get("ownerReferences", [])}
    return stage is not None and stage.device == "gpu" and "Workflow" in owners


def _has_output(pod: dict[str, Any]) -> bool:
    states = [each for each in pod.get("status", {}).get("containerStatuses", []) if each.get("name") == CONTAINER]
    return any("waiting" not in each.get("state", {}) for each in states)


def _of_pod(cluster: Cluster, run: RemoteRun, pod: dict[str, Any], *, follow: bool) -> Iterator[Line]:
    meta = pod["metadata"]
    labels = meta.get("labels", {})
    rank = labels.get("batch.kubernetes.io/job-completion-index")
    label = str(labels.get(run.platform.labels.stage, meta["name"])) + (f"-{rank}" if rank else "")
    path = f"{k8s.POD.path(run.namespace, meta['name'])}/log"
    # Each line comes with its time, so that a connection that broke off can go on where it was: the server begins
    # again with the second of the last line, and what was seen of it is passed over.
    query = {"container": CONTAINER, "timestamps": "true", "follow": str(follow).lower()}
    recent: deque[bytes] = deque(maxlen=_REMEMBERED)
    while True:
        seen = frozenset(recent)
        try:
            for raw in cluster.lines(path, query, quiet_seconds=_QUIET_SECONDS):
                stamp, _, text = raw.decode(errors="replace").partition(" ")
                query["sinceTime"] = stamp
                recent.append(raw)
                if raw not in seen and not _ARGO.match(text):
                    yield Line(label, text)
        except RefusedError as answer:
            if answer.status in (400, 404):  # not started, or gone since it was listed
                return
            raise
        except AwayError:
            if not follow:
                raise
            cluster.sleep(_PAUSE_SECONDS)
            continue
        return


def _ended(cluster: Cluster, run: RemoteRun) -> bool:
    workflow = cluster.find(k8s.WORKFLOW, run.namespace, run.id)
    return workflow is None or workflow.get("status", {}).get("phase") in ("Succeeded", "Failed", "Error")
