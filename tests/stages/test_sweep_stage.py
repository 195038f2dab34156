"""The train stage of a run with a sweep, on a made-up objective: what is trained, in which order and how often."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from workloads.errors import InputError, Preempted, UnavailableError
from workloads.events import read_events
from workloads.runtime import RunPaths
from workloads.stages import sweep as stage
from workloads.stages.context import RunContext
from workloads.storage import manifest
from workloads.storage.atomic import read_json
from workloads.sweep.results import Measurement, TrialResult
from workloads.sweep.trials import Trial
from workloads.training.world import World

MakeRun = Callable[..., RunPaths]
RATES = [1e-4, 1e-3, 1e-2]
GRID = {"method": "grid", "parameters": {"learning_rate": {"values": RATES}}}
ASHA = {
    "method": "asha",
    "parameters": {"learning_rate": {"min": 1e-5, "max": 1e-1, "log": True}},
    "trials": 9,
    "min_steps": 2,
}


class Objective:
    """Stands in for training: the loss is the distance of the learning rate from 1e-3, in powers of ten."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, int | None]] = []
        self.raise_at: dict[int, Exception] = {}
        self.times_raised = 0

    def __call__(self, trial: Trial, _spec: Any, _stop: Any, until: int | None) -> Measurement:
        self.calls.append((trial.number, until))
        error = self.raise_at.get(len(self.calls))
        if error is not None:
            raise error
        folder = trial.paths.checkpoints if until else trial.paths.trained
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "weights").write_text(json.dumps(trial.config["learning_rate"]))
        manifest.commit(folder)
        loss = abs(math.log10(float(trial.config["learning_rate"])) + 3)
        return Measurement(until or 12, {"loss": loss, "perplexity": math.exp(loss)})


@pytest.fixture
def objective(monkeypatch: pytest.MonkeyPatch) -> Objective:
    found = Objective()
    monkeypatch.setattr(stage, "train_and_measure", found)
    return found


@pytest.fixture
def open_sweep(make_run: MakeRun, tmp_path: Path) -> Callable[..., RunContext]:
    def make(sweep: dict[str, Any]) -> RunContext:
        context = RunContext.open(make_run(spec={"sweep": sweep}).root)
        return replace(context, base_folder=tmp_path)

    return make


def run(context: RunContext) -> dict[str, Any]:
    assert context.spec.sweep is not None
    return stage.run(context, context.spec.sweep, World())


def states(context: RunContext) -> list[str]:
    return [row["state"] for row in read_json(context.paths.sweep)["trials"]]


def test_a_grid_trains_every_trial_once_and_gives_the_best_ones_weights(
    open_sweep: Callable[..., RunContext], objective: Objective
) -> None:
    context = open_sweep(GRID)
    result = run(context)
    assert objective.calls == [(0, None), (1, None), (2, None)]
    assert result["parameters"] == {"learning_rate": 1e-3}
    assert context.record.trials[result["trial"]] == {"learning_rate": 1e-3}
    assert result["metric"] == {"loss": 0}
    assert manifest.damage(context.paths.trained) == []
    assert json.loads((context.paths.trained / "weights").read_text()) == 1e-3
    assert states(context) == ["finished"] * 3
    kept = [number for number in range(3) if (context.paths.trial(number) / "trained").exists()]
    assert kept == [result["trial"]]


def test_a_trial_is_a_run_directory_with_its_own_config(
    open_sweep: Callable[..., RunContext], objective: Objective
) -> None:
    context = open_sweep(GRID)
    run(context)
    for number, parameters in enumerate(context.record.trials):
        own = RunContext.open(context.paths.trial(number))
        assert own.record.id == f"{context.record.id}-{number:03d}"
        assert own.config == context.record.training_config | parameters
        assert own.spec.sweep is None


def test_asha_trains_all_a_little_and_the_best_to_the_end(
    open_sweep: Callable[..., RunContext], objective: Objective
) -> None:
    context = open_sweep(ASHA)
    result = run(context)
    assert [until for _, until in objective.calls] == [2] * 9 + [6] * 3 + [None]
    losses = [abs(math.log10(each["learning_rate"]) + 3) for each in context.record.trials]
    expected = sorted(range(9), key=lambda number: losses[number])
    assert {number for number, until in objective.calls if until == 6} == set(expected[:3])
    assert result["trial"] == expected[0] == objective.calls[-1][0]
    assert states(context).count("pruned") == 8
    assert not (context.paths.trial(expected[1]) / "checkpoints").exists()


@pytest.mark.parametrize("stopped_at", range(1, 14))
def test_a_sweep_stopped_anywhere_goes_on_and_repeats_nothing_that_was_measured(
    open_sweep: Callable[..., RunContext], objective: Objective, stopped_at: int
) -> None:
    context = open_sweep(ASHA)
    objective.raise_at[stopped_at] = Preempted.of("stopped", "go on")
    with pytest.raises(Preempted):
        run(context)
    result = run(context)
    assert len(objective.calls) == 14
    stopped = objective.calls.pop(stopped_at - 1)
    assert stopped == objective.calls[stopped_at - 1]
    assert len(set(objective.calls)) == 13
    assert result["trial"] == objective.calls[-1][0]


