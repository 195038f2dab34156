"""What a launcher tells its ranks, and what they tell it when they end: files of a folder that lives as long as both.

torchrun itself says only whether all ranks ended with 0.
"""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from workloads.errors import ExitCode, InputError, Preempted, Problem, TuneryError, UnavailableError
from workloads.recovery import Recovery
from workloads.runtime import RunPaths
from workloads.storage.atomic import read_json, write_json
from workloads.training.world import World, shared

KINDS: dict[int, type[TuneryError]] = {
    ExitCode.INPUT: InputError,
    ExitCode.UNAVAILABLE: UnavailableError,
    ExitCode.PREEMPTED: Preempted,
}
_FILE = "job.json"
_NODE = "node"


@dataclass(frozen=True, slots=True)
class Job:
    """One attempt at a training by several processes.

    Attributes:
        folder: where it and the results lie, on this node.
        entry: the module that each rank runs.
    """

    folder: Path
    entry: str
    world: World
    root: Path
    base_model: Path
    config: dict[str, Any]
    recovery: Recovery = field(default_factory=Recovery)

    @property
    def file(self) -> Path:
        return self.folder / _FILE

    @property
    def paths(self) -> RunPaths:
        return RunPaths(self.root)

    def write(self) -> None:
        """Writes it for the ranks."""
        places = {name: str(getattr(self, name)) for name in ("folder", "root", "base_model")}
        fields = {"entry": self.entry, "world": asdict(self.world), "config": self.config}
        write_json(self.file, places | fields | {"recovery": self.recovery.model_dump(mode="json")}, durable=False)

    @classmethod
    def read(cls, file: Path) -> Job:
        """What :meth:`write` wrote."""
        fields = read_json(file)
        places: dict[str, Any] = {name: Path(fields.pop(name)) for name in ("folder", "root", "base_model")}
        recovery = Recovery.model_validate(fields.pop("recovery"))
        return cls(world=World(**fields.pop("world")), recovery=recovery, **places, **fields)

    def joined(self, world: World) -> Job:
        """This attempt with the nodes that came, written for the ranks.

        Raises:
            InputError: they cannot share the samples of a step evenly.
        """
        if world == self.world:
            return self
        job = replace(self, world=world, config=shared(self.config, self.world.size, world.size))
        job.write()
        return job

    def log(self, rank: int) -> Path:
        """Where a rank's output goes."""
        return self.paths.log.with_name(f"rank-{rank}.log")

    def write_result(self, rank: int, outputs: dict[str, Any]) -> None:
        """Says that a rank trained to the end."""
        self._write(str(rank), {"exit_code": int(ExitCode.OK), "outputs": outputs})

    def write_failure(self, error: TuneryError, rank: int | None = None, *, peer_lost: bool = False) -> None:
        """Says why a rank, or the whole node, stopped.

        Args:
            peer_lost: it stopped since another rank was gone, so the reason is elsewhere.
        """
        problems = [problem.as_dict() for problem in error.problems]
        name = _NODE if rank is None else str(rank)
        self._write(name, {"exit_code": int(error.exit_code), "problems": problems, "peer_lost": peer_lost})

    def _write(self, name: str, value: dict[str, Any]) -> None:
        write_json(self.folder / f"result-{name}.json", value, durable=False)

    def write_saved(self, step: int) -> None:
        """Says that the checkpoint of a step is committed."""
        write_json(self.folder / "saved.json", {"step": step}, durable=False)

    def saved_step(self) -> int | None:
        """The step of the newest checkpoint that was committed in this attempt."""
        value = read_json(self.folder / "saved.json")
        return None if value is None else int(value["step"])

    def write_held(self, folders: Iterable[Path]) -> None:
        """Says which checkpoints the launcher is reading."""
        write_json(self.folder / "held.json", [str(folder) for folder in folders], durable=False)

    def held(self) -> set[Path]:
        """The checkpoints that the launcher is reading."""
        return {Path(folder) for folder in read_json(self.folder / "held.json") or ()}

    def all_told(self) -> bool:
        """Whether every rank of this node has said how it ended."""
        return len(list(self.folder.glob("result-[0-9]*.json"))) == self.world.processes

    def conclude(self, *, stopped: bool) -> dict[str, Any]:
        """What the results come to: the outputs of this node's first rank.

        Args:
            stopped: whether the launcher was asked to stop.

        Raises:
            TuneryError: the most telling reason why there are none.
        """
        first = self.world.node_rank * self.world.processes
        names = [_NODE, *(str(first + number) for number in range(self.world.processes))]
        results = {name: value for name in names if (value := read_json(self.folder / f"result-{name}.json"))}
        failed = [value for value in results.values() if value["exit_code"] != ExitCode.OK]
        told = [value for value in failed if not value["peer_lost"]]
        preempted = [value for value in told if value["exit_code"] == ExitCode.PREEMPTED]
        if stopped and preempted:
            raise _error(preempted[0])
        # torchrun tells the ranks of one that failed to stop: that they obeyed is not the reason.
        reasons = [value for value in told if value not in preempted]
        if wrong := [value for value in reasons if value["exit_code"] == ExitCode.INPUT]:
            raise _error(wrong[0])
        silent = [int(name) for name in names[1:] if name not in results]
        if not failed and not silent:
            return dict(results[str(first)]["outputs"])
        if reasons:
            raise _error(reasons[0])
        if stopped:
            raise Preempted.of(
                "The training was told to stop, and ended before it could save.",
                "run it again: it continues from the newest committed checkpoint",
            )
        raise self._killed(silent) if silent else _error((preempted or failed)[0])

    def _killed(self, ranks: list[int]) -> UnavailableError:
        codes = read_json(self.folder / "exit_codes.json") or {}
        rank = next((each for each in ranks if codes.get(str(each), 0) < 0), ranks[0])
        code = codes.get(str(rank))
        how = f"was killed by {signal.Signals(-code).name}" if code and code < 0 else f"ended with {code or 'no word'}"
        return UnavailableError.of(
            f"Rank {rank} on {socket.gethostname()} {how}; the system kills a process when memory runs out.",
            "run it again: it continues from the newest committed checkpoint; if it happens at the same step, see "
            "`tunery estimate` for the memory it needs",
            file=self.log(rank),
        )


def _error(result: dict[str, Any]) -> TuneryError:
    problems = [Problem(**problem) for problem in result["problems"]]
    return KINDS.get(result["exit_code"], TuneryError)(problems)
