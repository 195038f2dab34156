"""Follows one object, and a run to its end, through lost connections and an API server that is away."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from workloads.engines import cluster_client as k8s
from workloads.engines.cluster_client import Cluster, Kind
from workloads.engines.cluster_errors import AwayError, RefusedError
from workloads.engines.cluster_state import fetch_small
from workloads.engines.remote import RemoteRun
from workloads.errors import ExitCode, InputError, Preempted, Problem, TuneryError, UnavailableError
from workloads.events import read_events
from workloads.storage.atomic import read_json
from workloads.storage.objects import open_store

_WATCH_SECONDS = 5
"""A watch ends by itself after this time: between two, the store is asked for news."""
_QUIET_SECONDS = 30.0
_PAUSE_SECONDS = 1.0
"""A server that breaks every watch off is not asked without end."""
_EXPIRED = 410
_KINDS = {ExitCode.INPUT: InputError, ExitCode.UNAVAILABLE: UnavailableError, ExitCode.PREEMPTED: Preempted}


def watch(cluster: Cluster, kind: Kind, namespace: str, name: str) -> Iterator[dict[str, Any] | None]:
    """An object whenever it changes, or when nothing happened for some seconds; None once it is gone, which is the end.

    A watch that breaks off is taken up again where it was; a position that the server has forgotten starts with the
    object as it is now.

    Raises:
        UnavailableError: the server is away for longer than the cluster's patience.
    """
    current: dict[str, Any] | None = None
    while True:
        if current is None:
            current = cluster.find(kind, namespace, name)
            yield current
            if current is None:
                return
        query = {
            "watch": "1",
            "fieldSelector": f"metadata.name={name}",
            "resourceVersion": current["metadata"]["resourceVersion"],
            "timeoutSeconds": _WATCH_SECONDS,
            "allowWatchBookmarks": "true",
        }
        version, seen = current["metadata"]["resourceVersion"], current
        try:
            for line in cluster.lines(kind.path(namespace), query, quiet_seconds=_QUIET_SECONDS):
                event = json.loads(line)
                if event["type"] == "ERROR":
                    current = None  # 410 Gone, most often: what happened since is not known any more
                    break
                if event["type"] == "DELETED":
                    yield None
                    return
                version = event["object"]["metadata"]["resourceVersion"]
                if event["type"] != "BOOKMARK":
                    seen = event["object"]
                    yield seen
        except (AwayError, ValueError):  # ValueError: a line that was cut off
            current = None
            cluster.sleep(_PAUSE_SECONDS)
        except RefusedError as answer:
            if answer.status != _EXPIRED:
                raise
            current = None
        if current is not None:
            current = {**seen, "metadata": {**seen["metadata"], "resourceVersion": version}}
            yield current


def follow(cluster: Cluster, run: RemoteRun, tell: Callable[[dict[str, Any]], None]) -> None:
    """Follows a run to its end.

    Args:
        tell: hears what the stages tell of themselves, as the local engine's watcher does, and
            ``{"event": "workflow", "phase": ..., "stage": ..., "note": ...}`` when a stage changes its phase.

    Raises:
        TuneryError: the run failed, as its stage explained it.
    """
    store = open_store(run.store)
    phases: dict[str, str] = {}
    failure: list[dict[str, Any]] = []
    code = ExitCode.INTERNAL
    offset, progress, last = 0, None, None
    with TemporaryDirectory(prefix="tunery-follow-") as name:
        folder = Path(name)
        for workflow in watch(cluster, k8s.WORKFLOW, run.namespace, run.id):
            if workflow is not None:
                last = workflow
                _tell_phases(workflow, phases, tell)
            fetch_small(store, run.id, folder)
            events, offset = read_events(folder / run.id / "events.jsonl", offset)
            for event in events:
                if event["event"] == "stage_failed":
                    failure, code = event.get("problems", []), event.get("exit_code", ExitCode.INTERNAL)
                tell(event)
            news = read_json(folder / run.id / "progress.json")
            if isinstance(news, dict) and news != progress:
                progress = news
                tell({"event": "progress", **news})
            if workflow is None or _phase(workflow) in ("Succeeded", "Failed", "Error"):
                break
    if last is None:
        raise InputError.of(f"There is no run {run.id} in {run.namespace}.", f"tunery list --on {run.environment}")
    if _phase(last) != "Succeeded":
        _fail(run, last, failure, code)


def _tell_phases(workflow: dict[str, Any], known: dict[str, str], tell: Callable[[dict[str, Any]], None]) -> None:
    for node in workflow.get("status", {}).get("nodes", {}).values():
        stage, phase = node.get("displayName", ""), node.get("phase", "")
        if node.get("type") in ("Pod", "Retry", "Suspend") and known.get(stage) != phase:
            known[stage] = phase
            tell({"event": "workflow", "stage": stage, "phase": phase, "note": node.get("message", "")})


def _phase(workflow: dict[str, Any]) -> str:
    return str(workflow.get("status", {}).get("phase", ""))


def _fail(run: RemoteRun, workflow: dict[str, Any], failure: list[dict[str, Any]], code: int) -> None:
    if workflow.get("spec", {}).get("shutdown"):
        raise Preempted.of(f"The run {run.id} was stopped.", f"go on with: tunery retry {run.id}")
    if not failure or _phase(workflow) == "":
        message = f"The run {run.id} ended as {_phase(workflow) or 'deleted'}: {_said(workflow)}."
        raise TuneryError(Problem(message, f"see `tunery status {run.id}` and `tunery logs {run.id}`", code="workflow"))
    error = _KINDS.get(ExitCode(code), TuneryError) if code in set(ExitCode) else TuneryError
    raise error([Problem(**each) for each in failure])


def _said(workflow: dict[str, Any]) -> str:
    """What Kubernetes says of the step that failed, which is more than it says of the workflow."""
    status = workflow.get("status", {})
    failed = [
        node
        for node in status.get("nodes", {}).values()
        if node.get("type") == "Pod" and node.get("phase") in ("Failed", "Error") and node.get("message")
    ]
    if not failed:
        return str(status.get("message") or "it says nothing")
    last = max(failed, key=lambda node: str(node.get("finishedAt", "")))  # those before it were tried again
    return f"{last.get('displayName')}: {last['message']}"
