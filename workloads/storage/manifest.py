"""Manifests: the proof that a folder (checkpoint, download, export) is whole.

A folder counts only when its manifest lists every file with its size and SHA-256 and was written last.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from workloads.storage.atomic import fsync_directory, read_json, write_json

MANIFEST_NAME = "tunery-manifest.json"
_CHUNK = 1 << 20
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file of a manifest: POSIX path relative to the folder, bytes, SHA-256 in hex."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """Every file of a folder, sorted by path.

    Attributes:
        commit: 40 hex digits, when the files are those of a commit in a repository of models.
    """

    files: tuple[FileEntry, ...]
    commit: str | None = None

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(entry.size for entry in self.files)

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the canonical file list: equal folders have equal digests."""
        lines = json.dumps([[f.path, f.size, f.sha256] for f in self.files], separators=(",", ":"))
        return hashlib.sha256(lines.encode()).hexdigest()

    @property
    def revision(self) -> str:
        """The 40-hex name of the content: its commit, else the start of its digest."""
        return self.commit or self.digest[:40]

    def as_dict(self) -> dict[str, Any]:
        """The JSON form that :func:`parse` reads."""
        commit = {} if self.commit is None else {"commit": self.commit}
        return commit | {"files": [{"path": f.path, "size": f.size, "sha256": f.sha256} for f in self.files]}

    @classmethod
    def parse(cls, value: Any) -> Manifest:
        """Raises ValueError when ``value`` is not a manifest or names a path outside its folder."""
        try:
            files = tuple(FileEntry(str(f["path"]), int(f["size"]), str(f["sha256"])) for f in value["files"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a manifest: {error}") from error
        for entry in files:
            path = PurePosixPath(entry.path)
            if path.is_absolute() or ".." in path.parts or not path.parts:
                raise ValueError(f"the manifest names a path outside its folder: {entry.path!r}")
        commit = value.get("commit")
        if commit is not None and not _COMMIT.fullmatch(str(commit)):
            raise ValueError(f"the manifest names a commit that is none: {commit!r}")
        return cls(tuple(sorted(files, key=lambda f: f.path)), commit)


def sha256_file(path: Path, on_bytes: Callable[[int], None] | None = None) -> str:
    """SHA-256 (hex) of a file; ``on_bytes`` hears of every chunk read."""
    hasher = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            hasher.update(chunk)
            if on_bytes is not None:
                on_bytes(len(chunk))
    return hasher.hexdigest()


def scan(folder: Path) -> Manifest:
    """Hashes every regular file under ``folder`` except the manifest and what is hidden or in a hidden folder."""
    entries = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        hidden = any(part.startswith(".") for part in PurePosixPath(name).parts)
        if hidden or path.name == MANIFEST_NAME or not path.is_file():
            continue
        entries.append(FileEntry(name, path.stat().st_size, sha256_file(path)))
    return Manifest(tuple(sorted(entries, key=lambda f: f.path)))


def commit(folder: Path) -> Manifest:
    """Makes ``folder`` count: flushes every file to the disk, then writes its manifest by atomic rename."""
    manifest = scan(folder)
    folders = {folder}
    for entry in manifest.files:
        path = folder / entry.path
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        folders.add(path.parent)
    for each in folders:
        fsync_directory(each)
    write_json(folder / MANIFEST_NAME, manifest.as_dict())
    return manifest


def read(folder: Path) -> Manifest | None:
    """The manifest of ``folder``, or None when there is none that parses."""
    value = read_json(folder / MANIFEST_NAME)
    try:
        return None if value is None else Manifest.parse(value)
    except ValueError:
        return None


def damage(folder: Path, *, full: bool = True) -> list[str]:
    """What is wrong with ``folder`` against its manifest, one sentence each; empty when it verifies.

    Args:
        full: recompute every SHA-256; otherwise only presence and sizes are compared.
    """
    manifest = read(folder)
    if manifest is None:
        return ["it has no readable manifest"]
    found = []
    for entry in manifest.files:
        path = folder / entry.path
        if not path.is_file():
            found.append(f"{entry.path} is missing")
        elif (size := path.stat().st_size) != entry.size:
            found.append(f"{entry.path} has {size} bytes, not {entry.size}")
        elif full and sha256_file(path) != entry.sha256:
            found.append(f"{entry.path} does not have the recorded SHA-256")
    return found
