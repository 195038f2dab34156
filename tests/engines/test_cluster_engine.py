from __future__ import annotations

import dataclasses
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from workloads import platform
from workloads.engines import cluster as engine
from workloads.engines import cluster_client as k8s
from workloads.engines import cluster_preflight as preflight
from workloads.engines import remote
from workloads.engines.cluster import Sent
from workloads.engines.cluster_client import Cluster
from workloads.engines.cluster_login import open_cluster
from workloads.engines.cluster_state import runs
from workloads.engines.remote import RemoteRun
from workloads.errors import InputError, Problem, UnavailableError
from workloads.platform import LocalCluster, Platform
from workloads.render.pipeline import objects
from workloads.render.run import ClusterRun
from workloads.run_spec import RunSpec

NAMESPACE = "/apis/argoproj.io/v1alpha1/namespaces/team-research"
WORKFLOW = f"{NAMESPACE}/workflows/demo-0123456789"
TEMPLATE = f"{NAMESPACE}/workflowtemplates/demo-0123456789"
JOBS = "/apis/batch/v1/namespaces/team-research/jobs"
CORE = "/api/v1/namespaces/team-research"
KUEUE = "/apis/kueue.x-k8s.io/v1beta2"
ALL = ("workflows", "workflowtemplates", "cronworkflows")


@pytest.fixture
def dev(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Platform:
    folder = repository / "configs" / "platform"
    monkeypatch.setenv("TUNERY_PLATFORM", str(folder))
    return platform.load("dev", folder)


@pytest.fixture
def cluster(api: Any, kubeconfig: Callable[..., Path], dev: Platform) -> Cluster:
    kubeconfig(api.url)
    found = open_cluster(dev.model_copy(update={"local": LocalCluster(store="/store")}))
    return dataclasses.replace(found, sleep=lambda _seconds: None)


@pytest.fixture(autouse=True)
def images(monkeypatch: pytest.MonkeyPatch) -> list[Problem]:
    """What is wrong with the images: nothing, unless a test says so."""
    found: list[Problem] = []
    monkeypatch.setattr(preflight, "image_problems", lambda _run: iter(found))
    return found


def a_run(dev: Platform, **spec: Any) -> ClusterRun:
    digest = f"{dev.registry}/x@sha256:{'0' * 64}"
    values = {"name": "demo", "training": {"stage": "sft"}, **spec}
    images = dict.fromkeys(("stager", "trainer", "server"), digest)
    return ClusterRun("demo-0123456789", RunSpec.model_validate(values), "research", dev, images)


@pytest.fixture
def sent(dev: Platform) -> RemoteRun:
    return engine.remote(a_run(dev))


def nothing() -> None:
    """No upload."""


def words(refused: pytest.ExceptionInfo[Any]) -> str:
    return " ".join(f"{each.message} {each.fix}" for each in refused.value.problems)


def test_a_run_is_uploaded_before_its_objects_exist_and_starts_once(cluster: Cluster, api: Any, dev: Platform) -> None:
    before: list[set[str]] = []
    first = engine.submit(cluster, a_run(dev), lambda: before.append(set(api.objects)))
    assert (first.sent, before) == (Sent.STARTED, [set()])
    assert set(api.objects) == {WORKFLOW}
    again = engine.submit(cluster, a_run(dev), lambda: before.append(set()))
    assert (again.sent, len(before)) == (Sent.ATTACHED, 1)
    assert again.workflow["metadata"]["uid"] == first.workflow["metadata"]["uid"]


def test_many_submitters_at_once_make_one_run(cluster: Cluster, api: Any, dev: Platform) -> None:
    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(lambda _: engine.submit(cluster, a_run(dev), nothing), range(8)))
    assert sorted(each.sent for each in done) == [Sent.ATTACHED] * 7 + [Sent.STARTED]
    assert len({each.workflow["metadata"]["uid"] for each in done}) == 1


def test_an_upload_that_fails_leaves_nothing_on_the_cluster(cluster: Cluster, api: Any, dev: Platform) -> None:
    def fail() -> None:
        raise UnavailableError.of("the store is away", "wait")

    with pytest.raises(UnavailableError, match="the store is away"):
        engine.submit(cluster, a_run(dev), fail)
    assert api.objects == {}


def test_a_submission_that_is_cut_off_is_completed_by_the_next(cluster: Cluster, api: Any, dev: Platform) -> None:
    def cut() -> None:
        api.faults[:] = [503]

    with pytest.raises(UnavailableError):
        engine.submit(cluster, a_run(dev), cut)
    assert engine.submit(cluster, a_run(dev), nothing).sent is Sent.STARTED


