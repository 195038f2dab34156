"""Sweeps of real trainings on the tiny model, in this process."""

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from workloads.errors import ExitCode, Preempted
from workloads.events import read_events
from workloads.runtime import RunPaths
from workloads.stages import sweep as stage
from workloads.stages.context import RunContext
from workloads.stages.runner import planned, run_stages
from workloads.storage import manifest
from workloads.storage.atomic import read_json
from workloads.sweep.trials import train_and_measure

pytestmark = pytest.mark.training

MakeRun = Callable[..., RunPaths]
RATES = {"learning_rate": {"values": [1e-5, 1e-2, 1e-4]}}
RANKS = {"lora_rank": {"min": 2, "max": 16}}
FAST = {"max_steps": 6, "save_steps": 3}


def finish(paths: RunPaths) -> RunContext:
    context = RunContext.open(paths.root)
    run_stages(context, planned(context))
    return context


def test_three_trials_in_one_process_and_the_best_one_is_published(make_run: MakeRun) -> None:
    paths = make_run(FAST, {"sweep": {"method": "grid", "parameters": RATES}, "publish": {"name": "team/best"}})
    context = finish(paths)
    found = read_json(paths.sweep)
    losses = {row["parameters"]["learning_rate"]: row["metric"] for row in found["trials"]}
    assert min(losses, key=lambda rate: losses[rate]) == 1e-2
    assert context.config["learning_rate"] == 1e-2
    evaluation = read_json(paths.evaluation)
    assert evaluation["after"]["loss"] == losses[1e-2] < evaluation["before"]["loss"]
    assert {row["steps"] for row in found["trials"]} == {6}
    assert paths.marker("publish").is_file()
    name = "adapter_model.safetensors"  # one file with two names: the best weights are not kept twice
    assert (paths.trained / name).samefile(paths.trial(found["best"]) / "trained" / name)

    # What ran before it in the same process has left no trace: alone, the same config gives the same weights.
    alone = finish(make_run({**FAST, "learning_rate": 1e-2}, {"name": "alone"}))
    assert read_json(alone.paths.evaluation)["after"]["loss"] == losses[1e-2]
    assert weights_of(alone.paths.trained) == weights_of(paths.trained)


def weights_of(folder: Path) -> str:
    return manifest.sha256_file(folder / "adapter_model.safetensors")


def test_asha_continues_a_trial_as_if_it_had_never_paused(make_run: MakeRun) -> None:
    sweep = {"method": "asha", "trials": 4, "reduction": 4, "min_steps": 2, "parameters": RATES | RANKS}
    paths = make_run(FAST, {"sweep": sweep})
    context = finish(paths)
    found = read_json(paths.sweep)
    assert sorted(row["steps"] for row in found["trials"]) == [2, 2, 2, 6]
    events = read_events(paths.trial(found["best"]) / "events.jsonl")[0]
    assert [each["step"] for each in events if each["event"] in ("train_started", "resumed")] == [0, 2, 2]

    chosen = {key: context.config[key] for key in ("learning_rate", "lora_rank")}
    alone = finish(make_run({**FAST, **chosen}, {"name": "alone"}))
    assert weights_of(alone.paths.trained) == weights_of(paths.trained)


def test_a_sweep_stopped_in_a_training_saves_it_and_goes_on_there(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = make_run({**FAST, "save_steps": 100}, {"sweep": {"method": "grid", "parameters": RATES}})
    context = RunContext.open(paths.root)
    trained: list[int] = []

    def stop_in_second(trial: Any, spec: Any, stop: Any, until: int | None) -> Any:
        trained.append(trial.number)
        stop.requested = len(trained) == 2  # as a signal does; the training looks at the end of each step
        return train_and_measure(trial, spec, stop, until)

    monkeypatch.setattr(stage, "train_and_measure", stop_in_second)
    with pytest.raises(Preempted):
        run_stages(context, planned(context))
    finish(paths)
    assert trained == [0, 1, 1, 2]
    events = read_events(paths.trial(1) / "events.jsonl")[0]
    assert [each["step"] for each in events if each["event"] in ("preempted", "resumed")] == [1, 1]
    assert [row["state"] for row in read_json(paths.sweep)["trials"]] == ["finished"] * 3


def test_answers_can_decide(make_run: MakeRun) -> None:
    questions = {"evaluation": {"questions": {"file": "questions.jsonl", "max_new_tokens": 4}}}
    sweep = {"method": "grid", "parameters": {"lora_rank": {"values": [2]}}, "metric": "exact_match"}
    paths = make_run({"max_steps": 1}, questions | {"sweep": sweep})
    finish(paths)
    [row] = read_json(paths.sweep)["trials"]
    assert set(row["metrics"]) == {"exact_match"}
    assert row["metric"] == read_json(paths.evaluation)["after"]["exact_match"]


@pytest.mark.slow
def test_sigterm_ends_the_process_with_75_and_the_next_one_goes_on(
    make_run: MakeRun, start_run: Callable[[RunPaths], "subprocess.Popen[bytes]"]
) -> None:
    paths = make_run({"max_steps": 400, "save_steps": 400}, {"sweep": {"method": "grid", "parameters": RATES}})
    process = start_run(paths)
    events = paths.trial(0) / "events.jsonl"
    while not any(each["event"] == "log" for each in read_events(events)[0]):
        assert process.poll() is None, paths.log.read_text()[-2000:]
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == ExitCode.PREEMPTED
    [stopped] = [each["step"] for each in read_events(events)[0] if each["event"] == "preempted"]
    assert manifest.damage(paths.trial(0) / "checkpoints" / f"checkpoint-{stopped}") == []
    result = read_json(paths.trial(0) / "result.json")
    assert result["measured"] == {}
    assert result["seconds"] > 0

    second = start_run(paths)
    while not any(each["event"] == "resumed" for each in read_events(events)[0]):
        assert second.poll() is None, paths.log.read_text()[-2000:]
        time.sleep(0.02)
    [resumed] = [each["step"] for each in read_events(events)[0] if each["event"] == "resumed"]
    assert resumed == stopped
