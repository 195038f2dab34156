"""``python -m workloads.stages.choose RUN_ID RUNG``: after a rung of a sweep on an environment, who goes on.

After the last rung the best trial's weights become those of the run, and the train stage is done: what comes next is
as of any run.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from workloads.errors import InputError
from workloads.render.steps import STEPS
from workloads.stages.context import RunContext
from workloads.stages.patience import Patience
from workloads.stages.process import run_and_numbers, run_process
from workloads.stages.runner import run_stage
from workloads.stages.stored_run import StoredRun
from workloads.stages.stored_sweep import StoredSweep
from workloads.storage.transfer import pull, push
from workloads.sweep.results import best, conclusion, nothing_measured, write_summary
from workloads.training.signals import StopRequest


@dataclass(frozen=True, slots=True)
class Conclude:
    """The train stage of a sweep, when all its trials are measured."""

    found: StoredSweep
    patience: Patience

    def run(self, context: RunContext) -> dict[str, Any]:
        """Makes the best trial's weights those of the run.

        Raises:
            InputError: no trial could be measured.
        """
        sweep, results = self.found.sweep, self.found.results
        number = best(sweep, results)
        if number is None:
            raise InputError(nothing_measured(sweep, results, context.paths))
        stored, trained = self.found.stored, context.paths.trained
        source = f"{StoredSweep.trial_key(stored.id, number)}/{trained.name}"
        brought = self.patience(lambda: pull(stored.store, source, trained))
        self.patience(lambda: push(trained, stored.store, f"{stored.id}/{trained.name}"))
        outputs = conclusion(sweep, results[number], brought.digest, trained.name)
        value = outputs["metric"][sweep.metric]
        context.events.append("sweep_decided", trial=number, metric=sweep.metric, value=value)
        return outputs

    def intact(self, context: RunContext) -> bool:
        """Whether the store has the weights."""
        return self.found.stored.has(STEPS["train"])


def choose(
    run_id: str, rung: int, environ: Mapping[str, str], stop: StopRequest, patience: Patience | None = None
) -> None:
    """Decides a rung; of the last one, the sweep.

    Raises:
        TuneryError: as the store explains it, or because no trial could be measured.
    """
    patience = patience or Patience()
    stored = StoredRun.of(run_id, environ)
    context = patience(lambda: stored.open(stop))
    found = patience(lambda: StoredSweep.read(stored, context))
    last = rung >= len(found.rounds) - 1
    patience(lambda: found.choose(rung))
    write_summary(context.paths, found.sweep, found.results, found.rounds, over=last)
    patience(lambda: stored.store.write(f"{run_id}/{context.paths.sweep.name}", context.paths.sweep.read_bytes()))
    if not last:
        return
    stage = Conclude(found, patience)
    if patience(lambda: stage.intact(context)):
        return
    try:
        run_stage(context, "train", stage)
    finally:
        patience(stored.send_news)
    patience(lambda: stored.send_marker(STEPS["train"], context))


def main(stop: StopRequest) -> None:
    """What Kubernetes starts."""
    run_id, [rung] = run_and_numbers(sys.argv[1:], ("RUNG",))
    choose(run_id, rung, os.environ, stop)


if __name__ == "__main__":
    run_process(main, "train")
