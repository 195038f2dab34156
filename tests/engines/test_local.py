import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from workloads.engines.local import Execution, find_run, list_runs, state, worker_environment
from workloads.errors import InputError, Preempted, TuneryError
from workloads.events import EventLog
from workloads.runtime import RunPaths, runs_dir
from workloads.storage.atomic import write_json
from workloads.training.signals import ENV_PARENT

MakeRun = Callable[..., RunPaths]


def _fake_run(name: str) -> RunPaths:
    paths = RunPaths(runs_dir() / name)
    write_json(paths.record, {"id": name})
    return paths


def test_a_run_is_found_by_id_by_prefix_and_by_directory() -> None:
    paths = _fake_run("demo-1a2b3c")
    _fake_run("other-000000")
    for text in ("demo-1a2b3c", "demo", str(paths.root)):
        assert find_run(text).root.resolve() == paths.root.resolve()


def test_an_id_that_begins_another_is_itself() -> None:
    _fake_run("demo-1")
    _fake_run("demo-12")
    assert find_run("demo-1").root.name == "demo-1"


def test_an_unclear_or_unknown_run_is_explained() -> None:
    _fake_run("demo-1a")
    _fake_run("demo-1b")
    _fake_run("other-12")
    with pytest.raises(InputError, match="beginning of 2 runs"):
        find_run("demo")
    with pytest.raises(InputError, match="Did you mean 'other-12'"):
        find_run("othr-12")


def test_no_runs_is_an_empty_list() -> None:
    assert list_runs() == []


@pytest.mark.parametrize(
    ("last", "expected"),
    [(None, "created"), ("run_finished", "finished"), ("stage_failed", "failed"), ("preempted", "stopped")],
)
def test_state_is_read_from_what_happened(last: str | None, expected: str) -> None:
    paths = _fake_run("demo-1")
    if last:
        EventLog(paths.events).append(last)
    assert state(paths) == expected


def test_a_worker_is_offline_and_bound_to_its_parent() -> None:
    environment = worker_environment({"HOME": "/x", "OMP_NUM_THREADS": "7"})
    assert environment["HF_HUB_OFFLINE"] == "1"
    assert environment[ENV_PARENT] == str(os.getpid())
    assert environment["OMP_NUM_THREADS"] == "7"


@pytest.mark.training
def test_a_stopped_run_raises_what_the_stage_said_and_goes_on(make_run: MakeRun) -> None:
    paths = make_run({"max_steps": 40, "save_steps": 20})
    heard: list[dict[str, Any]] = []
    execution = Execution(paths)

    def watch(event: dict[str, Any]) -> None:
        heard.append(event)
        if event["event"] == "progress" and event["step"] >= 5:
            execution.stop()

    with pytest.raises(Preempted):
        execution.wait(watch)
    assert state(paths) == "stopped"
    Execution(paths).wait(heard.append)
    assert state(paths) == "finished"
    assert {"progress", "preempted", "resumed", "run_finished"} <= {event["event"] for event in heard}


@pytest.mark.training
def test_a_failure_in_the_worker_reaches_the_person(make_run: MakeRun, tiny_model: Path) -> None:
    paths = make_run({"model_name_or_path": str(tiny_model)})
    (tiny_model / "config.json").write_text("{")
    with pytest.raises(InputError, match="has changed"):
        Execution(paths).wait(lambda _: None)
    assert state(paths) == "failed"


def test_a_killed_worker_is_reported_as_killed(make_run: MakeRun) -> None:
    execution = Execution(make_run())
    execution.process.kill()
    with pytest.raises(TuneryError, match="killed by SIGKILL") as caught:
        execution.wait(lambda _: None)
    assert "--resume" in caught.value.problems[0].fix


def test_the_worker_does_not_outlive_its_parent(make_run: MakeRun) -> None:
    paths = make_run()
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom workloads.engines.local import Execution\n"
        "from workloads.runtime import RunPaths\n"
        f"print(Execution(RunPaths(Path({str(paths.root)!r}))).process.pid, flush=True)\ntime.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 60
    while _alive(worker) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not _alive(worker)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_signals_to_the_parent_reach_the_worker_and_its_handlers_come_back(make_run: MakeRun) -> None:
    before = signal.getsignal(signal.SIGTERM)
    execution = Execution(make_run())
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM)).start()
    with pytest.raises(TuneryError):
        execution.wait(lambda _: None)
    assert execution.process.returncode is not None
    assert signal.getsignal(signal.SIGTERM) is before
