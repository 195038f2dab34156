"""Room in the cache: what is in use stays, and of the rest what was not used for longest goes first.

A process that uses a copy holds a shared lock on its folder for as long as it lives. The kernel lets go of it however
the process ends, so no copy is held by a run that is gone, and none is taken from a run that is there.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import get_args

from workloads.errors import InputError, UnavailableError
from workloads.hub.interface import Kind
from workloads.runtime import ENV_CACHE_LIMIT

_log = logging.getLogger(__name__)
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B?", re.IGNORECASE)
_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}
_GOING = ".going-"
"""Begins the names of copies that are being removed."""
_held: dict[Path, int] = {}
"""Folder -> the descriptor that holds it, until this process ends."""


def cache_limit(environ: Mapping[str, str] = os.environ) -> int | None:
    """The bytes that the cache may take, from ``TUNERY_CACHE_LIMIT`` (``200GB``, ``1.5TiB``); None for no limit.

    Raises:
        InputError: the variable is no size.
    """
    text = environ.get(ENV_CACHE_LIMIT, "").strip()
    if not text:
        return None
    found = _SIZE.fullmatch(text)
    if found is None:
        raise InputError.of(f"{ENV_CACHE_LIMIT} is {text!r}, which is no size.", "write it as 200GB or 1.5TiB")
    return int(float(found[1]) * (1024 if found[3] else 1000) ** _POWERS[found[2].upper()])


def hold(folder: Path) -> bool:
    """Keeps a copy from being removed while this process lives, and notes that it was used; False when it is gone."""
    held = _held.get(folder)
    if held is not None and _is(folder, held):
        return True
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return False
    with suppress(OSError):  # a file system without locks has nothing removed from it either
        fcntl.flock(descriptor, fcntl.LOCK_SH)
    if not _is(folder, descriptor):  # removed while the lock was waited for
        os.close(descriptor)
        return False
    with suppress(OSError):  # a cache that may not be written has nothing removed from it either
        os.utime(folder)
    if held is not None:
        os.close(held)
    _held[folder] = descriptor
    return True


def copies(cache_root: Path) -> list[Path]:
    """The folders of all copies of models and data sets in a cache."""
    return [folder for kind in get_args(Kind) for folder in (cache_root / kind).glob("[!.]*") if folder.is_dir()]


def make_room(cache_root: Path, needed: int, keep: Path, limit: int | None) -> None:
    """Removes copies from the cache until ``needed`` more bytes are within ``limit``.

    Args:
        keep: the copy that the room is for.

    Raises:
        UnavailableError: the rest is in use.
    """
    for leftover in cache_root.glob(f"*/{_GOING}*"):
        shutil.rmtree(leftover, ignore_errors=True)
    if limit is None:
        return
    sizes = {folder: size_of(folder) for folder in copies(cache_root) if folder != keep}
    total = sum(sizes.values()) + needed
    for folder in sorted(sizes, key=last_used):
        if total <= limit:
            return
        if remove(folder):
            _log.info(
                "Removed %s from the cache, which had %d bytes and was not used for longest.", folder, sizes[folder]
            )
            total -= sizes[folder]
    if total > limit:
        raise UnavailableError.of(
            f"{needed:,} bytes are to be fetched, and with what is in use that is {total:,}: the cache may take "
            f"{limit:,}.",
            f"raise {ENV_CACHE_LIMIT}, or wait until other runs have ended",
            file=cache_root,
        )


def remove(folder: Path) -> bool:
    """Removes a copy that nobody uses or fetches; whether it did."""
    from filelock import FileLock, Timeout

    try:
        with FileLock(folder.with_name(f".{folder.name}.lock"), timeout=0), _alone(folder):
            going = folder.with_name(f"{_GOING}{folder.name}")
            folder.replace(going)
    except (Timeout, OSError):
        return False
    shutil.rmtree(going, ignore_errors=True)
    return True


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Holds a folder that nobody else holds; raises OSError when somebody does."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _is(folder: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(folder.stat(), os.fstat(descriptor))
    except OSError:
        return False


def size_of(folder: Path) -> int:
    """Bytes of all files of a copy."""
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):  # a file that is renamed just now
                total += Path(path, name).lstat().st_size
    return total


def last_used(folder: Path) -> float:
    """When a copy was last held, in seconds since 1970; 0 when it is gone."""
    try:
        return folder.stat().st_mtime
    except OSError:
        return 0.0
