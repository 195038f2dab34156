"""What is read about a run, and what happens when a part of it cannot be read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import cast

import pytest
from recorded_cluster.builders import (
    NAMESPACE,
    NOW,
    RUN,
    Object,
    ended,
    event,
    failure,
    holder,
    job,
    node,
    not_reserved,
    pod,
    queue,
    running,
    waiting,
    workflow,
    workload,
)
from recorded_cluster.cluster import RecordedCluster

from workloads.engines import cluster_client as k8s
from workloads.engines import evidence as collecting
from workloads.engines.cluster_client import Cluster
from workloads.engines.remote import RemoteRun
from workloads.errors import InputError
from workloads.explain.explain import explain
from workloads.runtime import RunPaths


@pytest.fixture
def remote(tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch) -> RemoteRun:
    """A run whose store is a folder."""
    monkeypatch.setenv("TUNERY_PLATFORM", str(repository / "configs" / "platform"))
    return RemoteRun(RUN, "prod", "research", NAMESPACE, str(tmp_path / "store"))


def _store(run: RemoteRun, events: tuple[Object, ...] = ()) -> None:
    folder = Path(run.store, RUN)
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"id": RUN, "base": {"revision": "0" * 40}}))
    (folder / "events.jsonl").write_text("".join(json.dumps(each) + "\n" for each in events))


def _collect(cluster: RecordedCluster, run: RemoteRun) -> collecting.Evidence:
    return collecting.collect(cast(Cluster, cluster), run, clock=lambda: NOW)


def test_everything_about_the_stage_at_hand_is_read(remote: RemoteRun) -> None:
    _store(remote)
    waits_for_job = pod(None, name=f"{RUN}-train-123")
    waits_for_job["metadata"]["ownerReferences"] = [{"kind": "Workflow", "name": RUN, "uid": "w"}]
    mine = workload(not_reserved("couldn't assign flavors to pod set main: insufficient unused quota for x"))
    elsewhere = holder("elsewhere-1122334455")
    elsewhere["spec"]["queueName"] = "l4x2"
    found = _collect(
        RecordedCluster(
            (k8s.WORKFLOW, workflow("Running", node("train", "Running"))),
            (k8s.JOB, job(suspend=True)),
            (k8s.POD, waits_for_job),
            (k8s.WORKLOAD, mine),
            (k8s.WORKLOAD, elsewhere),
            (k8s.WORKLOAD, holder("nightly-1122334455")),
            (k8s.CLUSTER_QUEUE, queue()),
            (collecting.EVENT, event("FailedScaleUp", "of another run", about="other-0000000000-t-x")),
            (collecting.EVENT, event("Pending", "of this run", about=mine, kind="Workload")),
        ),
        remote,
    )
    assert found.workload == mine
    assert found.pods == ()  # the one that Argo waits in does no work
    assert [each["message"] for each in found.events] == ["of this run"]
    assert explain(found).cause == "quota-full"
    assert "elsewhere" not in explain(found).what  # it has quota in another queue
    assert "nightly-1122334455" in explain(found).what


def test_what_may_not_be_read_is_named_and_stops_nothing(remote: RemoteRun) -> None:
    _store(remote)
    cluster = RecordedCluster(
        (k8s.WORKFLOW, workflow("Running", node("train", "Running"))),
        (k8s.JOB, job()),
        (k8s.POD, running()),
        refuse={"nodes": 403, "clusterqueues": 503, "workloads": 404, "jobsets": 404},
    )
    found = _collect(cluster, remote)
    assert sorted(line.partition(":")[0] for line in found.hidden) == ["clusterqueues", "nodes"]
    assert explain(found).hidden == found.hidden
    assert explain(found).cause in ("running", "bringing-inputs")


def test_the_pod_that_makes_the_job_is_looked_at_while_it_has_not_begun(remote: RemoteRun) -> None:
    _store(remote)
    maker = waiting("PodInitializing", name=f"{RUN}-train-123")
    maker["metadata"]["ownerReferences"] = [{"kind": "Workflow", "name": RUN, "uid": "w"}]
    said = 'MountVolume.SetUp failed for volume "exec-sa-token" : secret "runner.service-account-token" not found'
    cluster = RecordedCluster(
        (k8s.WORKFLOW, workflow("Running", node("train", "Pending", message="PodInitializing"))),
        (k8s.POD, maker),
        (collecting.EVENT, event("FailedMount", said, about=maker)),
    )
    cluster.lines = lambda *_, **__: iter(())  # type: ignore[method-assign]
    explanation = explain(_collect(cluster, remote))
    assert explanation.cause == "mount-failed"
    assert "exec-sa-token" in explanation.what


def test_a_store_that_cannot_be_read_leaves_what_the_cluster_says(remote: RemoteRun) -> None:
    Path(remote.store).write_text("this is no folder")
    found = _collect(RecordedCluster((k8s.WORKFLOW, workflow("Running", node("train", "Running")))), remote)
    assert found.history == ()
    assert explain(found).cause == "between-stages"


def test_a_run_that_nobody_knows_is_an_error(remote: RemoteRun) -> None:
    with pytest.raises(InputError, match="knows a run"):
        _collect(RecordedCluster(), remote)


def test_a_run_that_left_the_cluster_is_known_by_its_store(remote: RemoteRun) -> None:
    _store(remote, failure(64, "lora_rank is 'abc'."))
    assert explain(_collect(RecordedCluster(), remote)).cause == "wrong-config"


def test_memory_that_ran_out_brings_the_estimate(
    remote: RemoteRun, built_tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _store(remote)
    monkeypatch.setattr(collecting.Platform, "models_store", property(lambda _: str(Path(remote.store, "models"))))
    base = Path(remote.store, "models", "0" * 40)
    base.mkdir(parents=True)
    (base / "config.json").write_bytes((built_tiny_model / "config.json").read_bytes())
    config = {"stage": "sft", "finetuning_type": "full", "per_device_train_batch_size": 64, "cutoff_len": 8192}
    record = {"base": {"revision": "0" * 40}, "training_config": config, "spec": {}}
    Path(remote.store, RUN, "run.json").write_text(json.dumps(record))
    cluster = RecordedCluster(
        (k8s.WORKFLOW, workflow("Failed", node("train", "Failed"))),
        (k8s.JOB, job()),
        (k8s.POD, ended(1)),
        log=b"step 1\ntorch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB\n",
    )
    explanation = explain(_collect(cluster, remote))
    assert explanation.cause == "gpu-memory"
    assert sum(line.startswith("estimate:") for line in explanation.evidence) == 1
    assert sum(line.startswith("change:") for line in explanation.evidence) == 3


def test_a_run_on_this_machine_is_explained_by_what_it_wrote(tmp_path: Path) -> None:
    paths = RunPaths(tmp_path / RUN)
    paths.log.parent.mkdir(parents=True)
    paths.record.write_text("{}")
    paths.log.write_text("first\nlast\n")
    paths.events.write_text("".join(json.dumps(each) + "\n" for each in failure(69, "The disk became full.")))
    found = collecting.collect_local(paths)
    assert found.log == ("first", "last")
    assert explain(found).cause == "disk-full"
