"""``tunery clean``."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Annotated

import typer

from workloads.cli.cluster_verbs import Context, Json, Team
from workloads.cli.output import console, print_json
from workloads.errors import InputError

if TYPE_CHECKING:
    from workloads.engines.cleaning import Found
    from workloads.engines.cluster_client import Cluster

_UNITS = {"h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}


def clean(
    on: Annotated[
        str | None, typer.Option("--on", metavar="ENV", help="In this environment; otherwise on this machine.")
    ] = None,
    team: Team = None,
    older_than: Annotated[
        str, typer.Option(metavar="AGE", help="Leave what did something since, such as 12h.")
    ] = "30d",
    cache: Annotated[bool, typer.Option("--cache", help="Models and data sets fetched to this machine.")] = False,
    hub: Annotated[bool, typer.Option("--hub", help="Versions in the hub, when that is a folder.")] = False,
    keep: Annotated[int, typer.Option(min=1, help="With --hub: how many newest versions of a name stay.")] = 3,
    delete: Annotated[bool, typer.Option("--delete", help="Remove it; otherwise it is only listed.")] = False,
    context: Context = None,
    as_json: Json = False,
) -> None:
    """List or remove what runs left that nobody needs.

    That is checkpoints of trainings whose result is whole, prepared data of finished runs, and what was never written
    to its end. Results, records and published models stay, and so does everything of a run that is active. --cache
    and --hub clean those in place of runs: what was not used for that long, and versions that are that old, that no
    alias means, that are no base of another one and not among the newest. What a process uses stays.

    Example: tunery clean --on dev --older-than 30d --delete
    """
    from workloads.engines import cleaning

    age = _seconds(older_than)
    if cache or hub:
        from workloads.cli.clean_hub import clean_cache, clean_hub

        if on is not None or (cache and hub):
            raise InputError.of("This cleans one place.", "give one of --on, --cache and --hub")
        if cache:
            clean_cache(age, delete=delete, as_json=as_json)
        else:
            clean_hub(age, keep, delete=delete, as_json=as_json)
        return
    found, cluster, namespace = _found(on, team, context, age)
    removed = cleaning.remove(found)[0] if delete else []
    if delete and cluster is not None:
        cleaning.remove_objects(cluster, namespace, found.objects)
    if as_json:
        print_json(
            {
                "store": found.store.url,
                "leftovers": [each.as_dict() for each in found.leftovers],
                "objects": [each.as_dict() for each in found.objects],
                "deleted": delete,
                "removed": [each.path for each in removed],
            }
        )
    else:
        _show(found, len(removed), deleted=delete)


def _found(on: str | None, team: str | None, context: str | None, age: float) -> tuple[Found, Cluster | None, str]:
    from workloads.engines import cleaning

    if on is None:
        from workloads.runtime import runs_dir

        return cleaning.on_this_machine(runs_dir(), now=time.time(), older_than=age), None, ""
    from workloads import platform
    from workloads.cli.cluster_verbs import PATIENCE_SECONDS
    from workloads.engines.cluster_login import open_cluster
    from workloads.engines.remote import choose_team

    contract = platform.load(on)
    name = choose_team(contract, team)
    cluster = open_cluster(contract, context, patience=PATIENCE_SECONDS)
    found = cleaning.on_environment(cluster, contract, name, now=time.time(), older_than=age)
    return found, cluster, contract.teams[name].namespace


def _seconds(age: str) -> float:
    match = re.fullmatch(r"(\d+)([hdw])", age)
    if match is None:
        raise InputError.of(f"{age!r} is no age.", "write it as 12h, 30d or 8w", key="--older-than")
    return int(match[1]) * _UNITS[match[2]]


def _show(found: Found, removed: int, *, deleted: bool) -> None:
    from rich.table import Table

    out = console()
    if not found.leftovers and not found.objects:
        out.print(f"Nothing to clean in {found.store.url}.", markup=False)
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("what")
    table.add_column("MB", justify="right")
    table.add_column("why")
    for each in found.leftovers:
        table.add_row(each.path, f"{each.size / 1e6:,.1f}", each.why)
    for item in found.objects:
        table.add_row(f"{item.kind} {item.name}", "", item.why)
    out.print(table)
    size = sum(each.size for each in found.leftovers) / 1e9
    if deleted:
        left = len(found.leftovers) - removed
        stayed = f"; {left} stayed, since their runs have become active" if left else ""
        out.print(f"{removed} folders removed, of {size:,.2f} GB in all{stayed}.", markup=False)
    else:
        out.print(f"{size:,.2f} GB in {len(found.leftovers)} folders. Remove them with --delete.", markup=False)
