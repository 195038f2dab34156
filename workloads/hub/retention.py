"""What may go from this machine: copies in the cache that nobody used for long, and old versions in a directory hub.

In Artifactory old versions go by its own cleanup policies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from workloads.hub.cache_room import copies, last_used, remove, size_of
from workloads.hub.directory import DirectoryHub


@dataclass(frozen=True, slots=True)
class Old:
    """Something that may go: what it is called, bytes that its removal frees, and why it may."""

    name: str
    size: int
    why: str

    def as_dict(self) -> dict[str, Any]:
        return {"name": self.name, "bytes": self.size, "why": self.why}


def old_copies(cache_root: Path, *, now: float, older_than: float) -> list[Old]:
    """The copies that were not used for ``older_than`` seconds, and what was set aside as damaged before that."""
    damaged = [folder for folder in (cache_root / "damaged").glob("*") if folder.is_dir()]
    found = []
    for folder in sorted((*copies(cache_root), *damaged)):
        if now - last_used(folder) > older_than:
            day = datetime.fromtimestamp(last_used(folder), UTC).date()
            why = f"damaged, set aside on {day}" if folder in damaged else f"last used on {day}"
            found.append(Old(folder.relative_to(cache_root).as_posix(), size_of(folder), why))
    return found


def remove_copies(cache_root: Path, old: Sequence[Old]) -> list[Old]:
    """Removes copies; those that somebody uses stay. What was removed."""
    return [each for each in old if remove(cache_root / each.name)]


def old_versions(hub: DirectoryHub, *, now: datetime, older_than: float, keep: int) -> list[Old]:
    """The versions of a directory hub that nobody needs, and contents that belong to no version.

    The newest ``keep`` versions of a name stay, and so do younger ones, those that an alias means, and those that are
    the base of another version.
    """
    known = hub.records()
    bases = {str((record.lineage.get("base") or {}).get("reference")) for record in known}
    aliases = hub.aliases()
    found = []
    for name in sorted({record.name for record in known}):
        mine = [record for record in known if record.name == name]
        for record in mine[: max(0, len(mine) - keep)]:
            needed = record.reference in bases or record.version in aliases.get(name, {}).values()
            if not needed and (now - record.created).total_seconds() > older_than:
                others = {entry.sha256 for each in known if each is not record for entry in each.manifest.files}
                sizes = {entry.sha256: entry.size for entry in record.manifest.files if entry.sha256 not in others}
                why = f"published on {record.created.date()}, and newer ones are there"
                found.append(Old(record.reference, sum(sizes.values()), why))
    unused = hub.unused_contents()
    if unused:
        found.append(Old("contents of no version", sum(unused.values()), "left by a publication that was cut off"))
    return found


def remove_versions(hub: DirectoryHub, old: Sequence[Old]) -> list[Old]:
    """Removes versions, and every content that then belongs to none. What was removed.

    A version that an alias has come to mean since it was listed stays.
    """
    aliases = hub.aliases()
    meant = {f"{name}@{version}" for name, known in aliases.items() for version in known.values()}
    going = [each for each in old if each.name not in meant]
    hub.remove({each.name for each in going})
    return going
