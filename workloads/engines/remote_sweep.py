"""The trials of a sweep as its run directory has them: on this machine, or brought from an environment's store."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from workloads.report.source import Event, mapping, objects, read_run
from workloads.run_spec import RunSpec, Sweep
from workloads.runtime import RunPaths
from workloads.storage.atomic import read_json, write_bytes
from workloads.storage.objects import Store
from workloads.sweep.results import RESULT, TrialResult, best, read_results, summary
from workloads.sweep.rungs import Rung, rungs

_WORKERS = 16


@dataclass(frozen=True, slots=True)
class SweepNow:
    """What is known of a sweep.

    Attributes:
        slots: of an environment, rung -> the trial of each slot, as it was chosen; the first rung has all trials.
        events: by trial, what its training told of itself.
        over: whether no more trials are started.
        in_pods: whether each trial works in pods of its own, and not in the run's process.
    """

    sweep: Sweep
    results: tuple[TrialResult, ...]
    rounds: tuple[Rung, ...]
    slots: Mapping[int, tuple[int, ...]]
    events: tuple[tuple[Event, ...], ...]
    over: bool
    in_pods: bool

    @property
    def best(self) -> int | None:
        """The best trial so far, of those that got furthest."""
        return best(self.sweep, self.results)

    def summary(self) -> dict[str, Any]:
        """What sweep.json would say now."""
        return summary(self.sweep, self.results, self.rounds, over=self.over)

    def trial_in(self, rung: int, slot: int) -> int | None:
        """The trial of a slot; None when there is none, or nobody has chosen it yet."""
        numbers = self.slots.get(rung, ())
        return numbers[slot] if 0 <= slot < len(numbers) else None


def read_now(run_dir: Path) -> SweepNow | None:
    """What a run directory says of its sweep; None when it has none, or that of another version of tunery."""
    from pydantic import ValidationError

    paths = RunPaths(run_dir)
    record = mapping(read_json(paths.record))
    trials = objects(record.get("trials"))
    if not trials or not mapping(record.get("spec")).get("sweep"):
        return None
    try:
        sweep = RunSpec.model_validate(record["spec"]).sweep
    except ValidationError:
        return None
    if sweep is None:
        return None
    rounds = rungs(sweep, len(trials))
    slots = {0: tuple(range(len(trials)))}
    for each in rounds[1:]:
        chosen = mapping(read_json(paths.rung(each.number))).get("trials")
        slots[each.number] = tuple(map(int, chosen)) if isinstance(chosen, list) else ()
    return SweepNow(
        sweep,
        tuple(read_results(paths, trials)),
        tuple(rounds),
        slots,
        tuple(read_run(paths.trial(number)).events for number in range(len(trials))),
        over=paths.marker("train").is_file(),
        in_pods=not any(event.kind == "trial_started" for event in read_run(run_dir).events),
    )


def fetch_sweep(store: Store, run_dir: Path, *, events: bool = True) -> None:
    """Copies what :func:`read_now` reads from a store; run.json must be in ``run_dir``, which has the run's name.

    Raises:
        UnavailableError: the store does not answer.
    """
    paths = RunPaths(run_dir)
    count = len(objects(mapping(read_json(paths.record)).get("trials")))
    if not count:
        return
    of_trials = (RESULT, paths.events.name) if events else (RESULT,)
    wanted = [paths.trial(number) / name for number in range(count) for name in of_trials]
    there = {each.key for each in store.under(f"{run_dir.name}/{paths.rung(0).parent.name}")}
    wanted += [run_dir.parent / key for key in there] + [paths.marker("train")]
    with ThreadPoolExecutor(_WORKERS) as pool:
        list(pool.map(lambda path: _fetch(store, path, run_dir.parent), wanted))


def _fetch(store: Store, path: Path, folder: Path) -> None:
    content = store.read(path.relative_to(folder).as_posix())
    if content is not None:
        write_bytes(path, content, durable=False)


def read_sweep(store: Store, run_id: str) -> dict[str, Any] | None:
    """What sweep.json would say now, also between two choices; None for a run that is not there or has no sweep.

    Raises:
        UnavailableError: the store does not answer.
    """
    with TemporaryDirectory(prefix="tunery-sweep-") as name:
        folder = Path(name, run_id)
        _fetch(store, RunPaths(folder).record, Path(name))
        fetch_sweep(store, folder, events=False)
        found = read_now(folder)
    return None if found is None else found.summary()
