"""Folders to and from a store: several files at once, every byte verified, the manifest last.

A folder in a store counts, as on a disk, when its manifest is there; whoever reads it compares every file with it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import BinaryIO

from workloads.errors import InputError, Preempted, Problem
from workloads.runtime import ENV_SCRATCH
from workloads.storage import manifest as manifests
from workloads.storage.atomic import fsync_directory, write_json
from workloads.storage.disk import check_space
from workloads.storage.manifest import MANIFEST_NAME, FileEntry, Manifest
from workloads.storage.objects import DamagedError, Store

WORKERS = 8
"""Files on their way at once; one connection to Cloud Storage carries some 100 MB/s."""
_CHUNK = 1 << 20


def push(folder: Path, store: Store, prefix: str, *, replace: bool = True, workers: int = WORKERS) -> Manifest:
    """Copies a committed folder into a store; what is there already with the same bytes is left.

    Args:
        replace: whether objects with other bytes may be replaced. Without it the store needs to permit no more
            than creation, and two that push the same bytes at once do not disturb one another.

    Raises:
        InputError: the folder has no manifest.
        DamagedError: a file is not what the manifest records; or the store has other bytes and ``replace`` is off.
    """
    recorded = manifests.read(folder)
    if recorded is None:
        raise InputError.of("The folder has no manifest: it is not whole.", "run the stage that makes it", file=folder)
    there = {each.key: each for each in store.under(prefix)}
    marker = f"{prefix}/{MANIFEST_NAME}"
    known = stored_manifest(store, prefix) if marker in there else None
    if known == recorded and not _absent(known, prefix, {key: each.size for key, each in there.items()}):
        return recorded
    if marker in there and known != recorded and replace:
        store.delete(marker)  # it does not hold while files are being replaced

    def send(entry: FileEntry) -> None:
        key = f"{prefix}/{entry.path}"
        present = there.get(key)
        if present is not None and present.size == entry.size and _has(store, key, present.sha256, entry):
            return
        if not store.upload(folder / entry.path, key, entry.sha256, if_absent=not replace):
            _check_same(store, key, entry)

    _each(send, recorded.files, workers)
    content = json.dumps(recorded.as_dict(), indent=2, ensure_ascii=False).encode()
    if not store.write(marker, content, if_absent=not replace) and stored_manifest(store, prefix) != recorded:
        raise _damaged(store, marker, "is of another folder")
    return recorded


def pull(
    store: Store,
    prefix: str,
    folder: Path,
    *,
    wanted: Callable[[str], bool] = lambda _: True,
    workers: int = WORKERS,
) -> Manifest:
    """Brings a folder from a store, and goes on where an earlier call was cut off.

    Args:
        wanted: which files to bring, by their path; the folder's manifest then lists those.

    Raises:
        InputError: the store has no such folder.
        DamagedError: an object is absent or its bytes are not those of the manifest.
        UnavailableError: the disk is too small.
    """
    recorded = stored_manifest(store, prefix)
    if recorded is None:
        raise InputError.of(
            f"The store has no {prefix}.", "run the stage that makes it", file=f"{store.url}/{prefix}/{MANIFEST_NAME}"
        )
    chosen = Manifest(tuple(entry for entry in recorded.files if wanted(entry.path)))
    missing = [entry for entry in chosen.files if not _is_whole(folder / entry.path, entry)]
    begun = sum(partial.stat().st_size for entry in missing if (partial := _partial(folder, entry)).is_file())
    check_space(folder, sum(entry.size for entry in missing) - begun, ENV_SCRATCH)
    folder.mkdir(parents=True, exist_ok=True)
    if missing:
        (folder / MANIFEST_NAME).unlink(missing_ok=True)
    _each(lambda entry: bring(store, f"{prefix}/{entry.path}", folder, entry), missing, workers)
    for each in {folder, *((folder / entry.path).parent for entry in missing)}:
        fsync_directory(each)
    write_json(folder / MANIFEST_NAME, chosen.as_dict())
    return chosen


def stored_manifest(store: Store, prefix: str) -> Manifest | None:
    """The manifest of a folder in a store, or None when there is none.

    Raises:
        DamagedError: it is no manifest.
    """
    content = store.read(f"{prefix}/{MANIFEST_NAME}")
    if content is None:
        return None
    try:
        return Manifest.parse(json.loads(content))
    except ValueError as error:
        raise _damaged(store, f"{prefix}/{MANIFEST_NAME}", f"cannot be read ({error})") from error


def is_whole(store: Store, prefix: str) -> bool:
    """Whether a folder in a store has its manifest and every file of it with its size; nothing is downloaded."""
    try:
        recorded = stored_manifest(store, prefix)
    except DamagedError:
        return False
    return recorded is not None and not _absent(recorded, prefix, {each.key: each.size for each in store.under(prefix)})


def _absent(recorded: Manifest, prefix: str, sizes: dict[str, int]) -> list[str]:
    return [entry.path for entry in recorded.files if sizes.get(f"{prefix}/{entry.path}") != entry.size]


def _has(store: Store, key: str, sha256: str | None, entry: FileEntry) -> bool:
    if sha256 is None:
        found = store.find(key)
        sha256 = found.sha256 if found else None
    return sha256 == entry.sha256


def _check_same(store: Store, key: str, entry: FileEntry) -> None:
    """Somebody was faster: that is as good, with the same bytes."""
    if not _has(store, key, None, entry):
        raise _damaged(store, key, "has other bytes than the same file here")


def _is_whole(path: Path, entry: FileEntry) -> bool:
    return path.is_file() and path.stat().st_size == entry.size and manifests.sha256_file(path) == entry.sha256


def _partial(folder: Path, entry: FileEntry) -> Path:
    """Where a file grows; hidden, so that no manifest lists it."""
    target = folder / entry.path
    return target.with_name(f".{target.name}.{entry.sha256[:8]}.partial")


def bring(store: Store, key: str, folder: Path, entry: FileEntry) -> None:
    """Brings one object as a file of ``folder``, and goes on where an earlier call was cut off.

    Raises:
        DamagedError: the object is absent or its bytes are not those of the entry.
    """
    partial = _partial(folder, entry)
    partial.parent.mkdir(parents=True, exist_ok=True)
    resumed = partial.is_file() and partial.stat().st_size > 0
    reason = _continue(store, key, partial, entry)
    if reason is not None and resumed:  # what was there from an earlier attempt may be the fault
        reason = _continue(store, key, partial, entry)
    if reason is not None:
        raise _damaged(store, key, reason)
    partial.replace(folder / entry.path)


def _continue(store: Store, key: str, partial: Path, entry: FileEntry) -> str | None:
    """Completes ``partial``, or removes it and says why it cannot be the file."""
    with partial.open("a+b") as stream:
        hashing = _HashingWriter(stream)
        offset = hashing.take_in(partial)
        found = offset >= entry.size or store.download(key, hashing, offset)
        stream.flush()
        os.fsync(stream.fileno())
        size = stream.tell()
    if not found:
        reason = "is absent"
    elif size != entry.size:
        reason = f"has {size:,} bytes, not {entry.size:,}"
    elif hashing.sha256 != entry.sha256:
        reason = "does not have the recorded SHA-256"
    else:
        return None
    partial.unlink()
    return reason


class _HashingWriter:
    """Appends to a file and hashes what it appends."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._hasher = hashlib.sha256()

    @property
    def sha256(self) -> str:
        return self._hasher.hexdigest()

    def take_in(self, path: Path) -> int:
        """Hashes what the file holds already; its size in bytes."""
        size = 0
        with path.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                self._hasher.update(chunk)
                size += len(chunk)
        return size

    def write(self, content: bytes, /) -> int:
        self._hasher.update(content)
        return self._stream.write(content)


def _damaged(store: Store, key: str, reason: str) -> DamagedError:
    fix = "remove the folder that holds it from the store; the stage that made it then makes it again"
    return DamagedError(Problem(f"The object {reason}.", fix, f"{store.url}/{key}", code="damaged"))


def _each(work: Callable[[FileEntry], None], entries: Sequence[FileEntry], workers: int) -> None:
    """Does the work for all entries, several at once; the first failure ends it."""
    pool = ThreadPoolExecutor(max_workers=max(1, min(workers, len(entries))), thread_name_prefix="transfer")
    try:
        futures: list[Future[None]] = [pool.submit(work, entry) for entry in entries]
        done, _ = wait(futures, return_when=FIRST_EXCEPTION)
        for future in done:
            future.result()
    except Preempted:
        pool.shutdown(wait=False, cancel_futures=True)  # the grace is short: the process ends with its threads
        raise
    except BaseException:
        pool.shutdown(cancel_futures=True)
        raise
    pool.shutdown()
