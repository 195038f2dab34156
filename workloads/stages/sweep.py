"""The train stage of a run with a sweep: trains its trials in this process, and leaves the best one's weights.

Every trial has a result file, so a stopped sweep goes on where it was, and what was measured is not measured again.
Weights are kept of the trials that may still win; of the others stay config, events and result.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Collection
from typing import Any

from workloads.errors import ExitCode, InputError, Preempted, Problem, TuneryError
from workloads.run_spec import Sweep
from workloads.stages.context import RunContext
from workloads.stages.failures import explain
from workloads.storage import manifest
from workloads.sweep.results import (
    TrialResult,
    best,
    conclusion,
    contestants,
    nothing_measured,
    read_results,
    spent,
    write_summary,
)
from workloads.sweep.rungs import Rung, rungs
from workloads.sweep.trials import Trial, open_trial, train_and_measure
from workloads.training.world import World


def run(context: RunContext, sweep: Sweep, world: World) -> dict[str, Any]:
    """Trains the trials; the best one's weights lie in ``trained/``.

    Args:
        world: the processes of a training, which must be one: the process of all trials.

    Returns:
        As of a training, and ``trial``, ``parameters`` and ``metric`` of the best trial.

    Raises:
        Preempted: a stop was asked for; everything that was measured is kept.
        InputError: no trial could be measured, or there are several processes.
    """
    if world.size > 1:
        raise InputError.of(
            f"The trials of a sweep train in one process each, not in {world.size}.",
            "run it without --nproc; on an environment set sweep.parallel for several trials at once",
        )
    return Search(context, sweep).run()


def own_fault(error: Exception) -> list[dict[str, Any]]:
    """Why a trial failed, when that is its own fault, each as ``Problem.as_dict``.

    Raises:
        TuneryError: what would stop every other trial too, and a stop that was asked for.
    """
    if isinstance(error, Preempted):
        raise error
    failure = error if isinstance(error, TuneryError) else explain(error, "train")
    if failure.exit_code is ExitCode.UNAVAILABLE:
        raise failure from error
    return [problem.as_dict() for problem in failure.problems]


class Search:
    """One process's work on a sweep."""

    def __init__(self, context: RunContext, sweep: Sweep) -> None:
        self._context = context
        self._sweep = sweep
        self._paths = context.paths
        self._results = read_results(self._paths, context.record.trials)
        self._rounds = rungs(sweep, len(self._results))
        self._over = False

    def run(self) -> dict[str, Any]:
        """Every round, and then the winner to its end."""
        for rung in self._rounds:
            numbers = contestants(self._sweep, self._results, self._rounds, rung.number)
            for number in numbers:
                self._over = self._over or spent(self._sweep, self._results)
                if not self._over or rung.number in self._results[number].measured:
                    self._advance(number, rung)
                    self._discard_losers(rung)
            if self._over:
                break
            if rung is not self._rounds[-1]:
                kept = contestants(self._sweep, self._results, self._rounds, rung.number + 1)
                self._discard(set(numbers) - set(kept))
        self._over = True
        winner = self._winner()
        self._write()
        return self._publish(winner)

    def _advance(self, number: int, rung: Rung) -> None:
        """Trains a trial to a rung and records what came of it, unless that is known."""
        result = self._results[number]
        if rung.number in result.measured or result.problems:
            return
        self._write()
        events = self._context.events
        events.append("trial_started", trial=number, rung=rung.number, parameters=dict(result.parameters))
        trial = self._open(number)
        started = time.monotonic()
        try:
            measured = train_and_measure(trial, self._context.spec, self._context.stop, rung.steps)
            result.measured[rung.number] = measured
        except Exception as error:
            self._failed(result, error)
        finally:
            result.seconds += time.monotonic() - started
            result.write(self._paths)
            self._write()
        if not result.problems:
            value = result.metric(self._sweep, rung.number)
            events.append(
                "trial_measured",
                trial=number,
                rung=rung.number,
                reached=result.measured[rung.number].step,
                metric=self._sweep.metric,
                value=value,
                seconds=round(result.seconds, 3),
            )

    def _failed(self, result: TrialResult, error: Exception) -> None:
        result.problems = own_fault(error)
        self._context.events.append("trial_failed", trial=result.number, problems=result.problems)

    def _open(self, number: int) -> Trial:
        context = self._context
        asked = context.spec.evaluation.questions
        questions = context.spec_file(asked.file) if asked else None
        return open_trial(context.record, context.paths, number, context.base_model, questions)

    def _winner(self) -> TrialResult:
        """The best trial, trained to its end; trained again when its weights are gone."""
        number = best(self._sweep, self._results)
        if number is None:
            raise InputError(nothing_measured(self._sweep, self._results, self._paths))
        result, last = self._results[number], self._rounds[-1]
        if last.number in result.measured and manifest.damage(self._open(number).weights, full=False):
            del result.measured[last.number]
        self._advance(number, last)
        if result.problems:
            raise InputError([Problem(**each) for each in result.problems])
        return result

    def _publish(self, winner: TrialResult) -> dict[str, Any]:
        """Gives the run the winner's weights, by hard links: the trial keeps its own."""
        trained = self._context.paths.trained
        staging = trained.with_name(f"{trained.name}.partial")
        shutil.rmtree(staging, ignore_errors=True)
        shutil.copytree(self._open(winner.number).weights, staging, copy_function=os.link)
        shutil.rmtree(trained, ignore_errors=True)
        staging.replace(trained)
        committed = manifest.read(trained)
        if committed is None:
            raise TuneryError(Problem(f"The weights of trial {winner.number} are not whole.", "run it again"))
        outputs = conclusion(self._sweep, winner, committed.digest, trained.name)
        value = outputs["metric"][self._sweep.metric]
        self._context.events.append("sweep_decided", trial=winner.number, metric=self._sweep.metric, value=value)
        return outputs

    def _discard_losers(self, rung: Rung) -> None:
        """At the end of the training, only the best trial so far keeps its weights."""
        if rung is self._rounds[-1]:
            done = {each.number for each in self._results if rung.number in each.measured or each.problems}
            self._discard(done - {best(self._sweep, self._results)})

    def _discard(self, numbers: Collection[int]) -> None:
        for number in numbers:
            paths = self._open(number).paths
            for folder in (paths.checkpoints, paths.trained, paths.damaged):
                shutil.rmtree(folder, ignore_errors=True)

    def _write(self) -> None:
        write_summary(self._paths, self._sweep, self._results, self._rounds, over=self._over)
