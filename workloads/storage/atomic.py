"""Writing a file so that a reader sees the old bytes or the new ones, never a mixture."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any


def fsync_directory(folder: Path) -> None:
    """Makes renames inside ``folder`` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Replaces ``path`` atomically.

    Args:
        durable: flush to the disk before the rename; progress files, rewritten every second, do without.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            if durable:
                stream.flush()
                os.fsync(stream.fileno())
        Path(name).chmod(0o644)  # mkstemp makes it private, but other users of the run may read
        os.replace(name, path)  # noqa: PTH105 the one rename that tests of torn writes take away
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    if durable:
        fsync_directory(path.parent)


def write_text(path: Path, text: str, *, durable: bool = True) -> None:
    """Replaces ``path`` atomically with UTF-8 text."""
    write_bytes(path, text.encode(), durable=durable)


def write_json(path: Path, value: Any, *, durable: bool = True) -> None:
    """Replaces ``path`` atomically with JSON that a person can read."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n", durable=durable)


def read_json(path: Path) -> Any:
    """The JSON value in ``path``, or None when the file is absent or does not parse."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
