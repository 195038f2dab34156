"""Two ranks on this machine, as real processes: torchrun under tunery's stage, and under llamafactory-cli."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.faults.attempts import Attempt
from benchmarks.faults.playing import Fault
from benchmarks.faults.systems import Plain, System
from workloads.runtime import RunPaths

STRUCK_AT = 6
"""The step from which on a process is struck; a few more may pass."""
BOUND = 1e-6
"""Sums over two ranks may be rounded in another order."""
_MOST_ATTEMPTS = 4
_LIMIT_SECONDS = 120.0
_MARK = "TUNERY_FAULT_ROW"
_BACKOFF_SECONDS = 1.0
"""A Job waits ten; whoever left orphans meets them all the same."""

Target = Callable[[psutil.Process], list[psutil.Process]]


def parent(process: psutil.Process) -> list[psutil.Process]:
    """What was started: the stage, or llamafactory-cli."""
    return [process]


def launcher(process: psutil.Process) -> list[psutil.Process]:
    """torchrun."""
    return [each for each in process.children(recursive=True) if "torchrun" in " ".join(each.cmdline())][:1]


def ranks(process: psutil.Process) -> list[psutil.Process]:
    """All ranks, by number."""
    found = {}
    for each in process.children(recursive=True):
        try:
            number = each.environ().get("RANK")
        except psutil.Error:
            continue
        if number is not None:
            found[int(number)] = each
    return [found[number] for number in sorted(found)]


def last_rank(process: psutil.Process) -> list[psutil.Process]:
    """Rank 1, which writes no checkpoint."""
    return ranks(process)[-1:]


@dataclass(frozen=True)
class Launch:
    """How the processes of a row are started.

    Attributes:
        processes: the number of ranks.
        watched: below a parent that only waits: ``tunery run``, or a shell.
    """

    processes: int = 2
    watched: bool = False

    def start(self, system: System, folder: Path) -> subprocess.Popen[bytes]:
        """Starts an attempt in a session of its own."""
        programs = Path(sys.executable).parent
        environ = {
            **os.environ,
            _MARK: folder.name,
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "TUNERY_GRACE_SECONDS": "30",
            "ACCELERATE_TORCH_DEVICE": "cpu",  # or accelerate 1.11 names a device that plain torch does not know
            "GLOO_SOCKET_IFNAME": "lo",
        }
        if isinstance(system, Plain):
            command = [str(programs / "llamafactory-cli"), "train", str(folder / "train.yaml")]
            if self.processes > 1:
                port = str(free_port())
                environ |= {"FORCE_TORCHRUN": "1", "NPROC_PER_NODE": str(self.processes), "MASTER_PORT": port}
            if self.watched:
                command = ["sh", "-c", '"$@"; exit $?', "sh", *command]
        else:
            environ |= {"TUNERY_PROCESSES": str(self.processes), "TUNERY_RUNS": str(folder.parent)}
            command = [sys.executable, "-m", "workloads.stages.train", str(folder)]
            if self.watched:
                command = [str(programs / "tunery"), "run", "--resume", str(folder)]
        with folder.with_name(f"{folder.name}.log").open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, env=environ, start_new_session=True)


@dataclass
class StepLog:
    """The steps that a system logs, by attempt."""

    system: System
    folder: Path
    _taken: int = 0

    def new(self) -> list[int]:
        """Those of this attempt so far."""
        if isinstance(self.system, Plain):
            lines = _json_lines(self.folder / "out" / "trainer_log.jsonl")
            return [line["current_steps"] for line in lines if "loss" in line]
        events = _json_lines(RunPaths(self.folder).events)
        return [each["step"] for each in events if each["event"] == "log" and "loss" in each][self._taken :]

    def take(self) -> tuple[int, ...]:
        """Those of this attempt, which is over."""
        found = tuple(self.new())
        self._taken += len(found)
        if isinstance(self.system, Plain):  # which itself deletes it at times, and at times goes on writing it
            (self.folder / "out" / "trainer_log.jsonl").unlink(missing_ok=True)
            self._taken = 0
        return found


def _json_lines(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class ProcessStrike:
    """A signal to some of the processes when step 6 was logged; plays a fault."""

    target: Target | None
    number: signal.Signals = signal.SIGTERM
    launch: Launch = Launch()

    def __call__(self, system: System, folder: Path, fault: Fault) -> list[Attempt]:
        log = StepLog(system, folder)
        attempts: list[Attempt] = []
        with _no_orphans(folder.name):
            while len(attempts) < _MOST_ATTEMPTS:
                attempts.append(self._attempt(system, folder, log, strike=not attempts and self.target is not None))
                if not system.restarts(attempts[-1].code):
                    break
                time.sleep(_BACKOFF_SECONDS)
        return attempts

    def _attempt(self, system: System, folder: Path, log: StepLog, *, strike: bool) -> Attempt:
        started = time.perf_counter()
        process = self.launch.start(system, folder)
        while (code := process.poll()) is None:
            if time.perf_counter() - started > _LIMIT_SECONDS:
                process.kill()
                process.wait()
                break
            if strike and any(step >= STRUCK_AT for step in log.new()):
                strike = False
                self._strike(psutil.Process(process.pid))
            time.sleep(0.01)
        return Attempt(code, time.perf_counter() - started, log.take())

    def _strike(self, process: psutil.Process) -> None:
        for each in self.target(process) if self.target is not None else ():
            with suppress(psutil.NoSuchProcess):
                each.send_signal(self.number)


@contextmanager
def _no_orphans(name: str) -> Iterator[None]:
    """Ends what a row leaves behind, so that it does not disturb the next one."""
    try:
        yield
    finally:
        for each in psutil.process_iter():
            try:
                if each.environ().get(_MARK) == name:
                    each.kill()
            except psutil.Error:
                continue


def _gang(what: str, target: Target, number: signal.Signals) -> Fault:
    when, how = "in a step, two ranks", "from outside, when step 6 is logged"
    return Fault(what, when, how, bound=BOUND, kind="gang", play=ProcessStrike(target, number))


def _watched(number: signal.Signals) -> Fault:
    how = "from outside, when step 6 is logged; the parent of plain is a shell"
    play = ProcessStrike(parent, number, Launch(1, watched=True))
    return Fault(f"{number.name} to the parent", "in a step", how, kind="watched", play=play)


UNDISTURBED = {
    "gang": Fault("nothing", "ever", "", kind="gang", play=ProcessStrike(None)),
    "watched": Fault("nothing", "ever", "", kind="watched", play=ProcessStrike(None, launch=Launch(1, watched=True))),
}
GANGS = [
    *(_gang(f"{number.name} to one rank", last_rank, number) for number in (signal.SIGTERM, signal.SIGKILL)),
    *(_gang(f"{number.name} to all ranks", ranks, number) for number in (signal.SIGTERM, signal.SIGKILL)),
    *(_gang(f"{number.name} to torchrun", launcher, number) for number in (signal.SIGTERM, signal.SIGKILL)),
    *(_gang(f"{number.name} to the launcher", parent, number) for number in (signal.SIGTERM, signal.SIGKILL)),
]
WATCHED = [_watched(signal.SIGTERM), _watched(signal.SIGKILL)]
