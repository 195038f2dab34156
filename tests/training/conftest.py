"""Trainings by several processes: a run that is ready to train, and its processes."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from workloads.events import read_events
from workloads.runtime import RunPaths
from workloads.stages.context import RunContext
from workloads.stages.runner import run_stages

_PATIENCE = 240.0


@dataclass
class GangRun:
    """A prepared run and the launcher of its ranks."""

    paths: RunPaths
    start: Callable[..., subprocess.Popen[bytes]]
    launcher: subprocess.Popen[bytes] | None = None

    def train_alone(self) -> None:
        """Trains to the end in this process."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TUNERY_PROCESSES", "1")
            run_stages(RunContext.open(self.paths.root), ["train"])

    def launch(self) -> None:
        self.launcher = self.start(self.paths, "train")

    def ranks(self) -> list[psutil.Process]:
        """The ranks that are alive, by rank."""
        assert self.launcher is not None
        found = {}
        for process in psutil.Process(self.launcher.pid).children(recursive=True):
            try:
                if "workloads.stages.rank" in process.cmdline():
                    found[int(process.environ()["RANK"])] = process
            except psutil.NoSuchProcess:
                continue
        return [found[rank] for rank in sorted(found)]

    def signal_rank(self, rank: int, number: signal.Signals) -> None:
        os.kill(self.ranks()[rank].pid, number)

    def wait_for_step(self, step: int) -> None:
        assert self.launcher is not None
        deadline = time.monotonic() + _PATIENCE
        while not any(event["step"] >= step for event in self.events("log")):
            assert self.launcher.poll() is None, self.log()
            assert time.monotonic() < deadline, f"step {step} was not reached"
            time.sleep(0.01)

    def wait(self) -> int:
        assert self.launcher is not None
        return self.launcher.wait(_PATIENCE)

    def events(self, name: str) -> list[dict[str, Any]]:
        return [event for event in read_events(self.paths.events)[0] if event["event"] == name]

    def losses(self) -> dict[int, float]:
        return {event["step"]: event["loss"] for event in self.events("log") if "loss" in event}

    def log(self) -> str:
        return self.paths.log.read_text()[-3000:]


@pytest.fixture
def gang_run(
    make_run: Callable[..., RunPaths],
    start_run: Callable[..., subprocess.Popen[bytes]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Callable[..., GangRun]:
    """Makes a run whose data is prepared, to be trained by two processes."""
    monkeypatch.setenv("TUNERY_PROCESSES", "2")
    monkeypatch.setenv("TUNERY_GRACE_SECONDS", "60")

    def make(config: dict[str, Any], runs: str = "runs", spec: dict[str, Any] | None = None) -> GangRun:
        monkeypatch.setenv("TUNERY_RUNS", str(tmp_path / runs))
        paths = make_run({"val_size": 0.0} | config, spec)
        run_stages(RunContext.open(paths.root), ["fetch", "prepare"])
        return GangRun(paths, start_run)

    return make
