"""What ``tunery clean`` does with the cache and the hub of this machine."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from workloads.cli.output import console, plain_table, print_json
from workloads.errors import InputError

if TYPE_CHECKING:
    from workloads.hub.retention import Old


def clean_cache(age: float, *, delete: bool, as_json: bool) -> None:
    """Lists or removes the copies that nobody used for ``age`` seconds."""
    from workloads.hub.retention import old_copies, remove_copies
    from workloads.runtime import cache_dir

    old = old_copies(cache_dir(), now=time.time(), older_than=age)
    _tell(cache_dir(), old, remove_copies(cache_dir(), old) if delete else None, as_json=as_json)


def clean_hub(age: float, keep: int, *, delete: bool, as_json: bool) -> None:
    """Lists or removes versions older than ``age`` seconds; the newest ``keep`` of each name stay.

    Raises:
        InputError: the hub is not a folder.
    """
    from workloads.hub import open_hub
    from workloads.hub.directory import DirectoryHub
    from workloads.hub.retention import old_versions, remove_versions

    hub = open_hub()
    if not isinstance(hub, DirectoryHub):
        raise InputError.of(
            "The hub is Artifactory, which cleans up by itself.", "set a cleanup policy for the repository there"
        )
    old = old_versions(hub, now=datetime.now(UTC), older_than=age, keep=keep)
    _tell(hub.root, old, remove_versions(hub, old) if delete else None, as_json=as_json)


def _tell(place: Path, old: Sequence[Old], removed: Sequence[Old] | None, *, as_json: bool) -> None:
    """Shows what is old, and what was removed; None where nothing was to be."""
    if as_json:
        gone = [each.name for each in removed or ()]
        print_json({"place": str(place), "old": [each.as_dict() for each in old], "removed": gone})
        return
    out = console()
    if not old:
        out.print(f"Nothing to clean in {place}.", markup=False)
        return
    table = plain_table("what", ">MB", "why")
    for each in old:
        table.add_row(each.name, f"{each.size / 1e6:,.1f}", each.why)
    out.print(table)
    size = sum(each.size for each in (old if removed is None else removed)) / 1e9
    if removed is None:
        out.print(f"{size:,.2f} GB. Remove it with --delete.", markup=False)
    else:
        in_use = f"; {len(old) - len(removed)} in use stayed" if len(removed) < len(old) else ""
        out.print(f"{size:,.2f} GB removed{in_use}.", markup=False)