def test_a_schedule_is_applied_and_removed(cluster: Cluster, api: Any, dev: Platform, sent: RemoteRun) -> None:
    run = a_run(dev, schedule="0 3 * * 1")
    assert engine.submit(cluster, run, nothing).sent is Sent.SCHEDULED
    assert engine.submit(cluster, run, nothing).sent is Sent.SCHEDULED
    assert set(api.objects) == {TEMPLATE, f"{NAMESPACE}/cronworkflows/demo"}
    assert "removed" in engine.cancel(cluster, sent)
    assert set(api.objects) == {TEMPLATE}
    assert api.orphaned == [f"{NAMESPACE}/cronworkflows/demo"]  # a firing that runs goes on
    with pytest.raises(InputError, match="There is no run demo-0123456789"):
        engine.cancel(cluster, sent)


def test_cancel_stops_the_workflow_before_its_jobs(cluster: Cluster, api: Any, dev: Platform, sent: RemoteRun) -> None:
    engine.submit(cluster, a_run(dev), nothing)
    api.put(f"{JOBS}/demo-0123456789-t", {})
    api.asked.clear()
    engine.cancel(cluster, sent)
    assert api.objects[WORKFLOW]["spec"]["shutdown"] == "Terminate"
    assert f"{JOBS}/demo-0123456789-t" not in api.objects
    changes = [method for method, _ in api.asked if method in ("PATCH", "DELETE")]
    assert changes == ["PATCH", "DELETE"]


@pytest.mark.parametrize("phase", ["Succeeded", "Failed", "Error"])
def test_what_has_ended_is_not_stopped(cluster: Cluster, api: Any, dev: Platform, sent: RemoteRun, phase: str) -> None:
    api.put(WORKFLOW, {"status": {"phase": phase}})
    with pytest.raises(InputError, match="has ended"):
        engine.cancel(cluster, sent)


def test_retry_makes_the_same_workflow_anew(cluster: Cluster, api: Any, dev: Platform, sent: RemoteRun) -> None:
    first = engine.submit(cluster, a_run(dev), nothing).workflow
    engine.cancel(cluster, sent)
    api.objects[WORKFLOW]["status"] = {"phase": "Failed"}
    api.objects[WORKFLOW]["metadata"]["labels"]["workflows.argoproj.io/phase"] = "Failed"
    api.put(f"{JOBS}/demo-0123456789-t", {})
    assert engine.retry(cluster, sent).sent is Sent.STARTED
    again = api.objects[WORKFLOW]
    assert again["spec"] == objects(a_run(dev))[0]["spec"]
    assert again["metadata"]["uid"] != first["metadata"]["uid"]
    assert again["metadata"]["labels"] == a_run(dev).labels()
    assert f"{JOBS}/demo-0123456789-t" not in api.objects


def test_retry_of_a_run_that_left_the_cluster(cluster: Cluster, api: Any, dev: Platform, sent: RemoteRun) -> None:
    with pytest.raises(InputError, match="There is no run") as refused:
        engine.retry(cluster, sent)
    assert "tunery run SPEC --on dev" in words(refused)


@pytest.mark.parametrize(("phase", "said"), [("Succeeded", "succeeded"), ("Running", "not ended"), ("", "not ended")])
def test_retry_of_a_run_that_needs_none(
    cluster: Cluster, api: Any, dev: Platform, sent: RemoteRun, phase: str, said: str
) -> None:
    api.put(WORKFLOW, {"status": {"phase": phase}})
    with pytest.raises(InputError, match=said):
        engine.retry(cluster, sent)
    assert WORKFLOW in api.objects


