"""fetch: the base model from the hub, verified, on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from workloads.errors import InputError
from workloads.stages.context import RunContext
from workloads.stages.runner import main
from workloads.storage import manifest


def run(context: RunContext) -> dict[str, Any]:
    """Brings the base model; ``folder`` in the outputs is where it lies."""
    base = context.record.base
    if base.reference is None:
        folder = context.file(base.folder or "")
        found = manifest.scan(folder).digest[:40] if folder.is_dir() else None
        if found != base.revision:
            raise InputError.of(
                "The base model's folder has changed since the run was created.",
                "start a new run: its id names the new content",
                file=folder,
            )
        return {"folder": str(folder), "revision": base.revision}
    from workloads.hub import open_hub
    from workloads.hub.cache import cached
    from workloads.hub.interface import ModelReference
    from workloads.runtime import cache_dir

    hub = open_hub()
    version = hub.resolve(ModelReference(ModelReference.parse(base.reference).name, base.revision))
    folder = cached(hub, version, cache_dir())
    return {"folder": str(folder.resolve()), "revision": version.revision}


def intact(context: RunContext) -> bool:
    """Whether the folder is still there; the cache may have been cleared."""
    folder = Path(context.outputs("fetch")["folder"])
    if context.record.base.reference is None:
        return folder.is_dir()
    return folder.is_dir() and not manifest.damage(folder, full=False)


if __name__ == "__main__":
    main("fetch")
