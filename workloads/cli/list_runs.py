"""``tunery list``."""

from __future__ import annotations

from typing import Annotated

import typer

from workloads.cli.output import console, print_json


def list_runs(
    on: Annotated[str | None, typer.Option("--on", metavar="ENV", help="The runs of this environment.")] = None,
    team: Annotated[str | None, typer.Option(help="With --on: only this team's.")] = None,
    most: Annotated[int, typer.Option(help="With --on: how many to show, newest first.", min=1)] = 50,
    context: Annotated[str | None, typer.Option(help="With --on: the kubeconfig's context.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the list as JSON.")] = False,
) -> None:
    """List the runs on this machine, or on an environment.

    Examples:

      tunery list --json

      tunery list --on dev --most 10
    """
    if on is not None:
        _list_environment(on, team, most, context, as_json=as_json)
        return
    from workloads.engines.local import list_runs as found
    from workloads.engines.local import state
    from workloads.storage.atomic import read_json

    rows = []
    for paths in found():
        record = read_json(paths.record) or {}
        published = (read_json(paths.marker("publish")) or {}).get("outputs", {})
        progress = read_json(paths.progress) or {}
        rows.append(
            {
                "id": paths.root.name,
                "state": state(paths),
                "created": record.get("created"),
                "step": progress.get("step"),
                "max_steps": progress.get("max_steps"),
                "model": published.get("reference"),
            }
        )
    if as_json:
        print_json(rows)
        return
    if not rows:
        console().print("No runs here yet. Start one with: tunery demo")
        return
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("run", "state", "step", "created", "model"):
        table.add_column(heading)
    for row in rows:
        step = "" if row["step"] is None else f"{row['step']}/{row['max_steps']}"
        table.add_row(row["id"], row["state"], step, row["created"], row["model"] or "")
    console().print(table)


def _list_environment(on: str, team: str | None, most: int, context: str | None, *, as_json: bool) -> None:
    from itertools import islice

    from workloads import platform
    from workloads.cli.cluster_verbs import PATIENCE_SECONDS
    from workloads.engines.cluster_login import open_cluster
    from workloads.engines.cluster_state import runs
    from workloads.engines.remote import choose_team

    found = platform.load(on)
    teams = list(found.teams) if team is None else [choose_team(found, team)]
    cluster = open_cluster(found, context, patience=PATIENCE_SECONDS)
    rows = [run.as_dict() for run in islice(runs(cluster, found, teams), most)]
    if as_json:
        print_json(rows)
        return
    if not rows:
        console().print(f"No runs on {on}. Start one with: tunery run SPEC --on {on}", markup=False)
        return
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("run", "state", "team", "created"):
        table.add_column(heading)
    for row in rows:
        table.add_row(row["id"], row["state"], row["team"], row["created"])
    console().print(table)