def test_a_finished_sweep_trains_nothing_again(open_sweep: Callable[..., RunContext], objective: Objective) -> None:
    context = open_sweep(GRID)
    first = run(context)
    assert run(context) == first
    assert len(objective.calls) == 3


def test_weights_of_the_best_trial_that_were_lost_are_trained_again(
    open_sweep: Callable[..., RunContext], objective: Objective
) -> None:
    context = open_sweep(GRID)
    first = run(context)
    (context.paths.trial(first["trial"]) / "trained" / "weights").unlink()
    assert run(context)["digest"] == first["digest"]
    assert objective.calls[3:] == [(first["trial"], None)]


def test_a_trial_that_fails_is_noted_and_the_others_go_on(
    open_sweep: Callable[..., RunContext], objective: Objective
) -> None:
    context = open_sweep(GRID)
    objective.raise_at[2] = RuntimeError("CUDA out of memory")
    result = run(context)
    assert states(context)[1] == "failed"
    assert result["trial"] != 1
    [event] = [each for each in read_events(context.paths.events)[0] if each["event"] == "trial_failed"]
    assert "Memory was too small" in event["problems"][0]["message"]
    run(context)
    assert len(objective.calls) == 3


def test_what_would_stop_every_trial_stops_the_sweep(
    open_sweep: Callable[..., RunContext], objective: Objective
) -> None:
    context = open_sweep(GRID)
    objective.raise_at[2] = OSError(28, "No space left on device")
    with pytest.raises(UnavailableError, match="disk became full"):
        run(context)
    run(context)
    assert states(context) == ["finished"] * 3


def test_a_sweep_of_which_every_trial_fails_says_why(
    open_sweep: Callable[..., RunContext], objective: Objective
) -> None:
    context = open_sweep(GRID)
    objective.raise_at = {number: RuntimeError("out of memory") for number in (1, 2, 3)}
    with pytest.raises(InputError, match="Every trial failed; the first: Memory was too small"):
        run(context)


def test_a_spent_budget_starts_no_more_trials_and_the_best_so_far_wins(
    open_sweep: Callable[..., RunContext], objective: Objective, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = open_sweep({**GRID, "budget": {"hours": 1.5}})
    now = [0.0]

    def an_hour_later() -> float:
        now[0] += 3600.0
        return now[0]

    monkeypatch.setattr(stage.time, "monotonic", an_hour_later)
    result = run(context)
    assert objective.calls == [(0, None), (1, None)]
    assert states(context) == ["finished", "finished", "skipped"]
    assert result["trial"] in (0, 1)


def test_the_best_trial_is_trained_to_its_end_whatever_the_budget(
    open_sweep: Callable[..., RunContext], objective: Objective, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = open_sweep({**ASHA, "budget": {"hours": 0.1}})
    now = [0.0]

    def ten_minutes_later() -> float:
        now[0] += 600.0
        return now[0]

    monkeypatch.setattr(stage.time, "monotonic", ten_minutes_later)
    assert run(context)["trial"] == 0
    assert objective.calls == [(0, 2), (0, None)]
    assert states(context) == ["finished"] + ["skipped"] * 8


def test_a_result_of_other_parameters_does_not_count(
    open_sweep: Callable[..., RunContext], objective: Objective
) -> None:
    context = open_sweep(GRID)
    stale = TrialResult(0, {"learning_rate": 7.0}, {0: Measurement(12, {"loss": 0.0})})
    context.paths.trial(0).mkdir(parents=True)
    stale.write(context.paths)
    context.paths.trial(1).mkdir(parents=True)
    (context.paths.trial(1) / "result.json").write_text('{"measured": 7')
    run(context)
    assert len(objective.calls) == 3


def test_the_stages_after_it_see_the_best_trials_config(
    open_sweep: Callable[..., RunContext], objective: Objective
) -> None:
    from workloads.stages.publish import lineage
    from workloads.stages.runner import run_stages

    context = open_sweep(GRID)
    assert context.config == context.record.training_config
    run_stages(context, ["train"])
    assert context.config["learning_rate"] == 1e-3
    for name in ("fetch", "prepare", "evaluate"):
        context.paths.marker(name).write_text(json.dumps({"outputs": {"digest": "", "before": {}, "after": {}}}))
    origin = lineage(context)
    assert origin["training_config"]["learning_rate"] == 1e-3
    assert origin["sweep"] == {
        "trial": context.outputs("train")["trial"],
        "of": 3,
        "parameters": {"learning_rate": 1e-3},
        "metric": {"loss": 0},
    }


def test_several_processes_are_refused(open_sweep: Callable[..., RunContext], objective: Objective) -> None:
    context = open_sweep(GRID)
    assert context.spec.sweep is not None
    with pytest.raises(InputError, match="one process each, not in 2"):
        stage.run(context, context.spec.sweep, World(processes=2))
    assert objective.calls == []
