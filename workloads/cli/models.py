"""``tunery models``."""

from __future__ import annotations

from typing import Annotated

import typer

from workloads.cli.output import console, print_json


def models(as_json: Annotated[bool, typer.Option("--json", help="Print the list as JSON.")] = False) -> None:
    """List the models in the hub.

    Example: tunery models --json
    """
    from workloads.hub import open_hub

    found = open_hub().models()
    if as_json:
        print_json([version.as_dict() for version in found])
        return
    if not found:
        console().print("The hub has no models yet. Add one with: tunery import FOLDER NAME")
        return
    from rich.filesize import decimal
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("name", "version", "aliases", "digest"):
        table.add_column(heading)
    table.add_column("size", justify="right")
    table.add_column("created (UTC)")
    for version in found:
        created = version.created[:19].replace("T", " ")
        aliases = ", ".join(version.aliases)
        table.add_row(version.name, version.version, aliases, version.digest[:12], decimal(version.size), created)
    console().print(table)
