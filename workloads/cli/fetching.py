"""What ``tunery fetch`` does, without the command line parser: importing that takes longer than finding a copy."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from workloads.hub.interface import Kind, ModelReference, is_revision

_SWITCHES = {"--json": "as_json", "--dataset": "dataset", "--allow-pickle": "allow_pickle"}


def run_plain(arguments: Sequence[str]) -> bool:
    """Runs ``tunery fetch`` for a command line of one name and switches that need no value.

    Returns:
        Whether it did; any other command line is left to the parser.

    Raises:
        TuneryError: as :func:`run`.
    """
    options = [text for text in arguments if text.startswith("-")]
    names = [text for text in arguments if text not in options]
    if len(names) != 1 or not _SWITCHES.keys() >= set(options):
        return False
    chosen: dict[str, Any] = {_SWITCHES[text]: True for text in options}
    run(names[0], **chosen)
    return True


def run(
    name: str, to: Path | None = None, *, dataset: bool = False, allow_pickle: bool = False, as_json: bool = False
) -> None:
    """Brings a model or data set and prints where it is.

    Args:
        name: NAME or NAME@REVISION.
        to: a folder in the place of the cache.

    Raises:
        TuneryError: it is not there, or cannot be had.
    """
    from workloads.cli.transfer import byte_bar
    from workloads.hub.cache import cached, cached_copy
    from workloads.runtime import cache_dir
    from workloads.storage import manifest

    reference = ModelReference.parse(name)
    kind: Kind = "datasets" if dataset else "models"
    revision = reference.selector if reference.selector and is_revision(reference.selector) else None
    folder = cached_copy(revision, cache_dir(), kind) if revision and to is None else None
    if folder is None:
        from workloads.hub import open_datasets, open_hub

        hub = open_datasets() if dataset else open_hub(allow_pickle=allow_pickle)
        version = hub.resolve(reference)
        revision = version.revision
        with byte_bar("fetching", version.size) as advance:
            if to is None:
                folder = cached(hub, version, cache_dir(), advance, kind=kind)
            else:
                folder = to
                hub.fetch(version, to, advance)
    recorded = manifest.read(folder)
    files = () if recorded is None else recorded.files
    code = {each.path: each.sha256 for each in files if each.path.endswith(".py")}
    if as_json:
        from workloads.cli.output import print_json

        size = sum(each.size for each in files)
        found = {"folder": str(folder.resolve()), "name": reference.name, "revision": revision, "size": size}
        print_json({**found, "files": [each.path for each in files], "code": code})
        return
    for path, sha256 in code.items():
        sys.stderr.write(f"note: {path} is code of the model (sha256:{sha256})\n")
    sys.stderr.write(f"{reference.name}@{revision}\n")
    sys.stdout.write(f"{folder.resolve()}\n")
