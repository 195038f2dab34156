"""What the ranks of a training agree on: when to stop, whether a save still fits, and where a checkpoint lies.

All of it goes over gloo on the CPU, so that no step waits for the accelerator, and a peer that dies is noticed by its
closed connection.
"""

from __future__ import annotations

import os
import shutil
import socket
import uuid
from datetime import timedelta
from pathlib import Path
from typing import Protocol, TypeVar

from workloads.errors import TuneryError, UnavailableError
from workloads.storage import manifest
from workloads.training.exchange import receive_folder, send_folder

T = TypeVar("T")


class Ranks(Protocol):
    """The processes of one training, as one of them sees them. All must make the same calls in the same order."""

    first: bool
    """Whether this is rank 0, which writes events, commits checkpoints and keeps the result."""
    rank: int
    """Its number, from 0."""
    size: int
    """How many they are."""

    def longest(self, seconds: float | None) -> float | None:
        """The largest of what the ranks say, to a millisecond; None when all say None. No rank passes before all."""

    def decide(self, choice: bool) -> bool:
        """What rank 0 says."""

    def collect(self, folder: Path) -> None:
        """Waits until all ranks have written to ``folder``, and brings what other nodes wrote to rank 0's."""

    def share(self, folder: Path | None) -> Path | None:
        """Rank 0's verified checkpoint, on every node; what rank 0 gives counts."""

    def same(self, value: T) -> T:
        """What rank 0 gives."""


class Alone:
    """A training of one process."""

    first = True
    rank = 0
    size = 1

    def longest(self, seconds: float | None) -> float | None:
        return seconds

    def decide(self, choice: bool) -> bool:
        return choice

    def collect(self, folder: Path) -> None:
        """It is all there."""

    def share(self, folder: Path | None) -> Path | None:
        return folder

    def same(self, value: T) -> T:
        return value


class Gang:
    """The ranks of torchrun. The process group must be initialized."""

    def __init__(self, output_dir: Path, timeout: timedelta) -> None:
        """Finds out which ranks see rank 0's disk.

        Args:
            output_dir: LLaMA-Factory's output folder on this node.
            timeout: after which a peer that says nothing counts as lost.
        """
        import torch.distributed as dist

        self._output_dir = output_dir
        self._group = dist.new_group(backend="gloo", timeout=timeout)
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self.first = self.rank == 0
        self._far_leaders = self._find_far_leaders()

    @property
    def far(self) -> bool:
        """Whether this rank is on a node that does not see rank 0's disk, and is the one that speaks for it."""
        return self.rank in self._far_leaders

    def _find_far_leaders(self) -> list[int]:
        self._output_dir.mkdir(parents=True, exist_ok=True)
        name = self.same(f".rank-0-{uuid.uuid4().hex}")
        probe = self._output_dir / str(name)
        if self.first:
            probe.touch()
        self.barrier()
        is_leader = os.environ.get("LOCAL_RANK", "0") == "0"
        found = self._gather(is_leader and not probe.exists())
        if self.first:
            probe.unlink()
        return [rank for rank, far in enumerate(found) if far]

    def barrier(self) -> None:
        """Waits for all ranks."""
        import torch.distributed as dist

        dist.barrier(group=self._group)

    def longest(self, seconds: float | None) -> float | None:
        import torch
        import torch.distributed as dist

        value = torch.tensor([-1 if seconds is None else int(seconds * 1000)], dtype=torch.int64)
        dist.all_reduce(value, op=dist.ReduceOp.MAX, group=self._group)
        largest = int(value.item())
        return None if largest < 0 else largest / 1000

    def decide(self, choice: bool) -> bool:
        import torch
        import torch.distributed as dist

        value = torch.tensor([int(choice)])
        dist.broadcast(value, src=0, group=self._group)
        return bool(value.item())

    def collect(self, folder: Path) -> None:
        self.barrier()
        for leader in self._far_leaders:
            if self.first:
                receive_folder(folder, leader, self._group)
            elif self.rank == leader:
                send_folder(folder, 0, self._group)
                shutil.rmtree(folder, ignore_errors=True)  # node 0 has it; here it would never count

    def share(self, folder: Path | None) -> Path | None:
        committed = manifest.read(folder) if self.first and folder is not None else None
        name, digest = self.same((folder and folder.name, committed and committed.digest))
        if name is None:
            if self.far:
                shutil.rmtree(self._output_dir)
            self.barrier()
            return None
        place = self._output_dir / str(name)
        missing = self._gather(self.far and not self._has(place, str(digest)))
        for leader, wanted in enumerate(missing):
            if wanted and self.first:
                send_folder(place, leader, self._group)
            elif wanted and self.rank == leader:
                self._receive(place)
        self.barrier()
        return place

    def _has(self, place: Path, digest: str) -> bool:
        """Removes every other checkpoint of this node: the trainer would rotate only rank 0's."""
        for other in self._output_dir.iterdir():
            if other.is_dir() and other != place:
                shutil.rmtree(other)
        found = manifest.read(place)
        return found is not None and found.digest == digest and not manifest.damage(place)

    def _receive(self, place: Path) -> None:
        shutil.rmtree(place, ignore_errors=True)
        receive_folder(place, 0, self._group)
        if manifest.damage(place):
            raise UnavailableError.of(
                f"The checkpoint that {socket.gethostname()} got from node 0 is not whole.", "run it again", file=place
            )

    def same(self, value: T) -> T:
        import torch.distributed as dist

        values = [value]
        dist.broadcast_object_list(values, src=0, group=self._group)
        return values[0]

    def _gather(self, value: bool) -> list[bool]:
        import torch.distributed as dist

        values: list[bool] = [False] * self.size
        dist.all_gather_object(values, value, group=self._group)
        return values


def lost_peer(error: Exception) -> TuneryError | None:
    """What an error of a collective means: another rank is gone. None for an error of another kind."""
    import torch.distributed as dist

    text = str(error)
    ours = isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError) and ("gloo" in text or "NCCL" in text or "Connection closed by peer" in text)
    )
    if not ours:
        return None
    return UnavailableError.of(
        f"Another process of the training is gone: {text.strip().splitlines()[0][:300]}",
        "see logs/ of the other ranks for why; run it again and it continues from the newest committed checkpoint",
    )
