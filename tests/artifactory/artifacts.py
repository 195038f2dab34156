"""What the server keeps: content by its SHA-256, items that point at content, and their properties."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from artifactory.wire import CHUNK, Content, RefusalError


def _hash(path: Path, name: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, name).hexdigest()


class Blob:
    """Content, once, however many items have it."""

    def __init__(self, path: Path, sha256: str) -> None:
        self.path, self.sha256, self.size = path, sha256, path.stat().st_size

    @cached_property
    def sha1(self) -> str:
        return _hash(self.path, "sha1")

    @cached_property
    def md5(self) -> str:
        return _hash(self.path, "md5")

    @cached_property
    def git(self) -> str:
        """The name that git gives the content: the entity tag of a small file on Hugging Face."""
        return hashlib.sha1(b"blob %d\0" % self.size + self.path.read_bytes(), usedforsecurity=False).hexdigest()

    @property
    def checksums(self) -> dict[str, str]:
        return {"sha1": self.sha1, "md5": self.md5, "sha256": self.sha256}

    @property
    def content(self) -> Content:
        return Content(self.path, 0, self.size)


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass
class Item:
    """One file of a repository."""

    blob: Blob
    created_by: str
    properties: dict[str, list[str]] = field(default_factory=dict)
    created: str = field(default_factory=now)
    modified: float = field(default_factory=time.time)

    @property
    def modified_iso(self) -> str:
        return datetime.fromtimestamp(self.modified, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Artifacts:
    """Items by repository and path, under one lock. Paths are relative, with '/'."""

    def __init__(self, folder: Path, repositories: Iterable[str]) -> None:
        self.folder = folder
        self.lock = threading.RLock()
        self.quota: int | None = None
        """Bytes that all content together may take; None is no limit."""
        self.items: dict[str, dict[str, Item]] = {name: {} for name in repositories}
        self.folder_properties: dict[tuple[str, str], dict[str, list[str]]] = {}
        self._blobs: dict[str, Blob] = {}

    def blob(self, sha256: str) -> Blob | None:
        return self._blobs.get(sha256)

    def keep(self, source: bytes | Path, *, link: bool = False) -> Blob:
        """Takes content in without HTTP; ``link`` takes a file by hard link instead of copying it."""
        partial = self.new_file()
        if isinstance(source, bytes):
            partial.write_bytes(source)
        elif link:
            os.link(source, partial)
        else:
            shutil.copyfile(source, partial)
        return self.adopt(partial, _hash(partial, "sha256"))

    def new_file(self) -> Path:
        """A name for content whose digest is not known yet."""
        return self.folder / f"{secrets.token_hex(8)}.partial"

    def adopt(self, partial: Path, sha256: str) -> Blob:
        """Makes a finished file the content of that digest."""
        with self.lock:
            if sha256 in self._blobs:
                partial.unlink()
            else:
                self._blobs[sha256] = Blob(partial.rename(self.folder / sha256), sha256)
            return self._blobs[sha256]

    def receive(self, chunks: Iterable[bytes]) -> tuple[Path, dict[str, str]]:
        """Writes an upload beside the content: its file and its three checksums. Nothing is left of a broken one."""
        partial = self.new_file()
        hashes = {name: hashlib.new(name, usedforsecurity=False) for name in ("sha1", "md5", "sha256")}
        try:
            with partial.open("wb", buffering=CHUNK) as file:
                for chunk in chunks:
                    file.write(chunk)
                    for each in hashes.values():
                        each.update(chunk)
        except BaseException:
            partial.unlink()
            raise
        return partial, {name: each.hexdigest() for name, each in hashes.items()}

    def check_space(self, more: int) -> None:
        """Raises RefusalError (413) when ``more`` bytes are over the quota.

        jfrog.com/help, Managing Disk Space Usage: "an attempt to store binaries above the allocated storage percentage
        will fail with an error"; the status and the message are those that users report.
        """
        with self.lock:
            used = sum(blob.size for blob in self._blobs.values())
            if self.quota is not None and used + more > self.quota:
                raise RefusalError(413, "Datastore disk usage is too high. Contact your Artifactory administrator.")

    def below(self, repository: str, folder: str) -> dict[str, Item]:
        """Every item under a folder, by its path within it, sorted; ``''`` is the whole repository."""
        prefix = f"{folder}/" if folder else ""
        items = self.items.get(repository, {})
        return {path.removeprefix(prefix): items[path] for path in sorted(items) if path.startswith(prefix)}

    def put(self, repository: str, path: str, item: Item) -> None:
        with self.lock:
            self.items[repository][path] = item
