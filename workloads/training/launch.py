"""A training by several processes: torchrun as a child, whose ranks never outlive this process.

Asked to stop, torchrun kills its ranks after 30 s and ends with 1 whatever they did. So a stop goes to the ranks
themselves, which save together, and what became of each is read from the file that it leaves.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from workloads.errors import UnavailableError
from workloads.recovery import Recovery
from workloads.runtime import RunPaths
from workloads.training.checkpoints import Retention
from workloads.training.job import Job
from workloads.training.memory import kills, too_small
from workloads.training.saving import Handover, OnCheckpoint
from workloads.training.signals import ENV_PARENT, StopRequest, grace_seconds
from workloads.training.world import World

_POLL_SECONDS = 0.05
_GRACE_SECONDS = 30.0
_END_SECONDS = 5.0
"""How long torchrun may take when its ranks have ended: it waits five minutes for those of other nodes, gone or not."""
_TORCHRUN = "workloads.training.torchrun"


def train(
    config: dict[str, Any],
    paths: RunPaths,
    base_model: Path,
    stop: StopRequest,
    world: World,
    *,
    entry: str,
    on_checkpoint: OnCheckpoint | None = None,
    recovery: Recovery | None = None,
) -> dict[str, Any]:
    """Trains with this node's share of ``world``, from the newest checkpoint that verifies.

    Args:
        config: the training config, for that many processes.
        entry: the module that runs a rank.
        on_checkpoint: called with the folder and step of a committed checkpoint, while the training goes on; of
            those that are committed meanwhile the newest is next.
        recovery: what the run spec says of it.

    Returns:
        As of :func:`workloads.training.worker.train`; on a node that is not the first, only ``steps``.

    Raises:
        Preempted: a stop was asked for, here or of any rank.
        UnavailableError: a rank was killed, or a node did not come.
        TuneryError: as the rank explained it.
    """
    if world.port == 0:
        world = replace(world, port=_free_port())
    with tempfile.TemporaryDirectory(prefix="tunery-ranks-") as folder:
        job = Job(Path(folder), entry, world, paths.root, base_model, config, recovery or Recovery())
        job.write()
        killed = kills()
        stop.deferred = True  # the ranks save
        try:
            _run(job, stop, on_checkpoint)
        finally:
            stop.deferred = False
        job = Job.read(job.file)  # with the nodes that came
        try:
            outputs = job.conclude(stopped=stop.requested)
        except UnavailableError as error:
            if kills() == killed:
                raise
            what = f"{error.problems[0].message.split(';')[0]}: the memory of this container had run out."
            raise too_small(job.config, base_model, job.world.size, what) from error
    if stop.requested:
        stop.leave()
    return outputs


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _run(job: Job, stop: StopRequest, on_checkpoint: OnCheckpoint | None) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", _TORCHRUN, str(job.file)],
        stdin=subprocess.DEVNULL,
        env={**os.environ, ENV_PARENT: str(os.getpid())},
        start_new_session=True,  # Ctrl-C reaches this process alone, which tells the ranks
    )
    deadline: float | None = None
    saved = _Saved(job, on_checkpoint)
    try:
        while process.poll() is None:
            saved.look()
            if stop.requested and deadline is None:
                deadline = time.monotonic() + (grace_seconds() or _GRACE_SECONDS)
                _stop_ranks(process)
            if deadline is None and job.all_told():
                deadline = time.monotonic() + _END_SECONDS
            if deadline is not None and time.monotonic() > deadline:
                break
            try:
                process.wait(_POLL_SECONDS)
            except subprocess.TimeoutExpired:
                continue
    finally:
        _kill(process)
        saved.end()


class _Saved:
    """Passes committed checkpoints on, so that neither the training nor a stop waits for an upload."""

    def __init__(self, job: Job, on_checkpoint: OnCheckpoint | None) -> None:
        self._job = job
        retention = Retention(0, job.recovery.keep_every)
        self._handover = None if on_checkpoint is None else Handover(on_checkpoint, retention)
        self._last = -1
        self._held: set[Path] = set()

    def look(self) -> None:
        """Passes on the newest checkpoint. Raises what passing on an earlier one raised."""
        if self._handover is None:
            return
        self._handover.check()
        step = self._job.saved_step()
        if step is not None and step != self._last:
            self._last = step
            self._handover.put(self._job.paths.checkpoints / f"checkpoint-{step}", step)
        if (held := self._handover.held) != self._held:
            self._held = held
            self._job.write_held(held)

    def end(self) -> None:
        """Waits for what is under way, and passes on the last."""
        self.look()
        if self._handover is not None:
            self._handover.wait(None)


def _stop_ranks(process: subprocess.Popen[bytes]) -> None:
    """Asks every rank to save; before there are any, torchrun has nothing to lose."""
    ranks = _children(process)
    if not ranks:
        process.terminate()
    for rank in ranks:
        _signal(rank, signal.SIGTERM)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Ends torchrun and what it started, if anything is left."""
    if process.poll() is not None:
        return
    ranks = _children(process)
    process.kill()
    for rank in ranks:
        _signal(rank, signal.SIGKILL)
    process.wait()


def _children(process: subprocess.Popen[bytes]) -> list[int]:
    import psutil

    try:
        return [child.pid for child in psutil.Process(process.pid).children()]
    except psutil.NoSuchProcess:
        return []


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