def test_retry_gives_up_on_a_job_that_stays(
    cluster: Cluster, api: Any, dev: Platform, sent: RemoteRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.put(WORKFLOW, {"status": {"phase": "Failed"}})
    api.put(f"{JOBS}/demo-0123456789-t", {})
    monkeypatch.setattr(Cluster, "delete", lambda *_args, **_more: None)
    ticks = iter(range(0, 100_000, 50))
    with pytest.raises(UnavailableError, match="is still there"):
        engine.retry(cluster, sent, clock=lambda: float(next(ticks)))


def suspended() -> dict[str, Any]:
    return {"type": "Suspend", "phase": "Running", "templateName": "approve", "displayName": "approve"}


def test_approval_is_written_with_who_and_when_beside_the_controller(
    cluster: Cluster, api: Any, sent: RemoteRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = {"n1": suspended(), "n2": {"type": "Pod", "phase": "Running"}}
    api.put(WORKFLOW, {"status": {"phase": "Running", "nodes": nodes}})
    find, once = Cluster.find, iter([True])

    def overtaken(self: Cluster, *arguments: Any) -> Any:
        found = find(self, *arguments)
        if next(once, False):  # the controller writes between our reading and our writing
            api.put(WORKFLOW, dict(api.objects[WORKFLOW], other=1, metadata=dict(found["metadata"])))
        return found

    monkeypatch.setattr(Cluster, "find", overtaken)
    assert engine.approve(cluster, sent, now=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)) == "ada@example.com"
    found = api.objects[WORKFLOW]
    assert found["status"]["nodes"]["n1"] == suspended() | {
        "phase": "Succeeded",
        "finishedAt": "2026-01-02T03:04:05Z",
        "message": "approved by ada@example.com",
    }
    assert found["status"]["nodes"]["n2"]["phase"] == "Running"
    with pytest.raises(InputError, match="waits for no approval"):
        engine.approve(cluster, sent)


def test_the_runs_of_a_team_are_listed_from_metadata(cluster: Cluster, api: Any, dev: Platform) -> None:
    for number, phase in enumerate(["Succeeded", "Failed", "Running", ""]):
        labels = {"workflows.argoproj.io/phase": phase} if phase else {}
        created = f"2026-01-0{number + 1}T00:00:00Z"
        api.put(f"{NAMESPACE}/workflows/run-{number}", {"metadata": {"labels": labels, "creationTimestamp": created}})
    found = list(runs(cluster, dev, ["research"]))
    assert [(each.id, each.state) for each in found] == [
        ("run-3", "waiting"),
        ("run-2", "running"),
        ("run-1", "failed"),
        ("run-0", "finished"),
    ]


def complete(api: Any, *, gpus: str = "8") -> None:
    """Everything that a run on dev needs."""
    api.put("/version", {"gitVersion": "v1.34.4"})
    api.put("/apis", {"groups": [{"name": "jobset.x-k8s.io", "versions": [{"groupVersion": "jobset.x-k8s.io/v1"}]}]})
    api.put("/apis/argoproj.io/v1alpha1", {"resources": [{"name": name} for name in ALL]})
    api.put(KUEUE, {"resources": [{"name": "workloads"}]})
    api.put("/apis/jobset.x-k8s.io/v1alpha2", {"resources": [{"name": "jobsets"}]})
    api.put("/api/v1/namespaces/team-research", {})
    for role in ("stager", "trainer", "publisher", "server", "runner"):
        api.put(f"{CORE}/serviceaccounts/{role}", {})
        classes = "/apis/secrets-store.csi.x-k8s.io/v1/namespaces/team-research/secretproviderclasses"
        api.put(f"{classes}/{role}-secrets", {})
    api.put(f"{KUEUE}/namespaces/team-research/localqueues/l4x1", {"spec": {}})
    quota = [{"name": "nvidia.com/gpu", "nominalQuota": gpus}]
    groups = [{"flavors": [{"name": "l4x1", "resources": quota}, {"name": "l4x2", "resources": quota}]}]
    api.put(f"{KUEUE}/clusterqueues/team-research-l4x1", {"spec": {"resourceGroups": groups}})
    api.put(f"{KUEUE}/workloadpriorityclasses/normal", {})


def test_a_complete_cluster_passes(cluster: Cluster, api: Any, dev: Platform) -> None:
    complete(api)
    found = preflight.check(cluster, a_run(dev, resources={"nodes": 2}, publish={"name": "x"}, serve={}))
    assert (found.version, found.problems, found.unknown) == ("v1.34.4", (), ())


@pytest.mark.parametrize(
    ("gone", "code", "said"),
    [
        ("/apis/jobset.x-k8s.io/v1alpha2", "crd", "JobSet is needed in version jobset.x-k8s.io/v1alpha2; the cluster "),
        ("/apis/argoproj.io/v1alpha1", "crd", "has nothing of it"),
        (KUEUE, "crd", "Kueue is needed"),
        ("/api/v1/namespaces/team-research", "namespace", "no namespace team-research"),
        (f"{KUEUE}/namespaces/team-research/localqueues/l4x1", "queue", "has no queue l4x1"),
        (f"{KUEUE}/clusterqueues/team-research-l4x1", "quota", "no quota team-research-l4x1"),
        (f"{KUEUE}/workloadpriorityclasses/normal", "priority", "no priority normal"),
        (f"{CORE}/serviceaccounts/runner", "service-account", "no service account runner"),
        (
            "/apis/secrets-store.csi.x-k8s.io/v1/namespaces/team-research/secretproviderclasses/stager-secrets",
            "secret",
            "would find no secrets",
        ),
    ],
)
def test_each_thing_that_is_missing_is_named(
    cluster: Cluster, api: Any, dev: Platform, gone: str, code: str, said: str
) -> None:
    complete(api)
    del api.objects[gone]
    (problem,) = preflight.check(cluster, a_run(dev, resources={"nodes": 2})).problems
    assert (problem.code, said in problem.message) == (f"preflight-{code}", True)
    assert problem.fix.startswith("operations: ")


@pytest.mark.parametrize(
    ("path", "change", "said"),
    [
        (f"{KUEUE}/namespaces/team-research/localqueues/l4x1", {"spec": {"stopPolicy": "Hold"}}, "is stopped"),
        (
            f"{KUEUE}/clusterqueues/team-research-l4x1",
            {"status": {"conditions": [{"type": "Active", "status": "False", "message": "flavor l4x1 is unknown"}]}},
            "flavor l4x1 is unknown",
        ),
        (f"{KUEUE}/clusterqueues/team-research-l4x1", {"spec": {"resourceGroups": []}}, "knows no GPUs of pool l4x1"),
    ],
)
def test_a_queue_that_admits_nothing(
    cluster: Cluster, api: Any, dev: Platform, path: str, change: dict[str, Any], said: str
) -> None:
    complete(api)
    api.objects[path] |= change
    assert said in " ".join(each.message for each in preflight.check(cluster, a_run(dev)).problems)


def test_more_gpus_than_the_team_can_ever_hold(cluster: Cluster, api: Any, dev: Platform) -> None:
    complete(api, gpus="2")
    run = a_run(dev, resources={"nodes": 3})
    (problem,) = preflight.check(cluster, run).problems
    assert "asks for 3 GPUs" in problem.message
    queue = api.objects[f"{KUEUE}/clusterqueues/team-research-l4x1"]["spec"]
    queue["cohortName"] = "tunery-dev"
    assert preflight.check(cluster, run).problems == ()
    queue["resourceGroups"][0]["flavors"][0]["resources"][0]["borrowingLimit"] = "0"
    assert len(preflight.check(cluster, run).problems) == 1


def test_images_that_are_not_there_stop_a_run_and_a_silent_registry_does_not(
    cluster: Cluster, api: Any, dev: Platform, images: list[Problem]
) -> None:
    complete(api)
    images += [Problem("It is gone.", "build it", code="preflight-image"), Problem("?", "", code="warn-image")]
    found = preflight.check(cluster, a_run(dev))
    assert ([*found.problems], [*found.warnings]) == (images[:1], images[1:])


def test_every_right_that_is_missing_is_named_at_once(cluster: Cluster, api: Any, dev: Platform) -> None:
    complete(api)
    api.denied |= {"create workflows", "get pods"}
    found = preflight.check(cluster, a_run(dev)).problems
    assert sorted(each.message for each in found) == [
        "You may not create workflows in team-research.",
        "You may not get pods/log in team-research.",
    ]
    assert all("add your group to the team" in each.fix for each in found)


def test_a_run_is_remembered_and_found_by_its_beginning(dev: Platform, sent: RemoteRun) -> None:
    dataclasses.replace(sent, context="there").remember()
    assert remote.find("demo-0").context == "there"
    assert remote.find(sent.id, context="here").context == "here"
    dataclasses.replace(sent, id="demo-0999999999").remember()
    with pytest.raises(InputError, match="may mean demo-0123456789, demo-0999999999"):
        remote.find("demo-0")
    with pytest.raises(InputError, match="remembers no run"):
        remote.find("other")
    assert remote.find("other", "dev").namespace == "team-research"
    for hostile in ("../x", "a b", "-x", "{{x}}", ""):
        with pytest.raises(InputError, match="no name of a run"):
            remote.find(hostile, "dev")


def test_a_damaged_memory_is_passed_over(sent: RemoteRun, tmp_path: Path) -> None:
    sent.remember(tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "remote.json").write_text('{"id": 1}')
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "remote.json").write_text("{")
    assert list(remote.remembered(tmp_path)) == [sent.id]


def test_a_team_is_asked_for_when_there_are_several(repository: Path) -> None:
    prod = platform.load("prod", repository / "configs" / "platform")
    with pytest.raises(InputError) as refused:
        remote.choose_team(prod, None)
    assert "research, support" in words(refused)
    with pytest.raises(InputError) as refused:
        remote.choose_team(prod, "suport")
    assert refused.value.problems[0].suggestion == "support"


def test_kinds_are_where_kubernetes_has_them() -> None:
    assert k8s.POD.path("a", "b") == "/api/v1/namespaces/a/pods/b"
    assert k8s.NAMESPACE.path("a", "b") == "/api/v1/namespaces/b"
    assert k8s.WORKFLOW.path("a") == "/apis/argoproj.io/v1alpha1/namespaces/a/workflows"
