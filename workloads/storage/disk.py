"""Saying clearly why the disk of this machine failed, and failing before it is full."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from workloads.errors import InputError, TuneryError, UnavailableError

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT}
_NOT_ALLOWED = {errno.EACCES, errno.EPERM, errno.EROFS}
_NOT_A_FOLDER = {errno.ENOTDIR, errno.EEXIST}


@contextmanager
def disk_errors(place: Path, setting: str) -> Iterator[None]:
    """Turns an OSError about ``place`` into an error with a fix; ``setting`` is the variable that moves the place."""
    try:
        yield
    except OSError as error:
        raise _explained(error, place, setting) from error


def _explained(error: OSError, place: Path, setting: str) -> TuneryError:
    file = str(error.filename or place)
    elsewhere = f"or set {setting} to another folder"
    if isinstance(error, TimeoutError):
        return UnavailableError.of(
            "Another tunery process holds the lock.", "try again when it has finished", file=place
        )
    if error.errno in _NO_SPACE:
        return UnavailableError.of("The disk is full.", f"free some space, {elsewhere}, and run it again", file=file)
    if error.errno in _NOT_ALLOWED:
        return InputError.of(
            f"Access is refused: {error.strerror}.", f"give yourself access to {file}, {elsewhere}", file=file
        )
    if error.errno in _NOT_A_FOLDER:
        return InputError.of("It is not a folder.", f"remove or rename it, {elsewhere}", file=file)
    return UnavailableError.of(f"The disk fails: {error.strerror or error}.", f"run it again, {elsewhere}", file=file)


def check_space(folder: Path, needed: int, setting: str) -> None:
    """Raises UnavailableError when the disk under ``folder`` has not ``needed`` bytes free."""
    existing = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    free = shutil.disk_usage(existing).free
    if needed > free:
        raise UnavailableError.of(
            f"The disk is too small: {needed:,} bytes are needed and {free:,} are free.",
            f"free {needed - free:,} bytes, or set {setting} to a folder on a larger disk, and run it again",
            file=folder,
        )
