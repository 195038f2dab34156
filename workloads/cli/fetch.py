"""``tunery fetch``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from workloads.cli.output import console, print_json


def fetch(
    model: Annotated[str, typer.Argument(help="MODEL@REVISION: a version, alias, branch, tag or commit.")],
    to: Annotated[Path | None, typer.Option(help="Put the files here; the cache by itself.")] = None,
    allow_pickle: Annotated[
        bool, typer.Option("--allow-pickle", help="Accept weights in pickle files, which run code when loaded.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Bring a model from the hub, verified, and print where it is.

    A branch, tag or alias is resolved to its 40-hex revision once. What an interrupted fetch left is continued, and a
    model that is in the cache already is not asked for again.

    Example: tunery fetch Qwen/Qwen3-0.6B@main --to models/qwen3
    """
    from workloads.cli.transfer import byte_bar
    from workloads.hub import open_hub
    from workloads.hub.cache import cached, cached_copy
    from workloads.hub.interface import ModelReference, is_revision
    from workloads.runtime import cache_dir
    from workloads.storage import manifest

    reference = ModelReference.parse(model)
    revision = reference.selector if reference.selector and is_revision(reference.selector) else None
    folder = cached_copy(revision, cache_dir()) if revision and to is None else None
    if folder is None:
        hub = open_hub(allow_pickle=allow_pickle)
        version = hub.resolve(reference)
        revision = version.revision
        with byte_bar("fetching", version.size) as advance:
            if to is None:
                folder = cached(hub, version, cache_dir(), advance)
            else:
                folder = to
                hub.fetch(version, to, advance)
    recorded = manifest.read(folder)
    files = () if recorded is None else recorded.files
    code = {each.path: each.sha256 for each in files if each.path.endswith(".py")}
    if as_json:
        size = sum(each.size for each in files)
        found = {"folder": str(folder.resolve()), "name": reference.name, "revision": revision, "size": size}
        print_json({**found, "files": [each.path for each in files], "code": code})
        return
    for path, sha256 in code.items():
        console(stderr=True).print(f"note: {path} is code of the model (sha256:{sha256})", markup=False)
    console(stderr=True).print(f"{reference.name}@{revision}", markup=False)
    console().print(str(folder.resolve()), markup=False, soft_wrap=True)
