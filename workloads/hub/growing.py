"""A file that grows as it arrives, hashed on the way, and what it must become."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from workloads.errors import InputError
from workloads.hub.http_errors import WrongAnswerError, place_of
from workloads.hub.interface import Progress
from workloads.storage.manifest import MANIFEST_NAME, FileEntry

_BUFFER = 1 << 20
_BATCH = 32 << 20
"""Bytes after which the disk is told to begin writing, so that it need not write everything at the end."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of a model as a server describes it.

    Attributes:
        path: relative to the model's folder, as :func:`check_paths` lets it pass.
        sha256: in hex; None when the server only tells ``sha1``.
        sha1: of the content, or of the content as a git blob, whose header is hashed before it; in hex.
        etag: what If-Range can name, as long as no other host answers.
    """

    path: str
    url: str
    size: int
    sha256: str | None = None
    sha1: str | None = None
    etag: str | None = None

    @property
    def digest(self) -> str:
        """What its content must have."""
        return self.sha256 or self.sha1 or ""


def check_paths(paths: Iterable[str]) -> None:
    """Raises InputError unless each is a file's name inside a folder, and none is the folder of another."""
    known = set(paths)
    for path in known:
        _check_path(path)
        if any(parent.as_posix() in known for parent in PurePosixPath(path).parents):
            raise _refused(path)


def _check_path(path: str) -> None:
    parts = path.split("/")
    unsafe = any(part in ("", ".", "..") or len(part.encode()) > 255 for part in parts)
    if unsafe or "\\" in path or ":" in path or not path.isprintable() or PurePosixPath(path).name == MANIFEST_NAME:
        raise _refused(path)


def _refused(path: str) -> InputError:
    return InputError.of(
        f"The hub names a file {path[:200]!r}, which is refused.",
        "do not use this model: its file names would write outside its folder, or cannot be written",
    )


class Verifier:
    """Hashes a file while it grows."""

    def __init__(self, file: RemoteFile) -> None:
        self._file = file
        self._sha256 = hashlib.sha256()
        # The server may mean either by the 40 digits that it sends; both name the content.
        start = (b"", b"blob %d\0" % file.size)
        self._sha1 = [] if file.sha256 else [hashlib.sha1(each, usedforsecurity=False) for each in start]

    def update(self, data: memoryview) -> None:
        """Takes the next bytes."""
        self._sha256.update(data)
        for each in self._sha1:
            each.update(data)

    @property
    def entry(self) -> FileEntry | None:
        """The manifest's entry when the content is right."""
        sha256 = self._sha256.hexdigest()
        right = sha256 == self._file.sha256 or self._file.sha1 in [each.hexdigest() for each in self._sha1]
        return FileEntry(self._file.path, self._file.size, sha256) if right else None


class Growing:
    """A file that grows to ``file.size`` bytes, hashed as it does."""

    def __init__(self, file: RemoteFile, partial: Path | None, told: Progress) -> None:
        self.file = file
        self.told = told
        self._heard = 0
        self._descriptor = None if partial is None else os.open(partial, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        self._start()
        if self._descriptor is not None:
            self._take_over(self._descriptor)

    def _start(self) -> None:
        self.position = 0
        self.verifier = Verifier(self.file)

    def _take_over(self, descriptor: int) -> None:
        """Hashes what an earlier attempt left."""
        buffer = memoryview(bytearray(_BUFFER))
        if os.fstat(descriptor).st_size <= self.file.size:
            while count := os.preadv(descriptor, [buffer], self.position):
                self._count(buffer[:count])
        os.truncate(descriptor, self.position)

    def append(self, data: memoryview) -> None:
        """Takes the next bytes.

        Raises:
            WrongAnswerError: they are more than the file has.
        """
        if self.position + len(data) > self.file.size:
            raise WrongAnswerError(f"{place_of(self.file.url)} sends more than {self.file.size:,} bytes")
        written = 0
        while self._descriptor is not None and written < len(data):
            written += os.pwrite(self._descriptor, data[written:], self.position + written)
        before = self.position // _BATCH
        self._count(data)
        if self._descriptor is not None and self.position // _BATCH > before and hasattr(os, "posix_fadvise"):
            # Linux starts to write what is dirty in the range; what is not on the disk yet stays in memory.
            os.posix_fadvise(self._descriptor, before * _BATCH, _BATCH, os.POSIX_FADV_DONTNEED)

    def _count(self, data: memoryview) -> None:
        self.verifier.update(data)
        self.position += len(data)
        if self.position > self._heard:
            self.told(self.position - self._heard)
            self._heard = self.position

    def restart(self) -> None:
        """Forgets everything that came."""
        if self._descriptor is not None:
            os.truncate(self._descriptor, 0)
        self._start()

    def finish(self) -> None:
        """Makes what was written survive a power cut, read-only."""
        if self._descriptor is not None:
            os.fchmod(self._descriptor, 0o444)
            os.fsync(self._descriptor)

    def close(self) -> None:
        """Closes the file, whatever became of it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
