"""What a store holds, run by run."""

from __future__ import annotations

from collections.abc import Iterable

from workloads.storage.objects import Store, StoredObject

RECORD = "run.json"


def by_run(store: Store) -> dict[str, list[StoredObject]]:
    """Run id -> its objects, their keys without the id; folders that never became a run are among them.

    Hidden files, such as the lock that every look at a run touches, are left out. It is one listing of the whole
    store: a thousand objects a request in Cloud Storage.
    """
    found: dict[str, list[StoredObject]] = {}
    for each in store.under(""):
        run, slash, key = each.key.partition("/")
        if slash and not key.rpartition("/")[2].startswith("."):
            found.setdefault(run, []).append(StoredObject(key, each.size, each.sha256, each.modified))
    return found


def recorded(runs: dict[str, list[StoredObject]]) -> list[str]:
    """The ids of those that are runs: they have a run.json."""
    return [run for run, objects in runs.items() if any(each.key == RECORD for each in objects)]


def newest(objects: Iterable[StoredObject]) -> float | None:
    """When the last of the objects was written; None when one of them does not say, or there is none."""
    times = [each.modified for each in objects]
    known = [time for time in times if time is not None]
    return max(known) if known and len(known) == len(times) else None
