"""The verbs on one run of an environment: ``logs``, ``cancel``, ``retry`` and ``approve``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from workloads.cli.output import console, print_json

if TYPE_CHECKING:
    from workloads.engines.cluster_client import Cluster
    from workloads.engines.remote import RemoteRun

PATIENCE_SECONDS = 15.0
FOLLOW_SECONDS = 300.0
"""For how long an API server may be away while somebody watches a run; an upgrade of it takes minutes."""

Run = Annotated[str, typer.Argument(metavar="RUN", help="The run's id, or its beginning.", show_default=False)]
On = Annotated[str | None, typer.Option("--on", metavar="ENV", help="The environment; remembered from `tunery run`.")]
Team = Annotated[str | None, typer.Option(help="The team, where the environment has several.")]
Context = Annotated[str | None, typer.Option(help="The kubeconfig's context; the current one otherwise.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def opened(
    run: str, on: str | None, team: str | None, context: str | None, *, patience: float = PATIENCE_SECONDS
) -> tuple[Cluster, RemoteRun]:
    """The run that is meant, and its cluster."""
    from workloads.engines.cluster_login import open_cluster
    from workloads.engines.remote import find

    remote = find(run, on, team, context)
    return open_cluster(remote.platform, remote.context, patience=patience), remote


def logs(
    run: Run,
    stage: Annotated[str | None, typer.Option(help="Only this stage.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run ends.")] = False,
    on: On = None,
    team: Team = None,
    context: Context = None,
) -> None:
    """Print what the pods of a run print.

    Where several pods work together, each line begins with its pod.

    Example: tunery logs demo-1a2b3c4d5e --stage train --follow
    """
    from workloads.engines.cluster_logs import lines
    from workloads.errors import InputError, did_you_mean
    from workloads.runtime import STAGES

    if stage is not None and stage not in STAGES:
        raise InputError.of(
            f"{stage!r} is no stage.", f"name one of {', '.join(STAGES)}", suggestion=did_you_mean(stage, STAGES)
        )
    cluster, remote = opened(run, on, team, context, patience=FOLLOW_SECONDS if follow else PATIENCE_SECONDS)
    out = console()
    for line in lines(cluster, remote, stage, follow=follow):
        out.print(f"{line.pod:9} ", style="cyan", end="", markup=False)
        out.print(line.text, markup=False, highlight=False, soft_wrap=True)


def cancel(run: Run, on: On = None, team: Team = None, context: Context = None, as_json: Json = False) -> None:
    """Stop a run on an environment, or remove its schedule.

    A training saves a checkpoint first; `tunery retry` goes on from it.

    Example: tunery cancel demo-1a2b3c4d5e
    """
    from workloads.engines import cluster as engine

    cluster, remote = opened(run, on, team, context)
    said = engine.cancel(cluster, remote)
    if as_json:
        print_json({"ok": True, "id": remote.id, "done": said})
    else:
        console().print(said, markup=False)


def retry(run: Run, on: On = None, team: Team = None, context: Context = None, as_json: Json = False) -> None:
    """Start a failed or stopped run on an environment again.

    Finished stages are not repeated, and a training continues from its last checkpoint.

    Example: tunery retry demo-1a2b3c4d5e
    """
    from workloads.engines import cluster as engine

    cluster, remote = opened(run, on, team, context)
    submission = engine.retry(cluster, remote)
    if as_json:
        print_json({"ok": True, "id": remote.id, "sent": str(submission.sent)})
    else:
        console().print(f"{remote.id} is {submission.sent}; see it: tunery status {remote.id}", markup=False)


def approve(run: Run, on: On = None, team: Team = None, context: Context = None, as_json: Json = False) -> None:
    """Let a run on an environment go on that waits for approval.

    Who approved is written into the run's workflow.

    Example: tunery approve demo-1a2b3c4d5e
    """
    from workloads.engines import cluster as engine

    cluster, remote = opened(run, on, team, context)
    who = engine.approve(cluster, remote)
    if as_json:
        print_json({"ok": True, "id": remote.id, "approved_by": who})
    else:
        console().print(f"{remote.id} goes on, approved by {who}", markup=False)
