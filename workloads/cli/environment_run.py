"""``tunery run --on ENV``: what the verb does when the run is for an environment."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workloads.cli.cluster_verbs import FOLLOW_SECONDS, PATIENCE_SECONDS
from workloads.cli.output import console, print_json, show_warnings
from workloads.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workloads.engines.cluster import Submission
    from workloads.engines.cluster_client import Cluster
    from workloads.engines.remote import RemoteRun
    from workloads.platform import Platform
    from workloads.render.run import ClusterRun
    from workloads.run_record import RunRecord


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line says about the environment."""

    environment: str
    context: str | None
    follow: bool
    wait: bool


def planned(spec: Path, overrides: Sequence[str], environment: str) -> tuple[RunRecord, ClusterRun]:
    """A spec as a run on an environment, checked as far as can be done here."""
    from workloads import platform
    from workloads.engines.cluster import cluster_run
    from workloads.engines.create import plan
    from workloads.hub import use_hub_of
    from workloads.run_spec_loader import load_run_spec

    found = platform.load(environment)
    use_hub_of(found)
    resolved = load_run_spec(spec, overrides)
    record = plan(resolved)
    return record, cluster_run(record, found)


def show_objects(run: ClusterRun, *, as_json: bool) -> None:
    """Prints exactly what would be sent, as YAML documents or a JSON list."""
    from workloads.render.pipeline import objects
    from workloads.render.text import to_documents

    manifests = objects(run)
    if as_json:
        print_json(manifests)
    else:
        print(to_documents(manifests), end="")  # noqa: T201 other programs read it


def send(record: RunRecord, run: ClusterRun, asked: Asked, *, as_json: bool) -> None:
    """Sends a run and tells what came of it; with ``follow`` or ``wait`` only after its end."""
    cluster = open_environment(run.platform, asked.context)
    remote, submission = transmit(cluster, record, run, asked.context, quiet=as_json)
    if not as_json:
        _show(remote, submission)
    if (asked.follow or asked.wait) and run.spec.schedule is None:
        cluster.patience = FOLLOW_SECONDS
        watch(cluster, remote, quiet=as_json or not asked.follow)
    if as_json:
        print_json(answer(remote, submission))


def open_environment(platform: Platform, context: str | None) -> Cluster:
    """The cluster of an environment, patient as a person is who sends a run."""
    from workloads.engines.cluster_login import open_cluster

    return open_cluster(platform, context, patience=PATIENCE_SECONDS)


def transmit(
    cluster: Cluster, record: RunRecord, run: ClusterRun, context: str | None, *, quiet: bool
) -> tuple[RemoteRun, Submission]:
    """Checks a run against the cluster and the month's budget, uploads its inputs and sends it."""
    from workloads.engines import cluster as engine

    remote = engine.remote(run, context)
    _check(cluster, run, quiet=quiet)
    submission = engine.submit(cluster, run, lambda: upload(record, remote.store))
    remote.remember()
    return remote, submission


def answer(remote: RemoteRun, submission: Submission) -> dict[str, Any]:
    """What came of sending a run, for ``--json``."""
    return {
        "ok": True,
        "id": remote.id,
        "environment": remote.environment,
        "namespace": remote.namespace,
        "sent": str(submission.sent),
        "store": f"{remote.store}/{remote.id}",
    }


def upload(record: RunRecord, store: str) -> None:
    """Puts all that the run reads into its store; what is there already stays."""
    from tempfile import TemporaryDirectory

    from workloads.engines import bundle
    from workloads.runtime import RunPaths
    from workloads.storage.objects import open_store

    with TemporaryDirectory(prefix="tunery-bundle-") as folder:
        paths = RunPaths(Path(folder, record.id))
        bundle.make_bundle(record, paths)
        bundle.upload(paths, open_store(store), record.id)


def watch(cluster: Cluster, remote: RemoteRun, *, quiet: bool) -> None:
    """Shows a run until its end."""
    from workloads.cli.watching import RunView
    from workloads.engines.cluster_watch import follow

    if quiet:
        follow(cluster, remote, lambda _event: None)
        return
    with RunView(console()) as view:
        follow(cluster, remote, view.show)


def _check(cluster: Cluster, run: ClusterRun, *, quiet: bool) -> None:
    from workloads.engines.cluster_preflight import check

    found = check(cluster, run)
    if found.problems:
        raise InputError(found.problems)
    if run.team.budget is not None:
        _check_budget(run)
    if not quiet:
        show_warnings(found.warnings)
    if found.unknown and not quiet:
        console(stderr=True).print(
            f"note: you may not read {', '.join(found.unknown)}, so they were not checked", style="yellow", markup=False
        )


def _check_budget(run: ClusterRun) -> None:
    """Counts what the team's runs of this month have cost, which a dry run does not: it asks nobody anything."""
    from datetime import UTC, datetime

    from workloads import prices
    from workloads.engines.bills import spent
    from workloads.engines.cluster_estimate import over_budget

    if problems := over_budget(run, spent(run.team_name, run.platform, prices.load(), datetime.now(UTC))):
        raise InputError(problems)


def _show(remote: RemoteRun, submission: Submission) -> None:
    from workloads.engines.cluster import Sent

    words = {
        Sent.STARTED: "started",
        Sent.ATTACHED: "was sent before; attached to it",
        Sent.SCHEDULED: f"runs at {submission.workflow.get('spec', {}).get('schedules', ['?'])[0]} UTC",
    }
    out = console()
    out.print(f"[bold]{remote.id}[/] {words[submission.sent]}, on {remote.environment} in {remote.namespace}")
    if submission.sent is not Sent.SCHEDULED:
        out.print(f"see it: tunery status {remote.id}    read it: tunery logs {remote.id} --follow")
