"""Moving model bytes between folders of this machine."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from workloads.hub.interface import Progress
from workloads.storage.atomic import fsync_directory

_CHUNK = 1 << 20


class WrongBytesError(Exception):
    """What was copied does not have the SHA-256 it should have."""


def place_file(source: Path, target: Path, sha256: str, *, partial: Path, on_bytes: Progress | None = None) -> None:
    """Copies ``source`` to ``target``, read-only, which holds the right bytes or is as it was before.

    Args:
        sha256: what the copy must have.
        partial: where the copy grows, on the same disk as ``target``.

    Raises:
        WrongBytesError: ``source`` has another SHA-256.
    """
    for folder in {partial.parent, target.parent}:
        folder.mkdir(parents=True, exist_ok=True)
    hasher = hashlib.sha256()
    try:
        with source.open("rb") as reader, partial.open("wb") as writer:
            while chunk := reader.read(_CHUNK):
                hasher.update(chunk)
                writer.write(chunk)
                if on_bytes is not None:
                    on_bytes(len(chunk))
            writer.flush()
            os.fchmod(writer.fileno(), 0o444)
            os.fsync(writer.fileno())
        if (found := hasher.hexdigest()) == sha256:
            partial.replace(target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    if found != sha256:
        partial.unlink()
        raise WrongBytesError(str(source))
    fsync_directory(target.parent)
