"""Runs a run's stages as one process on this machine, watches it, and passes on what it says.

The parent imports nothing heavy: while a training runs it needs some tens of megabytes.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from workloads.errors import ExitCode, InputError, Preempted, Problem, TuneryError, UnavailableError, did_you_mean
from workloads.events import read_events
from workloads.runtime import OFFLINE, RunPaths, runs_dir
from workloads.storage.atomic import read_json
from workloads.training.signals import ENV_PARENT
from workloads.training.world import World

Watcher = Callable[[dict[str, Any]], None]
"""Hears each event of the run, and ``{"event": "progress", ...}`` whenever progress.json changes."""

_POLL_SECONDS = 0.1
_GRACE_SECONDS = 30.0


class Execution:
    """One process that works on a run."""

    def __init__(self, paths: RunPaths, world: World | None = None, module: str = "workloads.stages") -> None:
        """Starts it; ``world`` says with how many processes it trains, ``module`` what runs.

        Raises:
            UnavailableError: the log cannot be written.
        """
        self.paths = paths
        self._events_offset = paths.events.stat().st_size if paths.events.exists() else 0
        self._progress = read_json(paths.progress)  # what an earlier process wrote is no news
        self._failure: list[dict[str, Any]] = []
        try:
            paths.log.parent.mkdir(parents=True, exist_ok=True)
            log = paths.log.open("ab")
        except OSError as error:
            raise UnavailableError.of(
                f"The run directory cannot be written: {error.strerror}.",
                "make it writable for you, and free some disk space if there is none",
                file=paths.root,
            ) from error
        with log:
            self._log_start = log.tell()
            # A session of its own: Ctrl-C in the terminal reaches the parent alone, which asks politely.
            self.process = subprocess.Popen(
                [sys.executable, "-m", module, str(paths.root)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=worker_environment({**os.environ, **(world.as_environment() if world else {})}),
                start_new_session=True,
            )

    def stop(self) -> None:
        """Asks the process to save and leave."""
        self.process.terminate()

    def wait(self, watch: Watcher) -> None:
        """Waits for the process to end and tells ``watch`` what happens meanwhile.

        Raises:
            TuneryError: as the stage that failed explained it.
        """
        with self._forward_signals():
            while True:
                ended = self._poll()
                self._tell(watch)
                if ended:
                    break
        self._raise_for(self.process.returncode)

    def _poll(self) -> bool:
        try:
            self.process.wait(_POLL_SECONDS)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _tell(self, watch: Watcher) -> None:
        progress = read_json(self.paths.progress)
        if progress is not None and progress != self._progress:
            self._progress = progress
            watch({"event": "progress", **progress})
        events, self._events_offset = read_events(self.paths.events, self._events_offset)
        for event in events:
            if event["event"] == "stage_failed":
                self._failure = event.get("problems", [])
            watch(event)

    @contextmanager
    def _forward_signals(self) -> Iterator[None]:
        deadline: list[float] = []

        def forward(_number: int, _frame: FrameType | None) -> None:
            if deadline and time.monotonic() > deadline[0]:
                self.process.kill()
            elif not deadline:
                deadline.append(time.monotonic() + _GRACE_SECONDS)
                self.process.terminate()

        before = {number: signal.signal(number, forward) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _raise_for(self, code: int) -> None:
        if code == ExitCode.OK:
            return
        problems = [Problem(**each) for each in self._failure] or [self._unexplained(code)]
        kinds = {ExitCode.INPUT: InputError, ExitCode.UNAVAILABLE: UnavailableError, ExitCode.PREEMPTED: Preempted}
        raise kinds.get(ExitCode(code), TuneryError)(problems) if code in set(ExitCode) else TuneryError(problems)

    def _unexplained(self, code: int) -> Problem:
        """What to say when the process left no event: it was stopped, killed, or failed before its first stage."""
        again = f"run it again with: tunery run --resume {self.paths.root.name}"
        if code == ExitCode.PREEMPTED:
            return Problem("The run was stopped; nothing that was saved is lost.", again, code="preempted")
        if code < 0:
            name = signal.Signals(-code).name
            return Problem(
                f"The run's process was killed by {name}; the system does that when memory runs out.",
                f"finished stages and committed checkpoints are kept; {again}",
                file=str(self.paths.log),
                code="killed",
            )
        with self.paths.log.open("rb") as log:
            log.seek(self._log_start)
            lines = log.read().decode(errors="replace").strip().splitlines()
        said = lines[-1][:500] if lines else "it said nothing"
        return Problem(f"The run's process ended with code {code}: {said}", again, file=str(self.paths.log))


def worker_environment(environ: os._Environ[str] | dict[str, str]) -> dict[str, str]:
    """The environment of a stage process: offline, quiet, and bound to its parent's life."""
    return {**OFFLINE, **_thread_limit(environ), **environ, ENV_PARENT: str(os.getpid())}


def _thread_limit(environ: os._Environ[str] | dict[str, str]) -> dict[str, str]:
    """On a machine of few cores and no GPU, threads that wait for one another make a small training 5 times slower."""
    few = (os.cpu_count() or 1) <= 4 and not Path("/dev/nvidiactl").exists()
    return {"OMP_NUM_THREADS": "1"} if few and "OMP_NUM_THREADS" not in environ else {}


def list_runs(runs: Path | None = None) -> list[RunPaths]:
    """Every run directory, newest first."""
    folder = runs_dir() if runs is None else runs
    if not folder.is_dir():
        return []
    found = [RunPaths(each) for each in folder.iterdir() if (each / "run.json").is_file()]
    return sorted(found, key=lambda paths: paths.record.stat().st_mtime, reverse=True)


def find_run(text: str, runs: Path | None = None) -> RunPaths:
    """The run that ``text`` means: a run directory, an id, or the beginning of just one id.

    Raises:
        InputError: there is none, or more than one.
    """
    if (Path(text) / "run.json").is_file():
        return RunPaths(Path(text).resolve())
    known = {paths.root.name: paths for paths in list_runs(runs)}
    matching = [paths for name, paths in known.items() if name.startswith(text)]
    if text in known:
        return known[text]
    if len(matching) == 1:
        return matching[0]
    if matching:
        names = ", ".join(sorted(paths.root.name for paths in matching))
        raise InputError.of(f"{text!r} is the beginning of {len(matching)} runs.", f"name one of {names}")
    raise InputError.of(
        f"There is no run {text!r}.", "see `tunery list` for the runs here", suggestion=did_you_mean(text, known)
    )


def state(paths: RunPaths) -> str:
    """``finished``, ``failed``, ``stopped``, ``running`` or ``created``, from what the run wrote."""
    from filelock import FileLock, Timeout

    events, _ = read_events(paths.events)
    names = [event["event"] for event in events]
    try:
        FileLock(paths.lock, timeout=0).acquire().__exit__(None, None, None)
    except Timeout:
        return "running"
    if not names:
        return "created"
    return {"run_finished": "finished", "stage_failed": "failed"}.get(names[-1], "stopped")
