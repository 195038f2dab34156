"""A training that hangs: when it counts as hanging, and how its process ends."""

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from workloads.errors import ExitCode
from workloads.events import EventLog, read_events
from workloads.runtime import RunPaths
from workloads.training.rescue import stalled
from workloads.training.stall import StallWatch

_HANGS = """
import time, sys, transformers
from workloads.stages.runner import main
step = transformers.Trainer.training_step
def hangs(self, *arguments, **named):
    if self.state.global_step == 6:
        time.sleep(600)
    return step(self, *arguments, **named)
transformers.Trainer.training_step = hangs
main()
"""


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def _state(step: int) -> Any:
    return SimpleNamespace(global_step=step)


def test_the_limit_follows_the_median_step_and_has_a_floor() -> None:
    clock = Clock()
    watch = StallWatch(10, 5.0, lambda *_: None, clock, first=100.0)
    assert watch.limit == 100.0
    for number, seconds in enumerate((1.0, 1.0, 30.0)):
        watch.on_step_begin(None, _state(number), None)
        clock.now += seconds
        watch.on_step_end(None, _state(number + 1), None)
        clock.now += 50.0  # a save is no step
        watch.on_save(None, _state(number + 1), None)
    assert watch.limit == 10.0
    clock.now += 10.0
    assert not watch.look()
    clock.now += 0.1
    assert watch.look()
    watch.on_prediction_step(None, _state(3), None)
    assert not watch.look()


def test_it_tells_once_where_the_training_was() -> None:
    told = threading.Event()
    found: list[tuple[int, float]] = []

    def tell(step: int, seconds: float) -> None:
        found.append((step, seconds))
        told.set()

    clock = Clock()
    watch = StallWatch(10, 0.001, tell, clock, first=0.001)
    watch.on_train_begin(None, _state(3), None)
    clock.now += 60.0
    assert told.wait(20.0)
    assert found == [(3, 60.0)]
    watch.close()


def test_it_restarts_free_of_charge_but_not_for_ever(tmp_path: Path) -> None:
    paths = RunPaths(tmp_path)
    events, stacks = EventLog(paths.events), tmp_path / "logs" / "stacks-rank-0.txt"
    codes = [stalled(paths, events, 6, 300.0, stacks).exit_code for _ in range(2)]
    events.append("checkpoint_saved", step=8)
    codes += [stalled(paths, events, 9, 300.0, stacks).exit_code for _ in range(3)]
    assert codes == [ExitCode.PREEMPTED] * 4 + [ExitCode.INTERNAL]
    last = read_events(paths.events)[0][-1]
    assert last["event"] == "stage_failed"
    assert "3 times in a row" in last["problems"][0]["message"]


@pytest.mark.training
def test_a_process_that_hangs_writes_its_stacks_and_leaves(make_run: Callable[..., RunPaths]) -> None:
    recovery = {"stall_factor": 5, "stall_seconds": 1.0}
    paths = make_run({"val_size": 0.0}, {"recovery": recovery})
    done = subprocess.run([sys.executable, "-c", _HANGS, str(paths.root)], capture_output=True, text=True, timeout=120)
    assert done.returncode == ExitCode.PREEMPTED, done.stderr[-2000:]
    stacks = (paths.log.parent / "stacks-rank-0.txt").read_text()
    assert "in hangs" in stacks
    assert "The training made no progress for" in done.stderr
    events = read_events(paths.events)[0]
    assert [event["step"] for event in events if event["event"] == "stalled"] == [6]
    assert events[-1]["problems"][0]["fix"] == "run it again: it continues from step 4"
