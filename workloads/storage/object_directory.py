"""Objects as files of a folder, which may be a volume that several machines mount."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from workloads.runtime import ENV_STORE
from workloads.storage.atomic import fsync_directory
from workloads.storage.disk import disk_errors
from workloads.storage.manifest import sha256_file
from workloads.storage.objects import StoredObject, Writer, check_key, check_unchanged, manifests_first

_CHUNK = 1 << 20
_INCOMING = ".incoming-"
"""Begins the names of files that are being written."""


class DirectoryStore:
    """A :class:`workloads.storage.objects.Store` in a folder, which need not exist yet."""

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()

    @property
    def url(self) -> str:
        return str(self._root)

    def read(self, key: str) -> bytes | None:
        with disk_errors(self._root, ENV_STORE):
            try:
                return self._path(key).read_bytes()
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                return None

    def write(self, key: str, content: bytes, *, if_absent: bool = False) -> bool:
        return self._place(key, lambda stream: stream.write(content), if_absent=if_absent)

    def upload(self, source: Path, key: str, sha256: str, *, if_absent: bool = False) -> bool:
        def copy(stream: BinaryIO) -> None:
            hasher = hashlib.sha256()
            with source.open("rb") as reader:
                while chunk := reader.read(_CHUNK):
                    hasher.update(chunk)
                    stream.write(chunk)
            check_unchanged(source, hasher.hexdigest(), sha256)

        return self._place(key, copy, if_absent=if_absent)

    def download(self, key: str, target: Writer, offset: int = 0) -> bool:
        with disk_errors(self._root, ENV_STORE):
            try:
                with self._path(key).open("rb") as reader:
                    reader.seek(offset)
                    shutil.copyfileobj(reader, target, _CHUNK)
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                return False
        return True

    def find(self, key: str) -> StoredObject | None:
        path = self._path(key)
        with disk_errors(self._root, ENV_STORE):
            if not path.is_file():
                return None
            return StoredObject(key, path.stat().st_size, sha256_file(path))

    def under(self, prefix: str) -> list[StoredObject]:
        folder = self._path(prefix) if prefix else self._root
        with disk_errors(self._root, ENV_STORE):
            return sorted(self._walk(folder), key=lambda each: each.key)

    def delete(self, prefix: str) -> int:
        found = self.under(prefix)
        with disk_errors(self._root, ENV_STORE):
            path = self._path(prefix)
            if path.is_file():
                path.unlink()
                return 1
            for each in manifests_first(found):
                (self._root / each.key).unlink(missing_ok=True)
            shutil.rmtree(path, ignore_errors=True)  # folders that are empty now
        return len(found)

    def _walk(self, folder: Path) -> list[StoredObject]:
        found: list[StoredObject] = []
        for path, _, names in os.walk(folder):
            for name in names:
                each = Path(path, name)
                try:
                    facts = each.stat()
                except FileNotFoundError:  # removed since the folder was read
                    continue
                if not name.startswith(_INCOMING):
                    key = each.relative_to(self._root).as_posix()
                    found.append(StoredObject(key, facts.st_size, None, facts.st_mtime))
        return found

    def _path(self, key: str) -> Path:
        return self._root / check_key(key)

    def _place(self, key: str, fill: Callable[[BinaryIO], object], *, if_absent: bool) -> bool:
        path = self._path(key)
        with disk_errors(self._root, ENV_STORE):
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=_INCOMING)
            incoming = Path(name)
            try:
                with os.fdopen(descriptor, "wb") as stream:
                    fill(stream)
                    stream.flush()
                    os.fchmod(descriptor, 0o644)  # mkstemp makes it private, but pods of other users read it
                    os.fsync(descriptor)
                if if_absent:
                    path.hardlink_to(incoming)  # unlike a rename, it fails when there is one
                else:
                    incoming.replace(path)
            except FileExistsError:
                return False
            finally:
                incoming.unlink(missing_ok=True)
            fsync_directory(path.parent)
        return True
