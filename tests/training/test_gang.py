"""Two ranks on this machine, for real: to the end, stopped, killed, and on two nodes that share no disk."""

import json
import os
import signal
import socket
import time
from collections.abc import Callable

import psutil
import pytest

from workloads.errors import ExitCode, UnavailableError
from workloads.storage import manifest
from workloads.training.checkpoints import list_checkpoints
from workloads.training.preflight import gathered, open_store
from workloads.training.world import World

pytestmark = pytest.mark.training

Make = Callable[..., "GangRun"]  # noqa: F821 of conftest.py
LONG = {"max_steps": 48, "save_steps": 16}


@pytest.mark.slow
def test_a_stop_of_one_rank_stops_both_at_one_step_and_what_is_learnt_stays_that_of_one_process(gang_run: Make) -> None:
    run, reference = gang_run(LONG), gang_run(LONG, "reference")
    reference.train_alone()
    run.launch()
    run.wait_for_step(20)
    run.signal_rank(1, signal.SIGTERM)
    assert run.wait() == ExitCode.PREEMPTED, run.log()
    stopped_at = run.events("preempted")[0]["step"]
    newest = list_checkpoints(run.paths.checkpoints)[0]
    assert newest.step == stopped_at
    assert manifest.damage(newest.folder) == []
    assert {"rng_state_0.pth", "rng_state_1.pth"} <= {each.path for each in manifest.scan(newest.folder).files}
    assert not run.paths.marker("train").exists()

    run.launch()
    assert run.wait() == ExitCode.OK, run.log()
    assert [event["step"] for event in run.events("resumed")] == [stopped_at]
    assert [event["step"] for event in run.events("log")] == list(range(1, 49))
    assert json.loads(run.paths.marker("train").read_text())["outputs"]["steps"] == 48
    assert manifest.damage(run.paths.trained) == []

    assert run.losses() == pytest.approx(reference.losses(), rel=1e-3)


@pytest.mark.slow
def test_a_loss_that_goes_takes_both_ranks_back_and_ends_the_run_when_it_goes_again(gang_run: Make) -> None:
    run = gang_run({"learning_rate": 1e30, "finetuning_type": "full"})
    run.launch()
    assert run.wait() == ExitCode.INPUT, run.log()
    assert len(run.events("rolled_back")) == 3
    assert "does not get past it" in run.events("stage_failed")[0]["problems"][0]["message"]


@pytest.mark.slow
def test_a_killed_rank_ends_the_others_is_named_and_costs_the_steps_since_the_last_save(gang_run: Make) -> None:
    run = gang_run(LONG)
    run.launch()
    run.wait_for_step(20)
    ranks = run.ranks()
    os.kill(ranks[1].pid, signal.SIGKILL)
    assert run.wait() == ExitCode.UNAVAILABLE, run.log()
    assert not psutil.wait_procs(ranks, timeout=5)[1]
    assert "Rank 1" in run.events("stage_failed")[0]["problems"][0]["message"]
    assert "killed by SIGKILL" in run.events("stage_failed")[0]["problems"][0]["message"]

    run.launch()
    assert run.wait() == ExitCode.OK, run.log()
    assert [event["step"] for event in run.events("resumed")] == [16]
    assert sorted(run.losses()) == list(range(1, 49))


