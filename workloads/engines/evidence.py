"""Reads everything that may say why a run stands where it stands. What cannot be read is named, and stops nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from workloads.engines import cluster_client as k8s
from workloads.engines.cluster_client import Cluster, Kind
from workloads.engines.cluster_errors import AwayError, RefusedError
from workloads.engines.cluster_state import fetch_small
from workloads.engines.local import state
from workloads.engines.remote import RemoteRun
from workloads.engines.remote_sweep import fetch_sweep, read_now
from workloads.engines.sweep_status import Slot, about_sweep, slot_of
from workloads.errors import InputError, TuneryError
from workloads.events import read_events
from workloads.explain.evidence import Evidence
from workloads.explain.objects import Object, name_of, owner, part, rows, table, text
from workloads.platform import Platform
from workloads.render.failure import CONTAINER
from workloads.render.steps import STEPS
from workloads.render.training import QUEUE_LABEL
from workloads.runtime import RunPaths, cache_dir
from workloads.storage.atomic import read_json
from workloads.storage.objects import open_store

EVENT = Kind("v1", "events")
NODE = Kind("v1", "nodes", namespaced=False)

_HISTORY = 400
"""Events; a training logs a few hundred in the time that matters."""
_LOG_LINES = 200
_LOG_BYTES = 1 << 16
_WORKERS = 8
_UID_LABEL = "kueue.x-k8s.io/job-uid"
_JOBSET_LABEL = "jobset.sigs.k8s.io/jobset-name"
_MEMORY = ("out of memory", "OutOfMemory", "memory was too small", "OOMKilled")
_GB = 1e9
_T = TypeVar("_T")


class _Reader:
    """Asks the cluster, and remembers what it may not read."""

    def __init__(self, cluster: Cluster, run: RemoteRun) -> None:
        self._cluster, self._run = cluster, run
        self.hidden: list[str] = []

    def one(self, kind: Kind, name: str) -> Object | None:
        """An object, or None when it is not there, may not be read, or has no name."""
        if not name:
            return None
        return self._asked(kind.plural, lambda: self._cluster.find(kind, self._run.namespace, name), None)

    def every(self, kind: Kind, labels: str | None = None) -> tuple[Object, ...]:
        """The objects of the team's namespace."""
        return self._asked(kind.plural, lambda: tuple(self._cluster.each(kind, self._run.namespace, labels)), ())

    def log(self, pod: Object) -> tuple[str, ...]:
        """The last lines that a pod printed."""
        path = f"{k8s.POD.path(self._run.namespace, name_of(pod))}/log"
        query = {"container": CONTAINER, "tailLines": _LOG_LINES}

        def read() -> tuple[str, ...]:
            try:
                lines = self._cluster.lines(path, query, quiet_seconds=20.0)
                return tuple(line.decode(errors="replace") for line in lines)
            except RefusedError as answer:
                if answer.status == 400:  # its container has not started
                    return ()
                raise

        return self._asked("logs", read, ())

    def _asked(self, what: str, ask: Callable[[], _T], otherwise: _T) -> _T:
        try:
            return ask()
        except RefusedError as answer:
            if answer.status == 404:
                return otherwise
            self.hidden.append(f"{what}: {answer.problems[0].message}")
        except AwayError as error:
            self.hidden.append(f"{what}: {error.problems[0].message}")
        return otherwise


