"""The worker as a process: stopped, killed, torn checkpoints, two at once."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest

from workloads.errors import ExitCode
from workloads.events import read_events
from workloads.runtime import RunPaths
from workloads.storage import manifest
from workloads.training.checkpoints import list_checkpoints

pytestmark = pytest.mark.training

Start = Callable[..., subprocess.Popen[bytes]]
LONG = {"max_steps": 60, "save_steps": 10}


def _events(paths: RunPaths, name: str) -> list[dict[str, Any]]:
    return [event for event in read_events(paths.events)[0] if event["event"] == name]


def _wait_for_step(paths: RunPaths, process: subprocess.Popen[bytes], step: int) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if any(event["step"] >= step for event in _events(paths, "log")):
            return
        assert process.poll() is None, paths.log.read_text()[-2000:]
        time.sleep(0.01)
    raise AssertionError(f"step {step} was not reached")


def test_sigterm_saves_exits_75_and_loses_no_step(make_run: Callable[..., RunPaths], start_run: Start) -> None:
    paths = make_run(LONG)
    process = start_run(paths)
    _wait_for_step(paths, process, 13)
    process.terminate()
    assert process.wait(30) == ExitCode.PREEMPTED
    stopped_at = _events(paths, "preempted")[0]["step"]
    newest = list_checkpoints(paths.checkpoints)[0]
    assert newest.step == stopped_at
    assert manifest.damage(newest.folder) == []
    assert not paths.marker("train").exists()

    assert start_run(paths).wait(120) == ExitCode.OK
    assert [event["step"] for event in _events(paths, "resumed")] == [stopped_at]
    logged = [event["step"] for event in _events(paths, "log")]
    assert logged == list(range(1, 61))
    assert json.loads(paths.marker("train").read_text())["outputs"]["steps"] == 60


def test_sigkill_and_a_torn_checkpoint_cost_at_most_the_steps_since_the_one_before(
    make_run: Callable[..., RunPaths], start_run: Start
) -> None:
    paths = make_run(LONG)
    process = start_run(paths)
    _wait_for_step(paths, process, 25)
    process.kill()
    process.wait()
    newest = list_checkpoints(paths.checkpoints)[0]
    weights = newest.folder / "adapter_model.safetensors"
    os.truncate(weights, weights.stat().st_size // 2)

    second = start_run(paths)
    assert second.wait(120) == ExitCode.OK
    damaged = _events(paths, "checkpoint_damaged")
    assert damaged[0]["checkpoint"] == newest.folder.name
    assert "adapter_model.safetensors" in damaged[0]["reasons"][0]
    assert _events(paths, "resumed")[0]["step"] == newest.step - 10
    assert manifest.damage(paths.trained) == []


def test_a_second_process_on_the_same_run_is_refused(make_run: Callable[..., RunPaths], start_run: Start) -> None:
    paths = make_run(LONG)
    first = start_run(paths)
    _wait_for_step(paths, first, 1)
    assert start_run(paths).wait(60) == ExitCode.UNAVAILABLE
    assert "Another process works on this run" in paths.log.read_text()
    first.send_signal(signal.SIGINT)
    assert first.wait(30) == ExitCode.PREEMPTED


def test_each_stage_runs_alone_and_says_what_it_needs_first(
    make_run: Callable[..., RunPaths], start_run: Start
) -> None:
    paths = make_run({"max_steps": 1})
    assert start_run(paths, "export").wait(60) == ExitCode.INPUT
    assert "The stage fetch has not finished" in paths.log.read_text()
    assert start_run(paths, "fetch").wait(60) == ExitCode.OK
    assert paths.marker("fetch").exists()
