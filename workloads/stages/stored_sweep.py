"""The sweep of a run whose directory is in a store: results as its pods left them, and who goes on."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from workloads.errors import InputError
from workloads.run_spec import Sweep
from workloads.runtime import RunPaths
from workloads.stages.context import RunContext
from workloads.stages.stored_run import StoredRun
from workloads.sweep.results import RESULT, TrialResult, best, contestants
from workloads.sweep.rungs import Rung, rungs


@dataclass(frozen=True, slots=True)
class StoredSweep:
    """What is known of the trials when this is read."""

    stored: StoredRun
    sweep: Sweep
    results: list[TrialResult]
    rounds: list[Rung]

    result_name: ClassVar[str] = RESULT

    @classmethod
    def read(cls, stored: StoredRun, context: RunContext) -> StoredSweep:
        """Reads every result.

        Raises:
            InputError: the run has no sweep.
        """
        sweep = context.spec.sweep
        if sweep is None:
            raise InputError.of(f"The run {stored.id} has no sweep.", "add sweep to its spec", key="sweep")
        results = [
            TrialResult.parse(_json(stored.store.read(f"{cls.trial_key(stored.id, number)}/{RESULT}")), number, each)
            for number, each in enumerate(context.record.trials)
        ]
        return cls(stored, sweep, results, rungs(sweep, len(results)))

    @staticmethod
    def trial_key(run_id: str, number: int) -> str:
        """Where a trial lies in the store."""
        return f"{run_id}/trials/{number:03d}"

    def contestants(self, rung: int) -> list[int]:
        """The trials of a rung, as they were chosen; none when the sweep has no such rung."""
        if rung == 0:
            return list(range(len(self.results)))
        chosen = _json(self.stored.store.read(self._rung_key(rung)))
        return [int(each) for each in chosen["trials"]] if isinstance(chosen, dict) else []

    def choose(self, rung: int) -> list[int]:
        """Writes down which trials go on to the rung after ``rung``; a choice once made stays.

        Where the budget stopped a rung before any trial was measured, the best one so far goes on.
        """
        if rung + 1 >= len(self.rounds):
            return []
        numbers = contestants(self.sweep, self.results, self.rounds, rung + 1)
        winner = best(self.sweep, self.results)
        if not numbers and winner is not None:
            numbers = [winner]
        content = json.dumps({"trials": numbers}).encode()
        self.stored.store.write(self._rung_key(rung + 1), content, if_absent=True)
        return self.contestants(rung + 1)

    def _rung_key(self, rung: int) -> str:
        return f"{self.stored.id}/{RunPaths(Path()).rung(rung).as_posix()}"


def _json(content: bytes | None) -> Any:
    try:
        return None if content is None else json.loads(content)
    except ValueError:
        return None
