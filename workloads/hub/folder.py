"""Which files of a folder become a model version.

Hidden files and folders are left out: they are tools' own (``.git``, ``.cache``, ``.gitattributes``) and no model
needs them. Symbolic links are refused rather than followed, since what they point at is not the folder's.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from workloads.errors import InputError, Problem
from workloads.storage import manifest
from workloads.storage.manifest import MANIFEST_NAME, FileEntry, Manifest


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A file of a model folder: POSIX path relative to it, and bytes."""

    path: str
    size: int


def model_files(folder: Path) -> list[ModelFile]:
    """The files that a version made of ``folder`` has, sorted by path.

    Raises:
        InputError: there is no such folder, it has no files, or holds what is refused; all such things at once.
    """
    fix = "name the folder that holds the model's files"
    if not folder.is_dir():
        raise InputError.of("There is no such folder.", fix, file=folder)
    found = visible_files(folder)
    if not found:
        raise InputError.of("The folder has no files.", fix, file=folder)
    return found


def visible_files(folder: Path) -> list[ModelFile]:
    """The files of an existing folder, hidden ones and the manifest left out, sorted by path.

    Raises:
        InputError: it holds something that is refused; all such things at once.
    """
    problems: list[Problem] = []
    found = sorted(_walk(folder, "", problems), key=lambda each: each.path)
    if problems:
        raise InputError(problems)
    return found


def only_files_of(reference: str, paths: Iterable[str], folder: Path) -> set[str]:
    """The files that a folder has already of the version ``reference``; none when it does not exist.

    Args:
        paths: the version's files.

    Raises:
        InputError: it has others too, or holds something that is refused.
    """
    present = {file.path for file in visible_files(folder)} if folder.exists() else set()
    if strangers := present - set(paths):
        raise InputError.of(
            f"The folder has files that {reference} has not: {', '.join(sorted(strangers))}.",
            "fetch into a folder that is empty",
            file=folder,
        )
    return present


def _walk(folder: Path, prefix: str, problems: list[Problem]) -> Iterator[ModelFile]:
    for path in folder.iterdir():
        name = path.name
        if name.startswith(".") or name == MANIFEST_NAME:
            continue
        status = path.lstat()
        if stat.S_ISLNK(status.st_mode):
            fix = "put the file itself there; `cp -rL FOLDER COPY` makes a copy of the folder without links"
            problems.append(Problem("It is a symbolic link.", fix, str(path)))
        elif not name.isprintable() or "\\" in name:
            problems.append(Problem(f"The name {name!r} is refused.", "rename it", ascii(str(folder))))
        elif stat.S_ISDIR(status.st_mode):
            yield from _walk(path, f"{prefix}{name}/", problems)
        elif stat.S_ISREG(status.st_mode):
            yield ModelFile(prefix + name, status.st_size)
        else:
            problems.append(Problem("It is neither a file nor a folder.", "remove it", str(path)))


def hashed(folder: Path, on_bytes: Callable[[int], None] | None = None) -> Manifest:
    """The manifest of a model folder, every file hashed.

    Raises:
        InputError: as :func:`model_files`, or the folder is not what the manifest inside it records.
    """
    entries = tuple(
        FileEntry(file.path, file.size, manifest.sha256_file(folder / file.path, on_bytes))
        for file in model_files(folder)
    )
    recorded = manifest.read(folder)
    if recorded is not None and set(recorded.files) != set(entries):
        changed = sorted({entry.path for entry in set(recorded.files) ^ set(entries)})
        raise InputError.of(
            f"The folder is not what its manifest records: {', '.join(changed)}.",
            f"make it again, or remove {MANIFEST_NAME} from it when the change is meant",
            file=folder,
        )
    return Manifest(entries)
