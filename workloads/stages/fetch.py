"""fetch: the base model and the data sets that are elsewhere, verified, on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from workloads.errors import InputError
from workloads.hub.cache_room import hold
from workloads.stages import remote_data
from workloads.stages.context import RunContext
from workloads.stages.runner import main
from workloads.storage import manifest
from workloads.storage.manifest import Manifest


def run(context: RunContext) -> dict[str, Any]:
    """Brings both; ``folder`` in the outputs is where the base model lies, ``datasets`` what else was brought."""
    brought = remote_data.bring(context)
    return base_model(context) | ({"datasets": brought} if brought else {})


def base_model(context: RunContext) -> dict[str, Any]:
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
    from workloads.hub.cache import cached, cached_copy
    from workloads.hub.interface import ModelReference
    from workloads.runtime import cache_dir

    copy = cached_copy(base.revision, cache_dir())
    if copy is None:
        hub = open_hub(allow_pickle=context.spec.base is not None and context.spec.base.allow_pickle)
        version = hub.resolve(ModelReference(ModelReference.parse(base.reference).name, base.revision))
        copy = cached(hub, version, cache_dir())
    return outputs(str(copy.resolve()), base.revision, manifest.read(copy))


def outputs(folder: str, revision: str, recorded: Manifest | None) -> dict[str, Any]:
    """What the stage leaves of a base model: where the base model is, its digest, and what in it is code."""
    files = () if recorded is None else recorded.files
    return {
        "folder": folder,
        "revision": revision,
        "digest": None if recorded is None else recorded.digest,
        # What trust_remote_code would run; the revision pins it, and here it can be read.
        "code": {each.path: each.sha256 for each in files if each.path.endswith(".py")},
    }


def intact(context: RunContext) -> bool:
    """Whether the folders are still there; the cache may have been cleared."""
    folder = Path(context.outputs("fetch")["folder"])
    hold(folder)
    if not remote_data.intact(context):
        return False
    if context.record.base.reference is None:
        return folder.is_dir()
    return folder.is_dir() and not manifest.damage(folder, full=False)


if __name__ == "__main__":
    main("fetch")
