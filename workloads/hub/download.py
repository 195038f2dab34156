"""Files over HTTP to a folder: several at once, continued where they broke off, and verified.

A file grows as ``.NAME.DIGEST8.partial`` beside its place and is hashed as it arrives, so that nothing is read twice.
What an earlier attempt left is hashed again, and asked for from there on with Range and If-Range; a server that
answers with the whole file, or with another one, makes it start anew. Only the right digest gives the file its name.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from workloads.errors import Problem, UnavailableError
from workloads.hub.answers import Answer
from workloads.hub.growing import Growing, RemoteFile, Verifier, check_paths
from workloads.hub.http_errors import StatusError, WrongAnswerError, WrongLengthError, place_of
from workloads.hub.interface import Progress
from workloads.hub.pieces import PIECE, in_order
from workloads.hub.transport import Transport
from workloads.storage.atomic import fsync_directory
from workloads.storage.disk import check_space
from workloads.storage.manifest import MANIFEST_NAME, FileEntry

T = TypeVar("T")
WORKERS = 6
"""Connections at once."""
_BUFFER = 1 << 20
_LARGE = 8 * PIECE
"""Bytes from which on a file is worth several connections."""
_STARTS = 3
"""How often a file is begun before it is given up."""
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_WHOLE, _PART, _GONE, _UNSATISFIABLE = 200, 206, 404, 416


class _NoPiecesError(Exception):
    """The server answers a range with something else."""


class _StoppedError(Exception):
    """Another file failed, so this one is not needed any more."""


@dataclass(frozen=True, slots=True)
class Downloads:
    """Brings files with one transport; ``workers`` connections at once."""

    transport: Transport
    workers: int = WORKERS

    def bring(self, files: Sequence[RemoteFile], folder: Path, setting: str, told: Progress) -> tuple[FileEntry, ...]:
        """Brings what ``folder`` lacks; every file is then there and right. Sorted by path.

        Args:
            setting: the variable that moves the folder, for the error when its disk is too small.

        Raises:
            TuneryError: a file cannot be had, or never is what it should be.
        """
        check_paths(file.path for file in files)
        there = {file.path: entry for file in files if (entry := _present(folder / file.path, file)) is not None}
        wanted = [file for file in files if file.path not in there]
        for entry in there.values():
            told(entry.size)
        check_space(folder, sum(max(0, file.size - _size(_partial(folder, file))) for file in wanted), setting)
        if wanted:  # what the folder's manifest says does not hold while files are being replaced
            (folder / MANIFEST_NAME).unlink(missing_ok=True)

        def one(file: RemoteFile, connections: int, told: Progress) -> FileEntry:
            target, partial = folder / file.path, _partial(folder, file)
            partial.parent.mkdir(parents=True, exist_ok=True)
            try:
                entry = self._grow(Growing(file, partial, told), connections)
            except UnavailableError as error:
                if is_wrong(error):
                    partial.unlink(missing_ok=True)
                raise
            partial.replace(target)
            fsync_directory(target.parent)
            return entry

        return tuple(sorted([*there.values(), *self._each(one, wanted, told)], key=lambda entry: entry.path))

    def check(self, files: Sequence[RemoteFile], told: Progress) -> list[FileEntry | UnavailableError]:
        """Reads files and keeps nothing; for one that has the wrong bytes, or is not there, its error."""

        def one(file: RemoteFile, connections: int, told: Progress) -> FileEntry | UnavailableError:
            try:
                return self._grow(Growing(file, None, told), connections)
            except UnavailableError as error:
                if not is_wrong(error):
                    raise
                return error

        return self._each(one, files, told)

    def _each(
        self, work: Callable[[RemoteFile, int, Progress], T], files: Sequence[RemoteFile], told: Progress
    ) -> list[T]:
        """Does ``work`` for every file, the large ones first, so that none is left to the end alone."""
        stopped, lock = threading.Event(), threading.Lock()

        def tell(count: int) -> None:
            if stopped.is_set():
                raise _StoppedError
            with lock:
                told(count)

        largest_first = sorted(files, key=lambda file: -file.size)
        large = sum(file.size >= _LARGE for file in files)
        with ThreadPoolExecutor(self.workers, thread_name_prefix="download") as pool:
            shares = [max(1, self.workers // large) if file.size >= _LARGE else 1 for file in largest_first]
            under_way = [
                pool.submit(work, file, share, tell) for file, share in zip(largest_first, shares, strict=True)
            ]
            try:
                return [each.result() for each in under_way]
            except BaseException:
                stopped.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _grow(self, growing: Growing, connections: int) -> FileEntry:
        """Brings the rest of a file, again from its start when it is not what it should be."""
        file = growing.file
        try:
            for _ in range(_STARTS):
                self.transport.persist(lambda: self._continue(growing, connections), file.url, lambda: growing.position)
                if (entry := growing.verifier.entry) is not None:
                    growing.finish()
                    return entry
                growing.restart()
        finally:
            growing.close()
        raise UnavailableError(
            Problem(
                f"{place_of(file.url)} does not have the digest {file.digest} that the hub gives it.",
                "tell whoever runs Artifactory: its cache of this file is damaged, or somebody changes what is sent",
                file.path,
                code="wrong-bytes",
            )
        )

    def _continue(self, growing: Growing, connections: int) -> None:
        file = growing.file
        growing.told(0)  # an attempt that nobody waits for any more ends here
        if connections > 1 and file.size - growing.position > PIECE:
            try:
                for piece in in_order(
                    lambda start, view: self._piece(file, start, view), growing.position, file.size, connections
                ):
                    growing.append(piece)
            except _NoPiecesError:
                growing.restart()
        start = growing.position
        if start == file.size:
            return
        try:
            with self._ask(file, start, file.size) as answer:
                if start and answer.status == _WHOLE:
                    growing.restart()
                _receive(answer, growing.append)
        except StatusError as error:
            if error.status != _UNSATISFIABLE:
                raise
            growing.restart()
            raise WrongAnswerError(f"{place_of(file.url)} has no byte {start:,} of {file.size:,}") from None
        if growing.position != file.size:
            raise WrongLengthError(f"{place_of(file.url)} sends {growing.position:,} bytes, and not {file.size:,}")

    def _piece(self, file: RemoteFile, start: int, view: memoryview) -> None:
        """Fills ``view`` with the bytes of a file from ``start`` on."""
        filled = 0

        def take(data: memoryview) -> None:
            nonlocal filled
            view[filled : filled + len(data)] = data
            filled += len(data)

        def rest() -> None:
            if filled < len(view):
                with self._ask(file, start + filled, start + len(view)) as answer:
                    if answer.status == _WHOLE:
                        raise _NoPiecesError
                    _receive(answer, take)

        self.transport.persist(rest, file.url, lambda: filled)

    @contextmanager
    def _ask(self, file: RemoteFile, start: int, stop: int) -> Iterator[Answer]:
        """Asks for a part of a file, and makes sure that it is this part, or the whole file, that comes."""
        headers = {} if (start, stop) == (0, file.size) else {"Range": f"bytes={start}-{stop - 1}"}
        unchanged = {"If-Range": file.etag} if headers and file.etag and file.etag.startswith('"') else {}
        with _there(file), self.transport.open("GET", file.url, headers=headers, headers_home=unchanged) as answer:
            size = stop - start
            if answer.status == _PART:
                found = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
                if found is None or (int(found[1]), int(found[2])) != (start, stop - 1):
                    raise WrongAnswerError(f"{place_of(file.url)} sends another part than bytes {start}-{stop - 1}")
                if found[3] not in ("*", str(file.size)):
                    raise WrongLengthError(f"{place_of(file.url)} has {found[3]} bytes, and not {file.size}")
            elif answer.status == _WHOLE:
                size = file.size
            else:
                raise WrongAnswerError(f"{place_of(file.url)} answers {answer.status} to a download")
            if answer.left not in (None, size):
                raise WrongLengthError(f"{place_of(file.url)} announces {answer.left:,} bytes, and not {size:,}")
            yield answer


@contextmanager
def _there(file: RemoteFile) -> Iterator[None]:
    """Tells a file that is gone, though its model has it, from an address that is wrong."""
    try:
        yield
    except StatusError as error:
        if error.status != _GONE:
            raise
        message, fix = f"{place_of(file.url)} is missing: {error}.", "tell whoever runs Artifactory"
        raise UnavailableError(Problem(message, fix, file.path, code="wrong-bytes")) from None


def is_wrong(error: UnavailableError) -> bool:
    """Whether the bytes themselves were wrong or gone, and not the way to them."""
    return any(problem.code == "wrong-bytes" for problem in error.problems)


def _receive(answer: Answer, take: Callable[[memoryview], None]) -> None:
    buffer = memoryview(bytearray(_BUFFER))
    while count := answer.read_into(buffer):
        take(buffer[:count])


def _partial(folder: Path, file: RemoteFile) -> Path:
    target = folder / file.path
    return target.with_name(f".{target.name}.{file.digest[:8]}.partial")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _present(path: Path, file: RemoteFile) -> FileEntry | None:
    """The entry of a file that is there and right."""
    if path.is_symlink() or not path.is_file() or path.stat().st_size != file.size:
        return None
    verifier = Verifier(file)
    buffer = memoryview(bytearray(_BUFFER))
    with path.open("rb", buffering=0) as stream:
        while count := stream.readinto(buffer):
            verifier.update(buffer[:count])
    return verifier.entry
