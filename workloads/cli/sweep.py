"""``tunery sweep``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from workloads.cli.output import console, plain_table, print_json

if TYPE_CHECKING:
    from workloads.runtime import RunPaths

_MARKS = {"finished": "✓", "failed": "✗", "pruned": "·", "skipped": "·", "running": "▸", "starting": "…", "queued": "…"}


def sweep(
    run: Annotated[str, typer.Argument(help="A run's id, the beginning of one, or its directory.")],
    on: Annotated[str | None, typer.Option("--on", help="The environment, when another machine sent the run.")] = None,
    team: Annotated[str | None, typer.Option(help="The team of a run on an environment.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the trials as JSON.")] = False,
) -> None:
    """Show the trials of a sweep, the best first.

    Works while the sweep runs, too. A run spec with a sweep is started as any other: tunery run SPEC.

    Example: tunery sweep demo-sweep-3f2a91
    """
    from workloads.errors import InputError

    value = _find(run, on, team)
    if value is None:
        raise InputError.of(f"The run {run} has no sweep, or none of its trials has started.", "see `tunery list`")
    if as_json:
        print_json(value)
    else:
        show(value)


def _find(run: str, on: str | None, team: str | None) -> dict[str, Any] | None:
    from workloads.engines import remote

    if on is not None or any(name.startswith(run) for name in remote.remembered()):
        from workloads.engines.remote_sweep import read_sweep
        from workloads.storage.objects import open_store

        found = remote.find(run, on, team)
        return read_sweep(open_store(found.store), found.id)
    from workloads.engines.local import find_run

    return read(find_run(run))


def read(paths: RunPaths) -> dict[str, Any] | None:
    """sweep.json of a run, or None when there is none."""
    from workloads.storage.atomic import read_json

    value = read_json(paths.sweep)
    return value if isinstance(value, dict) else None


def show(value: dict[str, Any]) -> None:
    """Prints the trials as a table: the best first, those that were stopped early after those that were not."""
    names = list(dict.fromkeys(name for row in value["trials"] for name in row["parameters"]))
    table = plain_table(">trial", *names, f">{value['metric']}", ">steps", "state", ">seconds")
    for row in in_order(value):
        metric = "" if row["metric"] is None else f"{row['metric']:.4g}"
        cells = [str(row["parameters"].get(name, "")) for name in names]
        table.add_row(
            str(row["trial"]),
            *cells,
            metric,
            "" if row["steps"] is None else str(row["steps"]),
            f"{_MARKS.get(row['state'], ' ')} {row['state']}",
            f"{row['seconds']:.1f}" if row["seconds"] else "",
            style="bold" if row["trial"] == value["best"] else None,
        )
    console().print(table)


def in_order(value: dict[str, Any]) -> list[dict[str, Any]]:
    """The trials, those with most steps first and of those the best."""
    sign = -1 if value["more_is_better"] else 1

    def place(row: dict[str, Any]) -> tuple[bool, int, float, int]:
        measured = row["metric"] is not None
        return (not measured, -(row["steps"] or 0), sign * row["metric"] if measured else 0.0, row["trial"])

    return sorted(value["trials"], key=place)
