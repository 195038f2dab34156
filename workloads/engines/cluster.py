"""Runs on an environment: sent, stopped, started again and approved. Kubernetes does the work.

Everything here may be done twice, by two people at once, and after a connection was lost in the middle: names decide,
the second submission finds the first, and deletions name the object's uid.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from workloads import images
from workloads.engines import cluster_client as k8s
from workloads.engines import cluster_estimate
from workloads.engines.cluster_client import SENT, Cluster, Kind
from workloads.engines.cluster_errors import RefusedError
from workloads.engines.remote import RemoteRun, choose_team
from workloads.engines.sweep_budget import trial_hours
from workloads.errors import InputError, Problem, UnavailableError
from workloads.platform import Platform
from workloads.render.pipeline import objects
from workloads.render.run import ClusterRun
from workloads.render.workflow import APPROVAL
from workloads.run_record import RunRecord

_GONE_SECONDS = 180.0
_CONFLICT = 409
_SELF = "/apis/authentication.k8s.io/v1/selfsubjectreviews"


class Sent(StrEnum):
    """What a submission came to."""

    STARTED = "started"
    ATTACHED = "attached"
    """The run was there already."""
    SCHEDULED = "scheduled"


@dataclass(frozen=True, slots=True)
class Submission:
    """A run that is on the cluster; ``workflow`` is the object that stands for it."""

    sent: Sent
    workflow: dict[str, Any]


def cluster_run(record: RunRecord, platform: Platform) -> ClusterRun:
    """A run as it will be sent, everything checked that needs no cluster.

    Raises:
        InputError: with every reason why it cannot run on the environment.
    """
    from workloads.run_spec import RunSpec

    spec = RunSpec.model_validate(record.spec)
    team = choose_team(platform, spec.team)
    problems: list[Problem] = []
    references: dict[str, str] = {}
    try:
        references = images.references(platform)
    except InputError as error:
        problems += error.problems
    run = ClusterRun(
        record.id,
        spec,
        team,
        platform,
        references,
        cluster_estimate.base_gb(record.base),
        data_gb=sum(each.size for each in record.remote_datasets) / 1e9,
    )
    shape = cluster_estimate.model_config(record.base)
    problems += cluster_estimate.problems(run, record.training_config, shape)
    if problems:
        raise InputError(problems)
    return replace(run, trial_hours=trial_hours(run))


def remote(run: ClusterRun, context: str | None = None) -> RemoteRun:
    """What to remember of a run that is sent."""
    store = run.platform.store(run.team_name)
    return RemoteRun(run.id, run.platform.environment, run.team_name, run.team.namespace, store, context)


def submit(cluster: Cluster, run: ClusterRun, upload: Callable[[], object]) -> Submission:
    """Sends a run, or finds that it is there.

    Args:
        upload: puts the run's inputs into the store; it may be called although they are there.
    """
    there = cluster.find(k8s.WORKFLOW, run.team.namespace, run.id)
    if there is not None:
        return Submission(Sent.ATTACHED, there)
    upload()
    *before, starter = objects(run)
    for manifest in before:
        cluster.apply(SENT[manifest["kind"]], manifest)
    if run.spec.schedule is not None:
        return Submission(Sent.SCHEDULED, cluster.apply(k8s.CRON, starter))
    return _start(cluster, starter)


def _start(cluster: Cluster, workflow: dict[str, Any]) -> Submission:
    meta = workflow["metadata"]
    try:
        created = cluster.create(k8s.WORKFLOW, workflow)
    except RefusedError as answer:
        if answer.status != _CONFLICT:
            raise
        there = cluster.find(k8s.WORKFLOW, meta["namespace"], meta["name"])
        return Submission(Sent.ATTACHED, there or workflow)
    return Submission(Sent.STARTED, created)


def cancel(cluster: Cluster, run: RemoteRun) -> str:
    """Stops a run, or removes a schedule; what is trained is saved within the pods' grace.

    Returns:
        What was done, in a sentence.

    Raises:
        InputError: there is no such run, or it has ended.
    """
    workflow = cluster.find(k8s.WORKFLOW, run.namespace, run.id)
    if workflow is None:
        return _unschedule(cluster, run)
    phase = workflow.get("status", {}).get("phase", "")
    if phase in ("Succeeded", "Failed", "Error"):
        raise InputError.of(f"The run {run.id} has ended: {phase}.", f"see it with: tunery status {run.id}")
    # First the workflow, or it would see its Job vanish and call that a failure.
    cluster.merge(k8s.WORKFLOW, run.namespace, run.id, {"spec": {"shutdown": "Terminate"}})
    _remove(cluster, run, wait=False)
    return f"{run.id} is being stopped; `tunery retry {run.id}` goes on from its last checkpoint."


def _unschedule(cluster: Cluster, run: RemoteRun) -> str:
    label = f"{run.platform.labels.run}={run.id}"
    schedules = list(cluster.each(k8s.CRON, run.namespace, label))
    if not schedules:
        raise _no_run(run)
    for each in schedules:
        meta = each["metadata"]
        cluster.delete(k8s.CRON, run.namespace, meta["name"], uid=meta["uid"], orphan=True)
    return f"The schedule of {run.id} is removed; a firing that runs goes on to its end."


def retry(cluster: Cluster, run: RemoteRun, *, clock: Callable[[], float] = time.monotonic) -> Submission:
    """Starts a failed or stopped run again; its finished stages are found done in the store.

    Raises:
        InputError: there is no such run, or it does not need it.
        UnavailableError: what is left of the first try does not go away.
    """
    workflow = cluster.find(k8s.WORKFLOW, run.namespace, run.id)
    if workflow is None:
        raise _no_run(run)
    phase = workflow.get("status", {}).get("phase", "")
    if phase not in ("Failed", "Error"):
        raise InputError.of(
            f"The run {run.id} has {'succeeded' if phase == 'Succeeded' else 'not ended'}.",
            f"only a run that failed or was stopped is tried again; see `tunery status {run.id}`",
        )
    _remove(cluster, run, wait=True, clock=clock)
    meta, spec = workflow["metadata"], workflow["spec"]
    cluster.delete(k8s.WORKFLOW, run.namespace, run.id, uid=meta["uid"])
    _until_gone(cluster, [(k8s.WORKFLOW, run.id, meta["uid"])], run, clock)
    labels = {key: value for key, value in meta.get("labels", {}).items() if "argoproj.io" not in key}
    return _start(
        cluster,
        {
            "apiVersion": k8s.WORKFLOW.api,
            "kind": "Workflow",
            "metadata": {"name": run.id, "namespace": run.namespace, "labels": labels},
            "spec": {key: value for key, value in spec.items() if key != "shutdown"},
        },
    )


def approve(cluster: Cluster, run: RemoteRun, *, now: datetime | None = None) -> str:
    """Lets a run that waits for approval go on, and writes down who did it.

    Returns:
        The name of who approved, as the cluster knows them.

    Raises:
        InputError: the run waits for nobody.
    """
    who = str(
        cluster.ask(_SELF, {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"})
        .get("userInfo", {})
        .get("username", "unknown")
    )
    stamp = (now or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%SZ")
    for _ in range(10):  # the controller writes the same object: of two at once, the second reads anew
        workflow = cluster.find(k8s.WORKFLOW, run.namespace, run.id)
        if workflow is None:
            raise _no_run(run)
        nodes = workflow.get("status", {}).get("nodes", {})
        waiting = [name for name, node in nodes.items() if _waits(node)]
        if not waiting:
            raise InputError.of(f"The run {run.id} waits for no approval.", f"see: tunery status {run.id}")
        done = {"phase": "Succeeded", "finishedAt": stamp, "message": f"approved by {who}"}
        change = {
            "metadata": {"resourceVersion": workflow["metadata"]["resourceVersion"]},
            "status": {"nodes": dict.fromkeys(waiting, done)},
        }
        try:
            cluster.merge(k8s.WORKFLOW, run.namespace, run.id, change)
        except RefusedError as answer:
            if answer.status != _CONFLICT:
                raise
            continue
        return who
    raise UnavailableError.of(f"The run {run.id} changes all the time.", "try again")


def _waits(node: dict[str, Any]) -> bool:
    return node.get("type") == "Suspend" and node.get("phase") == "Running" and node.get("templateName") == APPROVAL


def _remove(cluster: Cluster, run: RemoteRun, *, wait: bool, clock: Callable[[], float] = time.monotonic) -> None:
    """Deletes the run's Jobs and JobSets: Argo would not make one while another of its name is there."""
    label = f"{run.platform.labels.run}={run.id}"
    gone: list[tuple[Kind, str, str]] = []
    for kind in (k8s.JOBSET, k8s.JOB):
        try:
            found = list(cluster.each(kind, run.namespace, label, metadata_only=True))
        except RefusedError as answer:
            if answer.status == 404 and kind is k8s.JOBSET:  # a cluster without JobSet has none to delete
                continue
            raise
        for each in found:
            meta = each["metadata"]
            cluster.delete(kind, run.namespace, meta["name"], uid=meta["uid"])
            gone.append((kind, meta["name"], meta["uid"]))
    if wait:
        _until_gone(cluster, gone, run, clock)


def _until_gone(
    cluster: Cluster, gone: list[tuple[Kind, str, str]], run: RemoteRun, clock: Callable[[], float]
) -> None:
    end = clock() + _GONE_SECONDS
    for kind, name, uid in gone:
        while (found := cluster.find(kind, run.namespace, name)) is not None and found["metadata"]["uid"] == uid:
            if clock() > end:
                raise UnavailableError.of(
                    f"{kind.plural[:-1]} {name} of the first try is still there after {_GONE_SECONDS:.0f} s.",
                    "try again later; a pod on a lost node stays until its node is gone",
                )
            cluster.sleep(0.5)


def _no_run(run: RemoteRun) -> InputError:
    return InputError.of(
        f"There is no run {run.id} in {run.namespace}.",
        f"`tunery list --on {run.environment}` shows the runs; they leave the cluster a week after their end, and "
        f"`tunery run SPEC --on {run.environment}` sends one again, which goes on from what it has",
    )
