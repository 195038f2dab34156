"""Finds what is left of runs and removes it: on this machine, or in a team's store and namespace."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from workloads.engines import cluster_client as k8s
from workloads.engines.cluster_client import Cluster, Kind
from workloads.engines.janitor import Leftover, OldObject, StoredRun, active_runs, leftovers, old_objects
from workloads.engines.local import state
from workloads.engines.stored_runs import RECORD, by_run
from workloads.explain.objects import table
from workloads.platform import Platform
from workloads.runtime import RunPaths
from workloads.storage.object_directory import DirectoryStore
from workloads.storage.objects import Store, StoredObject, open_store
from workloads.storage.transfer import is_whole

_WORKERS = 16
_KINDS = {"Workflow": k8s.WORKFLOW, "WorkflowTemplate": k8s.TEMPLATE}


@dataclass(frozen=True, slots=True)
class Found:
    """What may go.

    Attributes:
        hold: while it is entered nothing begins to work on the run; gives False when something does already.
    """

    store: Store
    leftovers: tuple[Leftover, ...]
    objects: tuple[OldObject, ...]
    hold: Callable[[str], AbstractContextManager[bool]]


def on_this_machine(runs: Path, *, now: float, older_than: float) -> Found:
    """What is left in the runs folder."""

    def is_active(run: str) -> bool:
        paths = RunPaths(runs / run)
        return paths.record.is_file() and state(paths) == "running"

    @contextmanager
    def hold(run: str) -> Iterator[bool]:
        from filelock import FileLock, Timeout

        try:
            with FileLock(RunPaths(runs / run).lock, timeout=0):
                yield True
        except Timeout:
            yield False

    store = DirectoryStore(runs)
    return Found(store, tuple(_left(store, is_active, now, older_than)), (), hold)


def on_environment(cluster: Cluster, platform: Platform, team: str, *, now: float, older_than: float) -> Found:
    """What is left of a team's runs.

    Raises:
        InputError: the cluster does not say what is active, without which nothing may be removed.
        UnavailableError: it cannot be reached.
    """
    namespace, label = platform.teams[team].namespace, platform.labels.run

    def read(kind: Kind) -> list[dict[str, Any]]:
        return list(cluster.each(kind, namespace, label, metadata_only=True))

    workflows, schedules, templates = read(k8s.WORKFLOW), read(k8s.CRON), read(k8s.TEMPLATE)
    active = active_runs(workflows, schedules, run_label=label)
    store = open_store(platform.store(team))

    @contextmanager
    def hold(run: str) -> Iterator[bool]:
        # Nothing locks a run on a cluster: this makes the time between a look and the deletion short.
        yield run not in active_runs(read(k8s.WORKFLOW), read(k8s.CRON), run_label=label)

    old = old_objects(workflows, templates, schedules, run_label=label, now=now, older_than=older_than)
    return Found(store, tuple(_left(store, active.__contains__, now, older_than)), tuple(old), hold)


def remove(found: Found) -> tuple[list[Leftover], int]:
    """Removes what is left of runs; what was removed, and how many objects.

    A run that has become active meanwhile is left as it is.
    """
    removed: list[Leftover] = []
    count = 0
    for run, mine in groupby(found.leftovers, key=lambda each: each.run):
        with found.hold(run) as free:
            for each in mine if free else ():
                count += found.store.delete(each.path)
                removed.append(each)
    return removed, count


def remove_objects(cluster: Cluster, namespace: str, objects: Sequence[OldObject]) -> None:
    """Removes Kubernetes objects, unless another has taken the place of one."""
    for each in objects:
        cluster.delete(_KINDS[each.kind], namespace, each.name, uid=each.uid)


def _left(store: Store, is_active: Callable[[str], bool], now: float, older_than: float) -> list[Leftover]:
    runs = by_run(store)
    with ThreadPoolExecutor(_WORKERS) as pool:
        known = list(pool.map(lambda run: _read(store, run, runs[run], is_active), sorted(runs)))
    return leftovers(known, now=now, older_than=older_than)


def _read(store: Store, run: str, objects: Iterable[StoredObject], is_active: Callable[[str], bool]) -> StoredRun:
    there = tuple(objects)
    keys = {each.key for each in there}
    active = is_active(run)
    if active or RECORD not in keys:
        return StoredRun(run, there, active, {})
    try:
        record = table(json.loads(store.read(f"{run}/{RECORD}") or b"{}"))
    except ValueError:
        record = {}  # nothing is known of the run, so it is left alone
    trained = "stages/train.json" in keys and is_whole(store, f"{run}/trained")
    return StoredRun(run, there, active=not record, record=record, trained=trained)
