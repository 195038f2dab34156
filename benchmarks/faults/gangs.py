"""Two ranks on this machine: torchrun under tunery's stage, and under llamafactory-cli."""

from __future__ import annotations

import ctypes
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

import psutil

from benchmarks.faults import forking
from benchmarks.faults.attempts import Attempt, Forked
from benchmarks.faults.playing import Fault
from benchmarks.faults.systems import Plain, System
from workloads.errors import TuneryError
from workloads.runtime import RunPaths

STRUCK_AT = 6
"""The step from which on a process is struck; a few more may pass."""
BOUND = 1e-6
"""Sums over two ranks may be rounded in another order."""
_MOST_ATTEMPTS = 4
_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
_BACKOFF_SECONDS = 1.0
"""A Job waits ten; whoever left orphans meets them all the same."""

Target = Callable[[psutil.Process], list[psutil.Process]]


def parent(process: psutil.Process) -> list[psutil.Process]:
    """What was started: the stage, or llamafactory-cli; or the parent of either."""
    return [process]


def launcher(process: psutil.Process) -> list[psutil.Process]:
    """torchrun, the only child."""
    return process.children()


def ranks(process: psutil.Process) -> list[psutil.Process]:
    """All ranks: the children of torchrun, in the order of their numbers."""
    return sorted(process.children()[0].children(), key=lambda each: each.pid)


def last_rank(process: psutil.Process) -> list[psutil.Process]:
    """Rank 1, which writes no checkpoint."""
    return ranks(process)[-1:]


@dataclass(frozen=True)
class Launch:
    """How the processes of a row are started.

    Attributes:
        processes: the number of ranks.
        watched: below a parent that only waits: ``tunery run``, or a script.
    """

    processes: int = 2
    watched: bool = False

    def start(self, system: System, folder: Path) -> Forked:
        """Starts an attempt."""
        environ = {
            "TUNERY_GRACE_SECONDS": "30",
            "ACCELERATE_TORCH_DEVICE": "cpu",  # or accelerate 1.11 names a device that plain torch does not know
            "GLOO_SOCKET_IFNAME": "lo",
            "TUNERY_PROCESSES": str(self.processes),
        }
        if isinstance(system, Plain) and self.processes > 1:
            port = str(free_port())
            environ |= {"FORCE_TORCHRUN": "1", "NPROC_PER_NODE": str(self.processes), "MASTER_PORT": port}
        return Forked(lambda: self._work(system, folder), folder, None, environ)

    def _work(self, system: System, folder: Path) -> int:
        forking.install()
        if not self.watched:
            return system.work(folder)
        if isinstance(system, Plain):
            command = [sys.executable, "-m", "llamafactory.cli", "train", str(folder / "train.yaml")]
            return subprocess.run(command, check=False).returncode
        from workloads.engines.local import Execution

        try:
            Execution(RunPaths(folder)).wait(lambda _: None)
        except TuneryError as error:
            return int(error.exit_code)
        return 0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class ProcessStrike:
    """A signal to some of the processes when step 6 has its gradients; plays a fault."""

    target: Target | None
    number: signal.Signals = signal.SIGTERM
    launch: Launch = Launch()

    def __call__(self, system: System, folder: Path, fault: Fault) -> list[Attempt]:
        attempts: list[Attempt] = []
        with _no_orphans():
            while len(attempts) < _MOST_ATTEMPTS:
                attempts.append(self._attempt(system, folder, strike=not attempts))
                if not system.restarts(attempts[-1].code):
                    break
                time.sleep(_BACKOFF_SECONDS)
        return attempts

    def _attempt(self, system: System, folder: Path, *, strike: bool) -> Attempt:
        process = self.launch.start(system, folder)

        def look() -> None:
            nonlocal strike
            if strike and any(step >= STRUCK_AT for step in process.steps()):
                strike = False
                self._strike(psutil.Process(process.pid))

        return process.wait(look=look)

    def _strike(self, process: psutil.Process) -> None:
        for each in self.target(process) if self.target is not None else ():
            with suppress(psutil.NoSuchProcess):
                each.send_signal(self.number)


@contextmanager
def _no_orphans() -> Iterator[None]:
    """Adopts what a row leaves behind, and ends it, so that it does not disturb the next one."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    others = set(psutil.Process().children())
    try:
        yield
    finally:
        orphans = [each for each in psutil.Process().children(recursive=True) if each not in others]
        for each in orphans:
            with suppress(psutil.NoSuchProcess):
                each.kill()
        for each in orphans:
            with suppress(ChildProcessError):
                os.waitpid(each.pid, 0)


def _gang(what: str, target: Target, number: signal.Signals) -> Fault:
    when, how = "in a step, two ranks", "from outside, when step 6 has its gradients"
    return Fault(what, when, how, bound=BOUND, kind="gang", play=ProcessStrike(target, number))


def _watched(number: signal.Signals) -> Fault:
    how = "from outside, when step 6 has its gradients; the parent of plain is a script that waits"
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
