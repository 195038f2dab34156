"""What ``status``, ``why`` and ``cost`` say of a sweep whose trials work in pods."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, cast

import pytest
from recorded_cluster.builders import NAMESPACE, NOW, RUN, Object, job, not_reserved, pod, running, workload
from recorded_cluster.cluster import RecordedCluster
from recorded_cluster.sweeps import HOUR, sweep_workflow, trial_node, write_sweep

from workloads import platform, prices
from workloads.cli.main import main
from workloads.engines import cluster_client as k8s
from workloads.engines import evidence as collecting
from workloads.engines.bills import read_bill
from workloads.engines.cluster_client import Cluster
from workloads.engines.cluster_state import status
from workloads.engines.remote import RemoteRun
from workloads.engines.remote_sweep import read_now
from workloads.engines.run_status import RunStatus, read_status
from workloads.engines.sweep_status import slot_of
from workloads.explain.explain import Explanation, explain
from workloads.storage.atomic import write_json
from workloads.storage.objects import open_store


@pytest.fixture
def remote(tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch) -> RemoteRun:
    """The sweep in a store that is a folder."""
    monkeypatch.setenv("TUNERY_PLATFORM", str(repository / "configs" / "platform"))
    found = RemoteRun(RUN, "prod", "research", NAMESPACE, str(tmp_path / "store"))
    write_sweep(Path(found.store, RUN))
    return found


def a_job(rung: int, slot: int) -> Object:
    found = job(suspend=slot == 2)
    found["metadata"] |= {"name": f"{RUN}-t{rung}-{slot}", "uid": f"uid-{rung}-{slot}"}
    return found


def waiting_workload() -> Object:
    said = "couldn't assign flavors to pod set main: insufficient unused quota for nvidia.com/gpu in flavor l4x1"
    found = workload(not_reserved(said), uid="uid-1-2")
    found["metadata"]["ownerReferences"][0]["name"] = f"{RUN}-t1-2"
    return found


def asked(remote: RemoteRun, workflow: Object, monkeypatch: pytest.MonkeyPatch) -> RunStatus:
    monkeypatch.setattr("workloads.engines.cluster_state.time.time", lambda: NOW)
    cluster = RecordedCluster((k8s.WORKFLOW, workflow), (k8s.WORKLOAD, waiting_workload()))
    return status(cast(Cluster, cluster), remote)


def test_status_shows_rungs_trials_and_the_best_so_far(remote: RemoteRun, monkeypatch: pytest.MonkeyPatch) -> None:
    found = asked(remote, sweep_workflow(), monkeypatch)
    sweep = found.sweep
    assert sweep is not None
    assert [(each["measured"], each["trials"]) for each in sweep["rungs"]] == [(8, 9), (1, 3), (0, 1)]
    states = [row["state"] for row in sweep["trials"]]
    assert states == ["pruned", "pruned", "waiting", "pruned", "running", "failed", "pruned", "queued", "pruned"]
    assert sweep["best"] == 2
    assert "insufficient unused quota" in sweep["trials"][7]["note"]
    train = next(stage for stage in found.stages if stage.name == "train")
    assert train.state == "running"
    assert train.note == (
        "rung 2 of 3 (to step 30): 1 of 3 measured, 1 running, 1 queued, 5 stopped early, 1 failed, "
        "best so far trial 2: loss 0.8 with learning_rate=0.0005"
    )
    assert json.loads(json.dumps(found.as_dict()))["sweep"]["best"] == 2


def test_time_done_again_is_lost_and_a_pause_between_rungs_is_not(
    remote: RemoteRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = asked(remote, sweep_workflow(), monkeypatch)
    trials = found.sweep["trials"] if found.sweep else []
    # Trial 2: a pod vanished 1000 s after it had begun at step 10, and the next one began at step 10 again.
    assert [row["lost_seconds"] for row in trials] == [0, 0, 1000, 0, 0, 0, 0, 0, 0]
    assert trials[2]["seconds"] == 500 + 1000 + 900
    assert found.hours.lost == pytest.approx(1000 / HOUR)
    spent = sum(row["seconds"] for row in trials)
    assert found.hours.useful == pytest.approx((spent - 1000) / HOUR)
    # Slot 1 spoke after 100 s; slot 2 has waited for 400 s.
    assert found.hours.waiting == pytest.approx((100 + 400) / HOUR, abs=1e-3)


def test_a_sweep_that_is_over_and_has_left_the_cluster(remote: RemoteRun) -> None:
    folder = Path(remote.store, RUN)
    write_json(folder / "stages" / "train.json", {"stage": "train", "outputs": {}})
    found = read_status(folder, "prod", now=NOW)
    assert found.sweep is not None
    assert {row["state"] for row in found.sweep["trials"]} == {"pruned", "failed", "skipped"}
    assert found.hours.useful > 1


@pytest.mark.parametrize(
    "node",
    [
        {},
        {"templateName": "trial"},
        {"templateName": "trial", "inputs": {"parameters": [{"name": "rung", "value": "x"}, None]}},
        {"templateName": "choose", "inputs": {"parameters": [{"name": "rung", "value": "0"}]}},
        {"templateName": "trial", "inputs": {"parameters": [{"name": "rung", "value": -1}, {"name": "slot"}]}},
    ],
)
def test_a_node_of_any_shape_is_survived(node: dict[str, Any]) -> None:
    assert slot_of(node) is None


def test_a_slot_that_nobody_has_chosen_yet_is_of_no_trial(remote: RemoteRun, monkeypatch: pytest.MonkeyPatch) -> None:
    more = (trial_node(2, 0, "Running"), trial_node(9, 9, "Running"))
    found = asked(remote, sweep_workflow("Running", *more), monkeypatch)
    assert found.sweep is not None
    assert sum(row["state"] == "running" for row in found.sweep["trials"]) == 1


def test_a_run_of_another_version_has_no_sweep(remote: RemoteRun) -> None:
    folder = Path(remote.store, RUN)
    record = json.loads((folder / "run.json").read_text())
    record["spec"]["sweep"]["method"] = "annealing"
    write_json(folder / "run.json", record)
    assert read_now(folder) is None


def why(remote: RemoteRun, workflow: Object, *objects: tuple[Any, Object]) -> Explanation:
    cluster = RecordedCluster((k8s.WORKFLOW, workflow), *objects)
    cluster.lines = lambda *_, **__: iter(())  # type: ignore[method-assign]
    return explain(collecting.collect(cast(Cluster, cluster), remote, clock=lambda: NOW))


def test_why_tells_of_the_trial_that_waits_and_of_the_sweep(remote: RemoteRun) -> None:
    waits = trial_node(1, 2, "Running", began=60)
    workflow = sweep_workflow()
    workflow["status"]["nodes"][f"{RUN}-1-2"] = waits
    found = why(remote, workflow, (k8s.JOB, a_job(1, 1)), (k8s.JOB, a_job(1, 2)), (k8s.WORKLOAD, waiting_workload()))
    assert found.cause == "quota-full"
    assert found.evidence[-1].startswith("sweep: rung 2 of 3 (to step 30): 1 of 3 measured")
    assert found.evidence[-1].endswith("this is trial 7 in rung 2 (learning_rate=0.002)")


def test_why_looks_at_the_pods_of_the_trial_at_hand_only(remote: RemoteRun) -> None:
    workflow = sweep_workflow("Failed", trial_node(1, 1, "Failed", "Error (exit code 137)"))
    del workflow["status"]["nodes"][f"{RUN}-1-2"]
    killed = pod({"terminated": {"exitCode": 137, "reason": "OOMKilled"}}, name=f"{RUN}-t1-1-abcde", phase="Failed")
    killed["metadata"]["ownerReferences"] = [{"kind": "Job", "name": f"{RUN}-t1-1", "uid": "uid-1-1"}]
    other = running(name=f"{RUN}-t1-0-fghij", created=1)
    other["metadata"]["ownerReferences"] = [{"kind": "Job", "name": f"{RUN}-t1-0", "uid": "uid-1-0"}]
    found = why(remote, workflow, (k8s.JOB, a_job(1, 1)), (k8s.POD, killed), (k8s.POD, other))
    assert found.cause == "host-memory"
    assert "this is trial 4 in rung 2" in found.evidence[-1]


def test_a_sweep_on_this_machine_is_told_of_too(tmp_path: Path, remote: RemoteRun) -> None:
    from workloads.runtime import RunPaths

    shutil.copytree(Path(remote.store, RUN), tmp_path / RUN)
    found = explain(collecting.collect_local(RunPaths(tmp_path / RUN), clock=lambda: NOW))
    assert found.evidence[-1].startswith("sweep: rung 2 of 3")


def test_cost_tells_what_each_trial_cost_and_their_sum_is_the_run_s(remote: RemoteRun) -> None:
    contract, listed = platform.load("prod"), prices.load()
    bill = read_bill(open_store(remote.store), RUN, "research", contract, listed)
    hour = listed.node_hour(contract.pools["l4x1"], contract.region, "on-demand")
    assert hour is not None
    of_trial_2 = bill.trials[2].as_dict()
    assert of_trial_2["seconds"] == 2400
    assert of_trial_2["total"]["expected"] == pytest.approx(2400 / HOUR * hour.expected, rel=1e-3)
    assert of_trial_2["lost"]["expected"] == pytest.approx(1000 / HOUR * hour.expected, rel=1e-3)
    trials = sum(each.bill.cost().expected for each in bill.trials)
    fetched = (
        100 / HOUR * (cpu.expected if (cpu := listed.node_hour(contract.pools["cpu"], contract.region, "spot")) else 0)
    )
    assert bill.bill.cost().expected == pytest.approx(trials + fetched, rel=1e-3)
    assert bill.as_dict()["trials"][5]["state"] == "failed"


def test_people_read_tables_of_trials(
    remote: RemoteRun, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from workloads.cli.status import show

    show(asked(remote, sweep_workflow(), monkeypatch))
    shown = capsys.readouterr().out
    assert "rung 2     to step 30: 1 of 3 trials measured" in shown
    assert [line.split()[0] for line in shown.splitlines() if "0.001" in line and "queued" not in line][-1] == "4"
    monkeypatch.setattr("workloads.engines.remote.find", lambda *_: remote)
    with pytest.raises(SystemExit):
        main(["cost", RUN])
    heading, *rows = capsys.readouterr().out.splitlines()
    assert heading.split()[:3] == ["trial", "parameters", "state"]
    assert rows[2].split()[:4] == ["2", "learning_rate=0.0005", "waiting", "0.8"]
    assert "lost" in rows[-3]