@pytest.mark.slow
def test_what_two_processes_began_one_ends_with_the_same_result(gang_run: Make) -> None:
    run, reference = gang_run(LONG), gang_run(LONG, "reference")
    run.launch()
    run.wait_for_step(20)
    run.signal_rank(0, signal.SIGTERM)
    assert run.wait() == ExitCode.PREEMPTED, run.log()
    run.train_alone()
    reference.train_alone()
    assert run.losses() == pytest.approx(reference.losses(), rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_no_rank_outlives_its_launcher_and_a_stop_of_it_saves(gang_run: Make, number: signal.Signals) -> None:
    run = gang_run(LONG)
    run.launch()
    run.wait_for_step(18)
    assert run.launcher is not None
    family = psutil.Process(run.launcher.pid).children(recursive=True)
    assert len(family) == 3
    run.launcher.send_signal(number)
    assert run.wait() == (ExitCode.PREEMPTED if number == signal.SIGTERM else -number)
    assert not psutil.wait_procs(family, timeout=60)[1]
    assert list_checkpoints(run.paths.checkpoints)[0].step >= 18


@pytest.mark.slow
def test_two_nodes_without_a_common_disk_train_stop_and_go_on_together(
    gang_run: Make, monkeypatch: pytest.MonkeyPatch, unused_port: int
) -> None:
    monkeypatch.setenv("TUNERY_PROCESSES", "1")
    nodes = [gang_run(LONG, f"node-{number}") for number in range(2)]

    def launch() -> None:
        for number, node in enumerate(nodes):
            for name, value in {
                "NNODES": "2",
                "JOB_COMPLETION_INDEX": str(number),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(unused_port),
                "GLOO_SOCKET_IFNAME": "lo",
            }.items():
                monkeypatch.setenv(name, value)
            node.launch()

    launch()
    nodes[0].wait_for_step(20)
    assert nodes[1].launcher is not None
    started = time.monotonic()
    nodes[1].launcher.terminate()
    assert [node.wait() for node in nodes] == [ExitCode.PREEMPTED] * 2, nodes[0].log() + nodes[1].log()
    assert time.monotonic() - started < 60
    newest = list_checkpoints(nodes[0].paths.checkpoints)[0]
    assert manifest.damage(newest.folder) == []
    assert (newest.folder / "rng_state_1.pth").is_file()
    assert list_checkpoints(nodes[1].paths.checkpoints) == []

    launch()
    assert [node.wait() for node in nodes] == [ExitCode.OK] * 2, nodes[0].log() + nodes[1].log()
    assert [event["step"] for event in nodes[0].events("log")] == list(range(1, 49))
    assert nodes[1].events("log") == []
    assert nodes[0].paths.trained.is_dir()
    assert not nodes[1].paths.trained.exists()


@pytest.mark.slow
def test_a_node_does_not_wait_for_the_launcher_of_another_that_is_gone(
    gang_run: Make, monkeypatch: pytest.MonkeyPatch, unused_port: int
) -> None:
    nodes = [gang_run(LONG, f"node-{number}") for number in range(2)]
    common = {"TUNERY_PROCESSES": "1", "NNODES": "2", "MASTER_ADDR": "127.0.0.1", "GLOO_SOCKET_IFNAME": "lo"}
    for name, value in (common | {"MASTER_PORT": str(unused_port)}).items():
        monkeypatch.setenv(name, value)
    for number, node in enumerate(nodes):
        monkeypatch.setenv("JOB_COMPLETION_INDEX", str(number))
        node.launch()
    nodes[0].wait_for_step(20)
    assert nodes[1].launcher is not None
    nodes[1].launcher.kill()  # its rank hears of that, and all save together
    started = time.monotonic()
    assert nodes[0].wait() == ExitCode.PREEMPTED, nodes[0].log()
    assert time.monotonic() - started < 60
    assert list_checkpoints(nodes[0].paths.checkpoints)[0].step >= 20


@pytest.mark.slow
def test_an_elastic_training_goes_on_without_a_node_that_is_lost(
    gang_run: Make, monkeypatch: pytest.MonkeyPatch, unused_port: int
) -> None:
    reference = gang_run(LONG, "reference")
    reference.train_alone()
    nodes = [gang_run(LONG, f"node-{number}") for number in range(2)]
    common = {"TUNERY_PROCESSES": "1", "NNODES": "1:2", "MASTER_ADDR": "127.0.0.1", "GLOO_SOCKET_IFNAME": "lo"}
    for name, value in (common | {"MASTER_PORT": str(unused_port)}).items():
        monkeypatch.setenv(name, value)

    def launch(number: int, last_call: int) -> None:
        monkeypatch.setenv("JOB_COMPLETION_INDEX", str(number))
        monkeypatch.setenv("TUNERY_LAST_CALL_SECONDS", str(last_call))
        nodes[number].launch()

    launch(0, 60)
    launch(1, 60)
    nodes[0].wait_for_step(20)
    assert nodes[1].launcher is not None
    lost = psutil.Process(nodes[1].launcher.pid)
    for process in [lost, *lost.children(recursive=True)]:
        process.kill()
    assert nodes[0].wait() == ExitCode.UNAVAILABLE, nodes[0].log()
    nodes[1].wait()

    launch(0, 0)
    assert nodes[0].wait() == ExitCode.OK, nodes[0].log()
    assert [event["step"] for event in nodes[0].events("resumed")] == [16]
    assert nodes[0].losses() == pytest.approx(reference.losses(), rel=1e-3)


def test_a_node_that_does_not_come_is_named(gang_run: Make, monkeypatch: pytest.MonkeyPatch, unused_port: int) -> None:
    world = World(1, 2, 0, "127.0.0.1", unused_port)
    store = open_store(world, 10)
    with pytest.raises(UnavailableError, match=r"node 1 did not arrive .*; there are 0 \("):
        gathered(store, world, 0.2)


@pytest.fixture
def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
