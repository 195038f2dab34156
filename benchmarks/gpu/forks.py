"""Runs cases as forks of one process that has imported everything: seconds of imports a case would cost GPU time.

The parent never touches the GPU. A case that fails, hangs or runs out of memory costs itself only.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.gpu.cases import Case

_POLL_SECONDS = 0.05
_TOGETHER = 6
_PRELOADED = (
    "liger_kernel.transformers",
    "llamafactory.train.tuner",
    *(f"transformers.models.{name}.modeling_{name}" for name in ("llama", "mistral", "qwen2", "qwen3")),
    "workloads.bench.probe",
    "workloads.training.fast.trainer",
    "workloads.training.fast.layer",
)


def preload() -> bool:
    """Imports what cases need; whether the GPU is untouched, so that forks can use it.

    LLaMA-Factory asks CUDA for bf16 when it is imported (extras/misc.py), and so would open the GPU in this process.
    """
    import torch

    asked, torch.cuda.is_bf16_supported = torch.cuda.is_bf16_supported, lambda *_: True
    try:
        for module in _PRELOADED:
            importlib.import_module(module)
    finally:
        torch.cuda.is_bf16_supported = asked
    return not torch.cuda.is_initialized()


class Results:
    """Lines of JSON that are on disk as soon as they are known."""

    def __init__(self, file: Path) -> None:
        self._file = file
        file.parent.mkdir(parents=True, exist_ok=True)

    def add(self, kind: str, value: dict[str, Any]) -> None:
        """Appends a line."""
        with self._file.open("a") as out:
            out.write(json.dumps({"kind": kind, **value}) + "\n")


class Fork:
    """A function in a process of its own, whose result comes back as JSON."""

    def __init__(self, run: Callable[[], dict[str, Any]], log: Path, limit: float) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        self._answer = log.with_suffix(".json")
        self._log = log
        self.started = time.monotonic()
        self._deadline = self.started + limit
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            self._child(run)

    def _child(self, run: Callable[[], dict[str, Any]]) -> None:
        code = 1
        try:
            os.setsid()
            descriptor = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(descriptor, 1)
            os.dup2(descriptor, 2)
            self._answer.write_text(json.dumps({"ok": True, **run()}))
            code = 0
        except BaseException as error:
            traceback.print_exc()
            text = f"{type(error).__name__}: {error}"[:600]
            where = [f"{Path(each.filename).name}:{each.lineno}" for each in traceback.extract_tb(error.__traceback__)]
            self._answer.write_text(json.dumps({"ok": False, "error": text, "where": where[-6:]}))
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def poll(self) -> dict[str, Any] | None:
        """What came of it, once it has ended."""
        ended, status = os.waitpid(self.pid, os.WNOHANG)
        seconds = round(time.monotonic() - self.started, 2)
        if not ended:
            if time.monotonic() < self._deadline:
                return None
            os.killpg(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            return {"ok": False, "error": f"ended after {seconds} s, its limit", "seconds": seconds}
        if not self._answer.is_file():
            return {"ok": False, "error": f"ended with status {status}", "seconds": seconds}
        answer: dict[str, Any] = json.loads(self._answer.read_text())
        return answer | {"seconds": seconds}

    def wait(self) -> dict[str, Any]:
        """Waits for what comes of it."""
        while (answer := self.poll()) is None:
            time.sleep(_POLL_SECONDS)
        return answer


def run_cases(
    cases: Sequence[Case],
    train: Callable[[Case], dict[str, Any]],
    results: Results,
    logs: Path,
    until: float,
    told: Callable[[Case, dict[str, Any]], None],
) -> dict[str, dict[str, Any]]:
    """Runs cases one after another, as long as there is time; their results by name.

    Args:
        until: by time.monotonic(): no case begins after it.
    """
    found = {}
    for case in cases:
        if time.monotonic() > until:
            results.add("left_out", {"case": case.name})
            continue
        log = logs / f"{case.name.replace('/', '_').replace(' ', '_')}.log"
        limit = min(case.limit, max(15.0, until + 20 - time.monotonic()))
        found[case.name] = Fork(lambda case=case: train(case), log, limit).wait()  # type: ignore[misc]
        results.add("case", {"case": asdict(case), **found[case.name]})
        told(case, found[case.name])
    return found


def run_together(
    cases: Sequence[tuple[Case, int]],
    room: int,
    train: Callable[[Case], dict[str, Any]],
    results: Results,
    logs: Path,
    until: float,
    told: Callable[[Case, dict[str, Any]], None],
) -> None:
    """Runs cases beside one another, as many as fit into the GPU's memory together; for what is no timing.

    Args:
        cases: each with the bytes that it may need.
        room: bytes of the GPU.
    """
    waiting, running = list(cases), list[tuple[Case, int, Fork]]()
    while waiting or running:
        left = room - sum(size for _, size, _ in running)
        fitting = next((each for each in waiting if each[1] <= left or not running), None)
        if fitting is not None and len(running) < _TOGETHER and time.monotonic() < until:
            waiting.remove(fitting)
            case, size = fitting
            log = logs / f"{case.name.replace('/', '_').replace(' ', '_')}.log"
            running.append((case, size, Fork(lambda case=case: train(case), log, case.limit)))  # type: ignore[misc]
        for each in list(running):
            if (answer := each[2].poll()) is not None:
                running.remove(each)
                results.add("memory", {"case": asdict(each[0]), **answer})
                told(each[0], answer)
        if time.monotonic() >= until and waiting:
            results.add("left_out", {"cases": [case.name for case, _ in waiting]})
            waiting = []
        time.sleep(_POLL_SECONDS)
