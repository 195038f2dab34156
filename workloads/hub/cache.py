"""The cache: a verified copy of a version of a model or data set on this machine, made once.

``CACHE/models/REVISION/`` or ``CACHE/datasets/REVISION/`` counts when its manifest, written last, is that of the
version. Hashing gigabytes again for every run would cost more than the fetch stage may, so a copy is believed while
no file has changed since its manifest was written; otherwise it is hashed again, and what is damaged goes to
``CACHE/damaged/REVISION/``.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Protocol

from workloads.errors import InputError
from workloads.hub.cache_room import cache_limit, hold, make_room
from workloads.hub.folder import visible_files
from workloads.hub.interface import Kind, ModelVersion, Progress
from workloads.runtime import ENV_CACHE
from workloads.storage import manifest as manifests
from workloads.storage.atomic import write_json
from workloads.storage.disk import disk_errors
from workloads.storage.manifest import MANIFEST_NAME, Manifest

_log = logging.getLogger(__name__)


class Source(Protocol):
    """What a copy is made from: a hub, or whatever else brings files verified."""

    def fetch(self, version: ModelVersion, destination: Path, on_bytes: Progress | None = None) -> Manifest:
        """As :meth:`workloads.hub.interface.Hub.fetch`."""
        ...


def cached(
    source: Source,
    version: ModelVersion,
    cache_root: Path,
    on_bytes: Progress | None = None,
    *,
    kind: Kind = "models",
) -> Path:
    """The folder of a verified copy of ``version``, fetched when there is none, and held while this process lives.

    Processes that want the same version wait for one of them to fetch it. A copy that is there and unchanged needs
    neither its source nor a writable cache.

    Args:
        on_bytes: hears of the bytes of a fetch; nothing is called when the copy is there.

    Raises:
        UnavailableError: the copy does not fit into ``TUNERY_CACHE_LIMIT`` beside those in use.
    """
    folder = cache_root / kind / version.revision
    with disk_errors(cache_root, ENV_CACHE):
        if hold(folder) and _unchanged(folder, version):
            return folder
        from filelock import FileLock

        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(f".{folder.name}.lock")):
            recorded = _recorded(folder, version)
            if recorded is None or not _unchanged(folder, version):
                if recorded is not None and _sound(folder, recorded, cache_root / "damaged" / version.revision):
                    write_json(folder / MANIFEST_NAME, recorded.as_dict())  # its time is what _unchanged goes by
                else:
                    make_room(cache_root, version.size, folder, cache_limit())
                    source.fetch(version, folder, on_bytes)
            hold(folder)
    return folder


def cached_copy(revision: str, cache_root: Path, kind: Kind = "models") -> Path | None:
    """The folder of an unchanged copy of a 40-hex revision, held while this process lives; nobody else is asked."""
    folder = cache_root / kind / revision
    with disk_errors(cache_root, ENV_CACHE):
        recorded = manifests.read(folder) if hold(folder) else None
        if recorded is None or recorded.revision != revision or not _is_unchanged(folder, recorded):
            return None
    return folder


def _recorded(folder: Path, version: ModelVersion) -> Manifest | None:
    """The manifest in ``folder`` when it is that of the version."""
    recorded = manifests.read(folder)
    if recorded is None or recorded.commit != version.commit:
        return None
    return recorded if version.commit is not None or recorded.digest == version.digest else None


def _unchanged(folder: Path, version: ModelVersion) -> bool:
    """Whether ``folder`` is a whole copy of the version, as far as can be told without reading it."""
    recorded = _recorded(folder, version)
    return recorded is not None and _is_unchanged(folder, recorded)


def _is_unchanged(folder: Path, recorded: Manifest) -> bool:
    """Whether the copy is whole and no file has been touched since its manifest was written.

    The change time counts as well as the modification time, since the latter can be set back. A file as old as the
    manifest may have changed in the same tick of the file system's clock, so it does not pass.
    """
    try:
        if {(file.path, file.size) for file in visible_files(folder)} != {(e.path, e.size) for e in recorded.files}:
            return False
    except InputError:
        return False
    written = (folder / MANIFEST_NAME).stat().st_mtime_ns
    states = [(folder / entry.path).stat() for entry in recorded.files]
    return all(max(state.st_mtime_ns, state.st_ctime_ns) < written for state in states)


def _sound(folder: Path, recorded: Manifest, damaged: Path) -> bool:
    """Hashes the copy again; files that are not as recorded are moved to ``damaged``, where a person can look."""
    expected = {entry.path: entry.sha256 for entry in recorded.files}
    present = [file.path for file in visible_files(folder)]
    wrong = [path for path in present if expected.get(path) != manifests.sha256_file(folder / path)]
    for path in wrong:
        (damaged / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).replace(damaged / path)
    if wrong:
        _log.warning("The cached copy in %s was damaged (%s); see %s.", folder, ", ".join(wrong), damaged)
    return not wrong and len(present) == len(expected)
