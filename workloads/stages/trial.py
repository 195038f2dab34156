"""``python -m workloads.stages.trial RUN_ID RUNG SLOT``: one trial of a sweep, trained to one rung in a pod.

Which trial that is, is known when the rung begins: of the first rung the slot's number, of the others what
``workloads.stages.choose`` has left in the store. Every trial writes under its own prefix of the store only.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass

from workloads.errors import Preempted
from workloads.events import EventLog
from workloads.render.steps import STEPS
from workloads.run_spec import Sweep
from workloads.runtime import ENV_SWEEP_HOURS
from workloads.stages.context import RunContext
from workloads.stages.patience import Patience
from workloads.stages.pod import News
from workloads.stages.process import run_and_numbers, run_process
from workloads.stages.stored_checkpoints import StoredCheckpoints
from workloads.stages.stored_run import StoredRun
from workloads.stages.stored_sweep import StoredSweep
from workloads.stages.sweep import own_fault
from workloads.storage.lease import FencedError
from workloads.storage.transfer import push
from workloads.sweep.results import TrialResult, spent
from workloads.sweep.rungs import Rung
from workloads.sweep.trials import Trial, open_trial, train_and_measure
from workloads.training.arguments import kept_checkpoints
from workloads.training.checkpoints import Retention
from workloads.training.signals import StopRequest


@dataclass(frozen=True, slots=True)
class Work:
    """What one pod does for one trial."""

    stored: StoredRun
    context: RunContext
    sweep: Sweep
    trial: Trial
    result: TrialResult
    rung: Rung
    patience: Patience

    @property
    def prefix(self) -> str:
        """Where the trial lies in the store."""
        return StoredSweep.trial_key(self.stored.id, self.trial.number)

    def run(self) -> None:
        """Trains and measures, and leaves what came of it in the store, the result last."""
        events = EventLog(self.trial.paths.events)
        keep = Retention(kept_checkpoints(self.trial.config))
        store, lease = self.stored.store, self.stored.lease
        checkpoints = StoredCheckpoints(store, f"{self.prefix}/checkpoints", events, keep, lease=lease)
        self.patience(lambda: self.stored.bring(STEPS["train"], self.context))
        self.patience(lambda: checkpoints.bring_newest(self.trial.paths))
        started = time.monotonic()
        try:
            measured = train_and_measure(self.trial, self.context.spec, self.context.stop, self.rung.steps, checkpoints)
            self.result.measured[self.rung.number] = measured
        except FencedError:
            raise
        except Preempted:
            self.stored.check_if_possible()
            checkpoints.send_newest(self.trial.paths.checkpoints)
            raise
        except Exception as error:
            self.result.problems = own_fault(error)
        finally:
            self.result.seconds += time.monotonic() - started
            self.context.stop.deferred = True  # what is known is worth the rest of the grace
            self.patience(self._send)
            self.context.stop.deferred = False

    def send_news(self) -> None:
        """Leaves the trial's events in the store, for whoever watches it."""
        self._send_file(self.trial.paths.events.name)

    def _send(self) -> None:
        self.stored.check()
        trained = self.trial.weights
        if self.rung.steps is None and self.rung.number in self.result.measured:
            push(trained, self.stored.store, f"{self.prefix}/{trained.name}")
        self.result.write(self.context.paths)
        for path in (self.trial.paths.record, self.trial.paths.training_config, self.trial.paths.events):
            self._send_file(path.name)
        self._send_file(StoredSweep.result_name)

    def _send_file(self, name: str) -> None:
        path = self.trial.paths.root / name
        self.stored.check()
        if path.is_file():
            self.stored.store.write(f"{self.prefix}/{name}", path.read_bytes())


def run_trial(
    run_id: str, rung: int, slot: int, environ: Mapping[str, str], stop: StopRequest, patience: Patience | None = None
) -> None:
    """Trains the trial of a slot to a rung, unless that is done, there is none, or the budget is spent.

    Raises:
        TuneryError: as the store explains it; what is the trial's own fault is recorded and not raised.
    """
    patience = patience or Patience()
    stored = StoredRun.of(run_id, environ)
    context = patience(lambda: stored.open(stop))
    found = patience(lambda: StoredSweep.read(stored, context))
    numbers = patience(lambda: found.contestants(rung))
    if slot >= len(numbers):
        return
    number, current = numbers[slot], found.rounds[rung]
    result = found.results[number]
    hours = environ.get(ENV_SWEEP_HOURS)
    is_winner = bool(rung) and current.steps is None  # it is trained to its end whatever the budget says
    if rung in result.measured or result.problems:
        return
    if not is_winner and spent(found.sweep, found.results, float(hours) if hours else None):
        return
    asked = context.spec.evaluation.questions
    questions = context.spec_file(asked.file) if asked else None
    trial = open_trial(context.record, context.paths, number, context.base_model, questions)
    events = stored.store.read(f"{StoredSweep.trial_key(run_id, number)}/{trial.paths.events.name}")
    if events is not None and not trial.paths.events.exists():
        trial.paths.events.write_bytes(events)
    stored = patience(lambda: stored.hold(f"trials/{number:03d}"))
    work = Work(stored, context, found.sweep, trial, result, current, patience)
    with News(work.send_news, stop):
        work.run()


def main(stop: StopRequest) -> None:
    """What Kubernetes starts."""
    run_id, [rung, slot] = run_and_numbers(sys.argv[1:], ("RUNG", "SLOT"))
    run_trial(run_id, rung, slot, os.environ, stop)


if __name__ == "__main__":
    run_process(main, "train")
