"""``tunery import``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from workloads.cli.output import console, print_json


def import_model(
    folder: Annotated[Path, typer.Argument(help="The folder with config, weights and tokenizer.", show_default=False)],
    name: Annotated[str, typer.Argument(help="MODEL or ORGANISATION/MODEL.", show_default=False)],
    dataset: Annotated[
        bool, typer.Option("--dataset", help="The folder holds the files of a data set; the hub must be a folder.")
    ] = False,
    version: Annotated[
        str | None, typer.Option(help="What to call the version; the next of v1, v2, ... by itself.")
    ] = None,
    alias: Annotated[list[str] | None, typer.Option(help="Point this alias at it; may be repeated.")] = None,
    allow_pickle: Annotated[
        bool, typer.Option("--allow-pickle", help="Accept weights in pickle files, which run code when loaded.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Add a folder with a model or a data set to the hub.

    Hidden files and folders such as .git and .cache are left out. The same files imported again give the version
    that exists, and repair it where the hub's copy is damaged.

    Example: tunery import ~/models/Llama-3.2-1B meta/llama-3.2-1b --alias production
    """
    from workloads.cli.transfer import byte_bar
    from workloads.hub import open_datasets, open_hub
    from workloads.hub.folder import model_files
    from workloads.hub.importing import import_dataset, import_folder

    with byte_bar("importing", sum(file.size for file in model_files(folder))) as advance:
        if dataset:
            hub, aliases = open_datasets(), alias or ()
            added = import_dataset(hub, folder, name, version=version, aliases=aliases, on_bytes=advance)
        else:
            added = import_folder(
                open_hub(),
                folder,
                name,
                version=version,
                aliases=alias or (),
                allow_pickle=allow_pickle,
                on_bytes=advance,
            )
    if as_json:
        print_json(added.as_dict())
        return
    console().print(f"{added.reference} is in the hub: {added.size:,} bytes, sha256:{added.digest}", markup=False)