def collect(cluster: Cluster, run: RemoteRun, *, clock: Callable[[], float] = time.time) -> Evidence:
    """The evidence about a run on an environment.

    Raises:
        InputError: neither the cluster nor the store knows it, or the login has expired.
        UnavailableError: the cluster cannot be reached.
    """
    platform = run.platform
    workflow = cluster.find(k8s.WORKFLOW, run.namespace, run.id)  # the one thing that must be readable
    stage_label = platform.labels.stage
    begun = Evidence(run.id, run.environment, clock(), workflow=workflow)
    stage, slot = begun.stage, slot_of(begun.step)
    reader = _Reader(cluster, run)
    ours = f"{platform.labels.run}={run.id}"
    with ThreadPoolExecutor(_WORKERS) as pool, TemporaryDirectory(prefix="tunery-why-") as name:
        stored = pool.submit(_stored, run, Path(name), reader.hidden)
        pods = pool.submit(reader.every, k8s.POD, ours)
        events = pool.submit(reader.every, EVENT)
        job = pool.submit(_job, reader, run, stage, slot)
        workloads = pool.submit(reader.every, k8s.WORKLOAD)
        folder = stored.result()
        if folder is None and workflow is None:
            raise InputError.of(
                f"Neither {run.namespace} nor {run.store} knows a run {run.id}.",
                f"`tunery list --on {run.environment}` shows the runs",
            )
        working = tuple(sorted((pod for pod in pods.result() if _works(pod, job.result())), key=_age))
        if slot is not None and job.result() is not None:  # the pods of other trials say nothing of this one
            working = tuple(pod for pod in working if owner(pod) == part(job.result(), "metadata", "uid"))
        named = sorted({text(part(pod, "spec", "nodeName")) for pod in working} - {""})
        nodes = [node for node in pool.map(lambda each: reader.one(NODE, each), named) if node is not None]
        queue = text(part(job.result(), "metadata", "labels", QUEUE_LABEL))
        local_queue = pool.submit(reader.one, k8s.LOCAL_QUEUE, queue)
        cluster_queue = pool.submit(reader.one, k8s.CLUSTER_QUEUE, _quota(platform, run.team, queue))
        mine = next((each for each in workloads.result() if _is_of(each, job.result())), None)
        seen = Evidence(
            run=run.id,
            environment=run.environment,
            now=clock(),
            team=run.team,
            namespace=run.namespace,
            workflow=workflow,
            job=job.result(),
            jobs=_children(reader, job.result()),
            workload=mine,
            workloads=tuple(each for each in workloads.result() if part(each, "spec", "queueName") == queue),
            local_queue=local_queue.result(),
            cluster_queue=cluster_queue.result(),
            pods=working,
            events=tuple(each for each in events.result() if _is_about(each, run.id, mine)),
            nodes=tuple(nodes),
            history=_history(folder, slot),
            progress=table(read_json(folder / "progress.json")) if folder else {},
            stage_label=stage_label,
            sweep=about_sweep(folder, run.id, workflow, slot) if folder else "",
        )
        log = tuple(line for pod in seen.newest_pods for line in reader.log(pod))
        record = table(read_json(folder / "run.json")) if folder else {}
    advice = _advice(record, platform) if _memory_ran_out(seen, log) else ()
    return _with(seen, log=log, advice=advice, hidden=tuple(dict.fromkeys(reader.hidden)))


def collect_local(paths: RunPaths, *, clock: Callable[[], float] = time.time) -> Evidence:
    """The evidence about a run on this machine."""
    history = _history(paths.root)
    log = _tail(paths.log)
    seen = Evidence(
        run=paths.root.name,
        environment="this machine",
        now=clock(),
        history=history,
        progress=table(read_json(paths.progress)),
        log=log,
        local_state=state(paths),
        sweep=about_sweep(paths.root, paths.root.name),
    )
    return _with(seen, advice=_advice(table(read_json(paths.record)), None)) if _memory_ran_out(seen, log) else seen


def _with(evidence: Evidence, **changes: Any) -> Evidence:
    from dataclasses import replace

    return replace(evidence, **changes)


def _stored(run: RemoteRun, folder: Path, hidden: list[str]) -> Path | None:
    try:
        store = open_store(run.store)
        found = fetch_small(store, run.id, folder)
        fetch_sweep(store, folder / run.id)
    except TuneryError as error:
        hidden.append(f"the store: {error.problems[0].message}")
        return None
    return folder / run.id if found else None


def _history(folder: Path | None, slot: Slot | None = None) -> tuple[Object, ...]:
    """The last events of a run, and of the trial that a slot of its sweep works on."""
    if folder is None:
        return ()
    found = read_events(folder / "events.jsonl")[0]
    trials = read_now(folder) if slot is not None else None
    number = trials.trial_in(slot.rung, slot.slot) if trials is not None and slot is not None else None
    if number is not None:
        found += read_events(RunPaths(folder).trial(number) / "events.jsonl")[0]
    return tuple(found[-_HISTORY:])


def _tail(path: Path) -> tuple[str, ...]:
    try:
        with path.open("rb") as stream:
            stream.seek(max(0, path.stat().st_size - _LOG_BYTES))
            return tuple(stream.read().decode(errors="replace").splitlines()[-_LOG_LINES:])
    except OSError:
        return ()


