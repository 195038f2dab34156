"""Objects: bytes by key in a place that many machines see, which is Google Cloud Storage or a folder they all mount.

A key is a relative POSIX path. An object is whole or absent: nobody ever reads half of one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from workloads.errors import InputError, Problem, TuneryError

_GCS_URL = re.compile(r"gs://([a-z0-9][a-z0-9._-]{1,220}[a-z0-9])(?:/(.*))?")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


class DamagedError(TuneryError):
    """Bytes are not those that were recorded for them."""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One object: its key, bytes, and SHA-256 in hex where that is known without reading it.

    Attributes:
        modified: when it was last written, in seconds since the epoch; None where the store does not say.
    """

    key: str
    size: int
    sha256: str | None
    modified: float | None = None


class Writer(Protocol):
    """What bytes are written to."""

    def write(self, content: bytes, /) -> int:
        """Takes all of ``content``; returns its length."""
        ...


class Store(Protocol):
    """Objects under one prefix.

    Every method raises UnavailableError for what may work later (no answer, no space) and InputError for what will
    not (no such bucket, no permission, a key that is none).
    """

    @property
    def url(self) -> str:
        """Where it is, for messages: ``gs://BUCKET/PREFIX`` or a folder."""
        ...

    def read(self, key: str) -> bytes | None:
        """A small object's bytes, or None when there is none."""
        ...

    def write(self, key: str, content: bytes, *, if_absent: bool = False) -> bool:
        """Writes a small object; False when ``if_absent`` and it exists, which then stays as it is."""
        ...

    def upload(self, source: Path, key: str, sha256: str, *, if_absent: bool = False) -> bool:
        """Stores a file; False when ``if_absent`` and the object exists, which then stays as it is.

        Raises:
            DamagedError: the file does not have that SHA-256; nothing is stored.
        """
        ...

    def download(self, key: str, target: Writer, offset: int = 0) -> bool:
        """Writes an object's bytes from ``offset`` on to ``target``; False when there is no such object."""
        ...

    def find(self, key: str) -> StoredObject | None:
        """One object with its SHA-256, or None when there is none; the SHA-256 is None when nobody recorded it."""
        ...

    def under(self, prefix: str) -> list[StoredObject]:
        """The objects under the folder ``prefix``, sorted by key; ``""`` means all."""
        ...

    def delete(self, prefix: str) -> int:
        """Removes the object ``prefix`` and all objects under the folder of that name; how many there were.

        Manifests go first, so that what is left of a deletion that was cut off does not count.
        """
        ...


def open_store(url: str) -> Store:
    """The store at ``gs://BUCKET/PREFIX`` or in a folder.

    Raises:
        InputError: it is neither, or google-cloud-storage is not installed.
    """
    if match := _GCS_URL.fullmatch(url):
        from workloads.storage.object_gcs import GcsStore

        return GcsStore(match[1], (match[2] or "").strip("/"))
    if _SCHEME.match(url) or not url:
        raise InputError.of(f"{url!r} is no place for objects.", "write gs://BUCKET/PREFIX or a folder")
    from workloads.storage.object_directory import DirectoryStore

    return DirectoryStore(Path(url))


def check_key(key: str) -> str:
    """The key itself.

    Raises:
        InputError: it could mean something outside the store.
    """
    parts = key.split("/")
    if not key.isprintable() or any(part in ("", ".", "..") for part in parts) or PurePosixPath(key).is_absolute():
        raise InputError.of(f"{key!r} is no key of an object.", "use a relative path without '..'")
    return key


def manifests_first(objects: list[StoredObject]) -> list[StoredObject]:
    """The order in which objects are deleted."""
    from workloads.storage.manifest import MANIFEST_NAME

    return sorted(objects, key=lambda each: (not each.key.endswith(MANIFEST_NAME), each.key))


def check_unchanged(source: Path, found: str, recorded: str) -> None:
    """Raises DamagedError when a file's SHA-256 is not the one that was recorded for it."""
    if found != recorded:
        message = "The file is not what its manifest records: it has changed since, or the disk is faulty."
        raise DamagedError(Problem(message, "make the folder that holds it again", str(source), code="damaged"))
