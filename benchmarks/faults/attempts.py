"""One attempt at a training: a process forked from one that has imported the training stack already."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.faults.clock import CLOCK
from benchmarks.faults.strikes import on_step

LIMIT_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Attempt:
    """How a process ended.

    Attributes:
        code: its exit code; of a signal its number, negative; None when it had to be ended from outside.
        seconds: of wall time.
    """

    code: int | None
    seconds: float

    @property
    def ended(self) -> str:
        """The code in words."""
        if self.code is None:
            return "hung"
        return signal.Signals(-self.code).name if self.code < 0 else str(self.code)


class Forked:
    """A forked process that works in ``folder``; what it prints goes to a log beside it."""

    def __init__(
        self,
        work: Callable[[], int],
        folder: Path,
        strike: Callable[[Path], None] | None,
        environ: Mapping[str, str],
        name: str | None = None,
    ) -> None:
        self._steps = folder.with_name(f"{name or folder.name}.steps")
        self._steps.touch()
        self._begun = len(self._lines())
        self._log = folder.with_name(f"{folder.name}.log")
        self._started = time.perf_counter()
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            self._be(work, folder, strike, environ)

    def _be(
        self, work: Callable[[], int], folder: Path, strike: Callable[[Path], None] | None, environ: Mapping[str, str]
    ) -> None:
        code = 1
        try:
            os.setsid()
            log = os.open(self._log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            os.dup2(log, 1)
            os.dup2(log, 2)
            os.environ.update(environ)
            if strike is not None:
                strike(folder)

            on_step(self._note)
            code = work()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def _note(self, step: int, loss: object) -> object:
        if os.environ.get("RANK", "0") == "0":
            steps = os.open(self._steps, os.O_WRONLY | os.O_APPEND)
            os.write(steps, f"{step}\n".encode())
            os.close(steps)
        return loss

    def wait(self, limit: float = LIMIT_SECONDS, look: Callable[[], None] = lambda: None) -> Attempt:
        """Waits for its end, which is brought about after ``limit`` seconds, and calls ``look`` meanwhile."""
        deadline = time.perf_counter() + limit
        pause = CLOCK.sleep
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            seconds = time.perf_counter() - self._started
            if pid:
                return Attempt(os.waitstatus_to_exitcode(status), seconds)
            if time.perf_counter() > deadline:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                return Attempt(None, seconds)
            look()
            pause(0.01)

    def steps(self) -> tuple[int, ...]:
        """The steps that were computed since its beginning, by it or by what an earlier attempt left behind."""
        return tuple(self._lines()[self._begun :])

    def _lines(self) -> list[int]:
        return [int(line) for line in self._steps.read_text().split()]


def all_steps(folder: Path) -> list[int]:
    """The steps that all attempts in ``folder`` computed."""
    files = sorted(folder.parent.glob(f"{folder.name}.*steps"))
    return [int(line) for file in files for line in file.read_text().split()]
