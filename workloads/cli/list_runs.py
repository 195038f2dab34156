"""``tunery list``."""

from __future__ import annotations

from typing import Annotated

import typer

from workloads.cli.output import console, print_json


def list_runs(as_json: Annotated[bool, typer.Option("--json", help="Print the list as JSON.")] = False) -> None:
    """List the runs on this machine.

    Example: tunery list --json
    """
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