def _quota(platform: Platform, team: str, queue: str) -> str:
    """The ClusterQueue behind a LocalQueue, by the contract; empty for a queue that is none of the platform's."""
    quotas = platform.teams[team].cluster_queues
    return next((quotas[name] for name, pool in platform.pools.items() if pool.queue == queue), "")


def _job(reader: _Reader, run: RemoteRun, stage: str, slot: Slot | None) -> Object | None:
    """The JobSet or Job of a stage that Kueue queues."""
    if stage not in STEPS or STEPS[stage].device != "gpu":
        return None
    name = f"{run.id}-{stage[0]}" if slot is None else slot.job(run.id)
    return reader.one(k8s.JOBSET, name) or reader.one(k8s.JOB, name)


def _children(reader: _Reader, job: Object | None) -> tuple[Object, ...]:
    if job is None or not text(job.get("apiVersion")).startswith("jobset"):
        return ()
    return reader.every(k8s.JOB, f"{_JOBSET_LABEL}={name_of(job)}")


def _works(pod: Object, job: Object | None) -> bool:
    """Whether a pod is one of a stage's own.

    Of a stage with a Job Argo has a pod too, which makes the Job and waits for it. It counts only while it has not
    begun: then it is what everything waits for.
    """
    owners = {text(each.get("kind")) for each in rows(part(pod, "metadata", "ownerReferences"))}
    stages = [value for key, value in table(part(pod, "metadata", "labels")).items() if key.endswith("/stage")]
    if "Workflow" not in owners or not any(STEPS[each].device == "gpu" for each in stages if each in STEPS):
        return True
    return job is None and part(pod, "status", "phase") == "Pending"


def _age(pod: Object) -> tuple[str, str]:
    return text(part(pod, "metadata", "creationTimestamp")), name_of(pod)


def _is_of(workload: Object, job: Object | None) -> bool:
    uid = part(job, "metadata", "uid")
    return uid is not None and (
        part(workload, "metadata", "labels", _UID_LABEL) == uid
        or any(each.get("uid") == uid for each in rows(part(workload, "metadata", "ownerReferences")))
    )


def _is_about(event: Object, run_id: str, workload: Object | None) -> bool:
    name = text(part(event, "involvedObject", "name"))
    return name == run_id or name.startswith(f"{run_id}-") or (workload is not None and name == name_of(workload))


def _memory_ran_out(evidence: Evidence, log: Iterable[str]) -> bool:
    said = [text(each.get("message")) for each in evidence.problems]
    ends = [json.dumps(part(pod, "status", "containerStatuses")) for pod in evidence.newest_pods]
    return any(mark in line for line in (*said, *ends, *log) for mark in _MEMORY)


def _advice(record: Object, platform: Platform | None) -> tuple[str, ...]:
    """What the estimate says of a run's memory, and three changes that need less."""
    from workloads.training_config.memory_estimate import estimate
    from workloads.training_config.memory_options import changes

    config, base = table(record.get("training_config")), table(record.get("base"))
    resources = table(table(record.get("spec")).get("resources"))
    shape = _model_config(base, platform)
    if not shape:
        return ()
    count, nodes = resources.get("count"), resources.get("nodes")
    devices = count * nodes if isinstance(count, int) and isinstance(nodes, int) and platform else 1
    try:
        needs = estimate(config, shape, devices=devices).total
        lighter = changes(config, shape)[:3]
    except TuneryError as error:
        return (f"no estimate: {error.problems[0].message}",)
    return (
        f"estimate: {needs / _GB:.1f} GB on each accelerator",
        *(f"change: {each.overrides} saves {each.saves / _GB:.1f} GB ({each.note})" for each in lighter),
    )


def _model_config(base: Object, platform: Platform | None) -> Object:
    revision = text(base.get("revision"))
    if platform is not None:
        try:
            content = open_store(platform.models_store).read(f"{revision}/config.json")
            return table(json.loads(content)) if content else {}
        except (TuneryError, ValueError):
            return {}
    folders = [Path(text(base.get("folder")))] if base.get("folder") else []
    found = (read_json(each / "config.json") for each in (*folders, cache_dir() / "models" / revision))
    return next((table(each) for each in found if each), {})
