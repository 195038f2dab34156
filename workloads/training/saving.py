"""Checkpoints behind the training's back.

While the training stands still, the trainer writes small files into the page cache, and large ones are copied in the
host's memory (:mod:`workloads.training.snapshot`). What takes time goes on in the background: writing the copies,
hashing, flushing to the disk, the manifest, and the upload. One commit is under way at a time, so a disk that is too
slow slows the training down instead of falling behind.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Condition, Thread
from typing import TYPE_CHECKING

from workloads.events import EventLog
from workloads.storage import manifest
from workloads.training.checkpoints import Retention, retain, seal

if TYPE_CHECKING:
    from workloads.training.snapshot import Snapshots

OnCheckpoint = Callable[[Path, int], None]
"""Hears of each committed checkpoint: its folder and step."""
Held = Callable[[], Collection[Path]]
"""The checkpoint folders that somebody needs now."""
Clock = Callable[[], float]


class Handover:
    """Passes committed checkpoints on, one at a time and in the background.

    While one is under way, only the newest of the others waits, and those that stay for good.
    """

    def __init__(self, tell: OnCheckpoint, retention: Retention, clock: Clock = time.monotonic) -> None:
        self._tell = tell
        self._retention = retention
        self._clock = clock
        self._changed = Condition()
        self._queue: list[tuple[Path, int]] = []
        self._working = False
        self._error: Exception | None = None
        self.seconds = 0.0
        """The longest so far."""

    @property
    def held(self) -> set[Path]:
        """The folders that it needs still."""
        with self._changed:
            return {folder for folder, _ in self._queue}

    def put(self, folder: Path, step: int) -> None:
        """Takes the newest checkpoint; raises what was raised by one before."""
        self.check()
        with self._changed:
            begun = self._queue[: 1 if self._working else 0]
            waiting = self._queue[len(begun) :]
            lasting = [each for each in waiting if self._retention.is_lasting(each[1])]
            self._queue = [*begun, *lasting, (folder, step)]
            if not self._working:
                self._working = True
                # A daemon: an upload that hangs must not keep the process from ending.
                Thread(target=self._work, name="checkpoint-handover", daemon=True).start()

    def wait(self, seconds: float | None) -> bool:
        """Whether nothing is under way any more, after at most that long; without a limit for None."""
        with self._changed:
            done = self._changed.wait_for(lambda: not self._working, seconds)
        self.check()
        return done

    def check(self) -> None:
        """Raises what passing on has raised."""
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        while True:
            folder, step = self._queue[0]
            started = self._clock()
            try:
                self._tell(folder, step)
            except Exception as error:
                self._error = error
            with self._changed:
                self.seconds = max(self.seconds, self._clock() - started)
                del self._queue[0]
                if not self._queue or self._error is not None:
                    self._working = False
                    self._changed.notify_all()
                    return


class Saver:
    """Commits checkpoints in the background, passes them on, and removes those that need not stay."""

    def __init__(
        self,
        events: EventLog,
        retention: Retention,
        tell: OnCheckpoint | None = None,
        held: Held = frozenset,
        clock: Clock = time.monotonic,
        snapshots: Snapshots | None = None,
    ) -> None:
        """``tell`` hears of each committed checkpoint; what is ``held`` is not removed.

        Of ``snapshots`` a checkpoint's are written before it is committed.
        """
        self._snapshots = snapshots
        self._held = held
        self._events = events
        self._retention = retention
        self._clock = clock
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint-commit")
        self._commit: Future[None] | None = None
        self._handover = Handover(tell, retention, clock) if tell is not None else None
        self._longest = self._began = 0.0

    @property
    def committing(self) -> bool:
        """Whether a commit is under way."""
        return self._commit is not None and not self._commit.done()

    @property
    def seconds(self) -> float:
        """How long it has taken at the most until a checkpoint is committed and passed on."""
        longest = max(self._longest, self._clock() - self._began if self.committing else 0.0)
        return longest + (self._handover.seconds if self._handover is not None else 0.0)

    def begin(self, folder: Path, step: int, began: float, best: Path | None = None) -> None:
        """Takes a checkpoint whose files are written or copied, when the one before it is committed.

        Args:
            began: when the training began to stand still for it.
            best: a checkpoint that the trainer wants to load at the end.

        Raises:
            OSError: the one before it could not be committed.
        """
        self.wait_for_commit()
        copied = self._snapshots is not None and self._snapshots.has(folder)
        if not copied:
            seal(folder)
        stalled = self._clock() - began
        self._began = began
        self._commit = self._thread.submit(self._run, folder, step, began, stalled, best, copied)

    def _run(self, folder: Path, step: int, began: float, stalled: float, best: Path | None, copied: bool) -> None:
        if copied and self._snapshots is not None:
            self._snapshots.wait()
            seal(folder)
        committed = manifest.commit(folder)
        took = self._clock() - began
        self._longest = max(self._longest, took)
        self._events.append(
            "checkpoint_saved",
            step=step,
            seconds=round(stalled, 3),
            committed_after=round(took, 3),
            bytes=committed.size,
        )
        held = {*self._held()} if best is None else {*self._held(), best}
        if self._handover is not None:
            self._handover.put(folder, step)
            held |= self._handover.held
        retain(folder.parent, self._retention, held)

    def write_copies(self) -> None:
        """Waits until what was copied is written, for a rank that commits nothing; raises OSError when it can't be."""
        if self._snapshots is not None:
            self._snapshots.wait()

    def check(self) -> None:
        """Raises what the background has raised, if something went wrong there."""
        if self._commit is not None and self._commit.done():
            self._commit.result()

    def wait_for_commit(self) -> None:
        """Waits until what was begun counts; raises OSError when it could not be committed."""
        if self._commit is not None:
            self._commit.result()

    def settle(self, seconds: float | None = None) -> None:
        """Waits until what was begun counts, and at most so long until it is passed on; without a limit for None."""
        self.wait_for_commit()
        if self._handover is not None:
            self._handover.wait(seconds)

    def close(self) -> None:
        """Ends the threads when the commit is done, well or not."""
        if self._snapshots is not None:
            self._snapshots.close()
        self._thread.shutdown(wait=True)
