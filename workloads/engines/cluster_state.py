"""Asks the cluster and the store where runs stand, many questions at a time."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workloads.engines import cluster_client as k8s
from workloads.engines.cluster_client import Cluster
from workloads.engines.cluster_errors import RefusedError
from workloads.engines.remote import RemoteRun
from workloads.engines.remote_sweep import fetch_sweep
from workloads.engines.run_status import Queue, RunStatus, read_status, seconds_of
from workloads.engines.sweep_status import slots
from workloads.errors import InputError
from workloads.explain.objects import condition, holds, part, rows
from workloads.platform import Platform
from workloads.report.source import mapping, text
from workloads.storage.objects import Store, open_store

SMALL = ("run.json", "events.jsonl", "progress.json")
"""What a status needs of a run directory."""

_PHASE_LABEL = "workflows.argoproj.io/phase"
_UID_LABEL = "kueue.x-k8s.io/job-uid"
_STATES = {"": "waiting", "Pending": "waiting", "Succeeded": "finished", "Failed": "failed", "Error": "failed"}
_GPU_STAGES = ("train", "evaluate")


@dataclass(frozen=True, slots=True)
class Listed:
    """A run in a list; ``created`` is ISO 8601 in UTC."""

    id: str
    team: str
    state: str
    created: str

    def as_dict(self) -> dict[str, str]:
        """For ``--json``."""
        return {"id": self.id, "team": self.team, "state": self.state, "created": self.created}


def runs(cluster: Cluster, platform: Platform, teams: list[str]) -> Iterator[Listed]:
    """The runs of teams that the cluster still has, newest first.

    Only metadata is asked for: Argo keeps the phase in a label, and a thousand whole workflows are megabytes.

    Raises:
        InputError: no team's runs may be read.
    """
    found: list[Listed] = []
    refused: list[RefusedError] = []
    for team in teams:
        try:
            for item in cluster.each(k8s.WORKFLOW, platform.teams[team].namespace, metadata_only=True):
                meta = item["metadata"]
                phase = meta.get("labels", {}).get(_PHASE_LABEL, "")
                state = _STATES.get(phase, "running")
                found.append(Listed(meta["name"], team, state, meta["creationTimestamp"]))
        except RefusedError as answer:
            if answer.status != 403:
                raise
            refused.append(answer)
    if refused and len(refused) == len(teams):
        raise refused[0]
    yield from sorted(found, key=lambda run: run.created, reverse=True)


def status(cluster: Cluster, run: RemoteRun) -> RunStatus:
    """Where a run stands now.

    Raises:
        InputError: neither the cluster nor the store knows it.
    """
    with tempfile.TemporaryDirectory(prefix="tunery-status-") as folder, ThreadPoolExecutor(4) as pool:
        fetched = pool.submit(_fetch, open_store(run.store), run.id, Path(folder))
        workflow = cluster.find(k8s.WORKFLOW, run.namespace, run.id)
        queue = _queue(cluster, run, workflow)
        queued = _queued_trials(cluster, run, workflow)
        if not fetched.result() and workflow is None:
            raise InputError.of(
                f"Neither {run.namespace} nor {run.store} knows a run {run.id}.",
                f"`tunery list --on {run.environment}` shows the runs",
            )
        directory = Path(folder) / run.id
        now = time.time()
        return read_status(directory, run.environment, now=now, workflow=workflow, queue=queue, queued=queued)


def _fetch(store: Store, run_id: str, folder: Path) -> bool:
    there = fetch_small(store, run_id, folder)
    fetch_sweep(store, folder / run_id)
    return there


def fetch_small(store: Store, run_id: str, folder: Path) -> bool:
    """Copies what a status needs of a run from its store; whether there was a run.json."""
    target = folder / run_id
    target.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(len(SMALL)) as pool:
        found = list(pool.map(lambda name: store.read(f"{run_id}/{name}"), SMALL))
    for name, content in zip(SMALL, found, strict=True):
        if content is not None:
            (target / name).write_bytes(content)
    return found[0] is not None


def _queue(cluster: Cluster, run: RemoteRun, workflow: dict[str, Any] | None) -> Queue | None:
    """What Kueue says of the Job or JobSet that works or waits now."""
    nodes = mapping(mapping(mapping(workflow).get("status")).get("nodes")).values()
    stage = next((each for each in _GPU_STAGES if any(_runs(node, each) for node in nodes)), None)
    if stage is None:
        return None
    name = f"{run.id}-{stage[0]}"
    try:
        job = cluster.find(k8s.JOBSET, run.namespace, name) or cluster.find(k8s.JOB, run.namespace, name)
        if job is None:
            return Queue(admitted=False, note="its Job is being created")
        workloads = list(cluster.each(k8s.WORKLOAD, run.namespace, f"{_UID_LABEL}={job['metadata']['uid']}"))
    except RefusedError as answer:
        if answer.status not in (403, 404):
            raise
        return None
    if not workloads:
        return Queue(admitted=False, note="not seen by the queue yet")
    conditions = {each["type"]: each for each in workloads[0].get("status", {}).get("conditions", [])}
    if mapping(conditions.get("Admitted")).get("status") == "True":
        return Queue(admitted=True, note=_since(conditions["Admitted"]))
    reserved = mapping(conditions.get("QuotaReserved"))
    return Queue(admitted=False, note=text(reserved.get("message")) or "waits in the queue")


def _queued_trials(cluster: Cluster, run: RemoteRun, workflow: dict[str, Any] | None) -> dict[str, str]:
    """Of a sweep, the Jobs of trials that wait for quota, and what Kueue says of each."""
    working = {each.job(run.id) for each in slots(workflow) if each.node.get("phase") in ("Pending", "Running")}
    if not working:
        return {}
    found: dict[str, str] = {}
    try:
        for workload in cluster.each(k8s.WORKLOAD, run.namespace):
            owners = {text(each.get("name")) for each in rows(part(workload, "metadata", "ownerReferences"))}
            if not holds(workload, "Admitted"):
                said = text(condition(workload, "QuotaReserved").get("message")) or "waits in the queue"
                found |= dict.fromkeys(owners & working, said)
    except RefusedError as answer:
        if answer.status not in (403, 404):
            raise
    return found


def _since(condition: dict[str, Any]) -> str:
    began = seconds_of(condition.get("lastTransitionTime"))
    waited = "" if began is None else f" for {max(0.0, time.time() - began):.0f} s"
    return f"admitted{waited}; waits for a node, its image or its inputs"


def _runs(node: Any, stage: str) -> bool:
    return isinstance(node, dict) and node.get("displayName") == stage and node.get("phase") == "Running"
