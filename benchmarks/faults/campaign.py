"""All faults on all systems: what is warm, who plays what, and the results side by side."""

from __future__ import annotations

import importlib
import os
import pickle
import re
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.faults import exhaustive, gangs, stores, table
from benchmarks.faults.attempts import Forked
from benchmarks.faults.playing import Fault, Outcome, Reference, play
from benchmarks.faults.stores import Pod
from benchmarks.faults.systems import Plain, System, Tunery

PLAYERS = 2


@dataclass(frozen=True)
class Result:
    """One row of the table: a fault and what it came to, by column."""

    fault: Fault
    group: str
    outcomes: dict[str, Outcome]


@dataclass(frozen=True)
class Task:
    """One fault to be played on one system; ``row`` and ``column`` say where the outcome goes."""

    row: str
    column: str
    system: System
    fault: Fault
    reference: Reference


@dataclass
class Campaign:
    """Everything that is made once.

    Attributes:
        systems: by the kind of fault, then by column.
    """

    scratch: Path
    systems: dict[str, dict[str, System]]
    references: dict[tuple[str, str], Reference] = field(default_factory=dict)

    @classmethod
    def prepare(
        cls, scratch: Path, emulator: str | None = None, model: Path | None = None, *, plain: bool = True
    ) -> Campaign:
        """Builds the model and the runs, and imports what a training imports.

        Args:
            emulator: the address of an emulator of Cloud Storage; without one no pod is played.
            model: the base model, when there is one already.
            plain: whether plain llamafactory-cli is played too.
        """
        if model is None:
            model = scratch / "model"
            _elsewhere(lambda: _build(scratch / "model"), scratch / "build")
        _elsewhere(lambda: _keep(Tunery.prepare(scratch, model), scratch / "tunery.pickle"), scratch / "prepare")
        tunery: Tunery = pickle.loads((scratch / "tunery.pickle").read_bytes())  # noqa: S301 written above
        data = scratch / "data"

        def columns(processes: int) -> dict[str, System]:
            variants = [Plain(data, model, overwrite, processes) for overwrite in (True, False) if plain]
            systems: list[System] = [tunery, *variants]
            return {each.name: each for each in systems}

        alone, gang = columns(1), columns(2)
        systems = {"process": alone, "gang": _told_to_resume(gang), "watched": _told_to_resume(alone)}
        if emulator is not None:
            _elsewhere(lambda: _keep(Pod.prepare(scratch, model, emulator), scratch / "pod.pickle"), scratch / "pods")
            pod: Pod = pickle.loads((scratch / "pod.pickle").read_bytes())  # noqa: S301 written above
            systems |= {"pod": {pod.name: pod}, "node": alone | {pod.name: pod}}
        campaign = cls(scratch, systems)
        campaign._warm_up()
        return campaign

    def _warm_up(self) -> None:
        """Imports here what a first training imports, so that no fork has to."""
        for column, system in [*self.systems["process"].items(), *self.systems.get("pod", {}).items()]:
            folder = self.scratch / f"warm-{type(system).__name__}-{_slug(column)}"
            system.begin(folder)
            names = folder.with_name(f"{folder.name}.modules")

            def work(system: System = system, folder: Path = folder, names: Path = names) -> int:
                try:
                    return system.work(folder)
                finally:
                    names.write_text("\n".join(sys.modules))

            Forked(work, folder, None, {}).wait()
            for name in names.read_text().splitlines():
                if name not in sys.modules and not name.startswith(("workloads", "__", "torch_")):
                    with suppress(Exception):
                        importlib.import_module(name)

    def play(self, wanted: Sequence[str]) -> list[Result]:
        """Plays the faults whose names have one of the words ``wanted``, or all."""
        groups = self._groups(wanted)
        self._undisturbed({fault.kind for faults in groups.values() for fault in faults})
        tasks = [
            Task(fault.name + fault.how, column, system, fault, self.references[fault.kind, column])
            for faults in groups.values()
            for fault in faults
            for column, system in self.systems[fault.kind].items()
        ]
        points, rows = self._boundary_tasks(wanted)
        outcomes = _play_all(tasks + points, self.scratch / "rows")
        found = [
            Result(
                fault,
                group,
                {column: outcomes[fault.name + fault.how, column][0] for column in self.systems[fault.kind]},
            )
            for group, faults in groups.items()
            for fault in faults
        ]
        for fault in rows:
            columns = {column: exhaustive.worst(each) for (row, column), each in outcomes.items() if row == fault.name}
            found.append(Result(fault, "SIGKILL at every write boundary", columns))
        return found

    def _groups(self, wanted: Sequence[str]) -> dict[str, list[Fault]]:
        groups = {
            "Signals to one process": table.SIGNALS + gangs.WATCHED,
            "Signals to several processes": gangs.GANGS,
            "Disks": table.DISKS,
            "Damaged checkpoints": table.DAMAGES,
            "Others": table.OTHERS,
            "Nodes": stores.NODES,
            "Object storage": stores.STORES,
        }

        def is_wanted(group: str, fault: Fault) -> bool:
            named = not wanted or any(word in f"{group}: {fault.name}" for word in wanted)
            return named and fault.kind in self.systems

        return {group: [each for each in faults if is_wanted(group, each)] for group, faults in groups.items()}

    def _undisturbed(self, kinds: set[str]) -> None:
        calm = Fault("nothing", "ever", "")
        for kind in sorted(kinds | {"process"}):
            fault = gangs.UNDISTURBED.get(kind, calm)
            for column, system in self.systems[kind].items():
                seconds: list[float] = []
                weights: Path | None = None
                for number in range(1 if fault.play else 3):
                    folder = self.scratch / "undisturbed" / f"{kind}-{_slug(column)}-{number}"
                    folder.parent.mkdir(exist_ok=True)
                    outcome = play(system, fault, folder, Reference(Path(os.devnull), 0.0))
                    weights = system.result(folder)
                    if not outcome.success or weights is None:
                        raise RuntimeError(f"{column} does not train without faults: see {folder}.log")
                    seconds.append(outcome.seconds_lost)
                assert weights is not None  # noqa: S101 at least one was made
                self.references[kind, column] = Reference(weights, sorted(seconds)[len(seconds) // 2])

    def _boundary_tasks(self, wanted: Sequence[str]) -> tuple[list[Task], list[Fault]]:
        if wanted and not any(word in "SIGKILL at every write boundary" for word in wanted):
            return [], []
        tasks: list[Task] = []
        rows: dict[str, Fault] = {}
        for column, system in _told_to_resume(self.systems["process"]).items():
            found = exhaustive.boundaries(system, self.scratch / f"boundaries-{_slug(column)}")
            for end, when in ((False, "of checkpoint-8"), (True, "of the final weights and the marker")):
                for boundary, strike in exhaustive.kills(found, end=end):
                    region = next(each for each in exhaustive.REGIONS if each.contains(boundary))
                    row = Fault("SIGKILL", f"{region.what}, {when}", "one attempt for each")
                    rows[row.name] = row
                    reference = self.references["process", column]
                    tasks.append(Task(row.name, column, system, exhaustive.fault(strike), reference))
        return tasks, list(rows.values())


def _told_to_resume(columns: dict[str, System]) -> dict[str, System]:
    """Without the column that begins at step 0 whatever happens: to play that as well would take minutes."""
    return {column: each for column, each in columns.items() if not (isinstance(each, Plain) and each.overwrite)}


def _build(model: Path) -> int:
    from workloads.demo.tiny_model import build_tiny_model

    build_tiny_model(model)
    return 0


def _keep(value: object, path: Path) -> int:
    path.write_bytes(pickle.dumps(value))
    return 0


def _elsewhere(work: Callable[[], int], folder: Path) -> None:
    """Does it in a fork, so that this process has no threads when it is forked."""
    if Forked(work, folder, None, {}).wait().code != 0:
        raise RuntimeError(f"see {folder}.log")


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _play_all(tasks: Sequence[Task], folder: Path) -> dict[tuple[str, str], list[Outcome]]:
    """Plays the tasks by several players, each of which takes the next one that nobody has taken."""
    folder.mkdir()
    players = []
    for _ in range(PLAYERS):
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                _play_some(tasks, folder)
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                os._exit(code)
        players.append(pid)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in players]
    if any(codes):
        raise RuntimeError("a player failed: see above")
    outcomes: dict[tuple[str, str], list[Outcome]] = {}
    for number, task in enumerate(tasks):
        outcome = pickle.loads((folder / f"{number}.outcome").read_bytes())  # noqa: S301 written by a player
        outcomes.setdefault((task.row, task.column), []).append(outcome)
    return outcomes


def _play_some(tasks: Sequence[Task], folder: Path) -> None:
    for number, task in enumerate(tasks):
        try:
            (folder / f"{number}.taken").touch(exist_ok=False)
        except FileExistsError:
            continue
        started = time.perf_counter()
        outcome = play(task.system, task.fault, folder / f"{number}", task.reference)
        (folder / f"{number}.outcome").write_bytes(pickle.dumps(outcome))
        seconds = time.perf_counter() - started
        mark = "" if task.column != "tunery" or outcome.meets_goal(task.fault) else "   MISSES ITS GOAL"
        print(
            f"{number + 1}/{len(tasks)} {task.column}: {task.fault.name}: {', '.join(outcome.ended)}; "
            f"{outcome.steps_lost} steps lost; {outcome.state} ({seconds:.1f} s){mark}",
            flush=True,
        )
