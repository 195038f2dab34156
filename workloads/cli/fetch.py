"""``tunery fetch``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from workloads.cli import fetching


def fetch(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="NAME@REVISION: a version, alias, branch, tag or commit.")
    ],
    dataset: Annotated[bool, typer.Option("--dataset", help="It is a data set.")] = False,
    to: Annotated[Path | None, typer.Option(help="Put the files here; the cache by itself.")] = None,
    allow_pickle: Annotated[
        bool, typer.Option("--allow-pickle", help="Accept weights in pickle files, which run code when loaded.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Bring a model or data set from the hub, verified.

    Prints where it is. A branch, tag or alias is resolved to its 40-hex revision once. What an interrupted fetch left
    is continued, and what is in the cache already is not asked for again.

    Example: tunery fetch Qwen/Qwen3-0.6B@main --to models/qwen3
    """
    fetching.run(name, to, dataset=dataset, allow_pickle=allow_pickle, as_json=as_json)
