from __future__ import annotations

import dataclasses
import json
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from workloads import platform
from workloads.engines import cluster_client as k8s
from workloads.engines.cluster_client import Cluster
from workloads.engines.cluster_errors import AwayError, RefusedError
from workloads.engines.cluster_login import open_cluster
from workloads.engines.cluster_watch import watch
from workloads.errors import ExitCode, InputError, TuneryError
from workloads.platform import LocalCluster, Platform

WORKFLOW = "/apis/argoproj.io/v1alpha1/namespaces/team-research/workflows/a"


@pytest.fixture
def dev(repository: Path) -> Platform:
    return platform.load("dev", repository / "configs" / "platform")


@pytest.fixture
def kit(dev: Platform) -> Platform:
    return dev.model_copy(update={"local": LocalCluster(store="/store")})


@pytest.fixture
def cluster(api: Any, kubeconfig: Callable[..., Path], kit: Platform) -> Cluster:
    kubeconfig(api.url)
    found = open_cluster(kit)
    return dataclasses.replace(found, sleep=lambda _seconds: None)


def problem(refused: pytest.ExceptionInfo[TuneryError]) -> str:
    (found,) = refused.value.problems
    assert found.fix
    return f"{found.message} {found.fix}"


def test_objects_are_read_applied_created_and_deleted(cluster: Cluster, api: Any) -> None:
    manifest = {"metadata": {"name": "a", "namespace": "team-research"}, "spec": {"x": 1}}
    assert cluster.find(k8s.WORKFLOW, "team-research", "a") is None
    made = cluster.create(k8s.WORKFLOW, manifest)
    with pytest.raises(RefusedError) as refused:
        cluster.create(k8s.WORKFLOW, manifest)
    assert (refused.value.status, refused.value.reason) == (409, "AlreadyExists")
    cluster.apply(k8s.WORKFLOW, {**manifest, "spec": {"x": 2}})
    assert api.objects[WORKFLOW]["spec"] == {"x": 2}
    cluster.delete(k8s.WORKFLOW, "team-research", "a", uid="of another")
    assert WORKFLOW in api.objects
    found = cluster.find(k8s.WORKFLOW, "team-research", "a")
    assert found is not None
    cluster.delete(k8s.WORKFLOW, "team-research", "a", uid=found["metadata"]["uid"])
    cluster.delete(k8s.WORKFLOW, "team-research", "a", uid=made["metadata"]["uid"])
    assert WORKFLOW not in api.objects


def test_lists_are_read_page_by_page_and_an_empty_one_may_be_null(cluster: Cluster, api: Any) -> None:
    assert list(cluster.each(k8s.WORKFLOW, "team-research")) == []
    for number in range(1201):
        api.put(f"{WORKFLOW}{number}", {"metadata": {}})
    assert len(list(cluster.each(k8s.WORKFLOW, "team-research", metadata_only=True))) == 1201
    assert len([path for _, path in api.asked if path.endswith("workflows")]) == 1 + 3


@pytest.mark.parametrize("fault", ["hang up", 503, 429])
def test_a_server_that_is_away_is_asked_again_while_patience_lasts(cluster: Cluster, api: Any, fault: Any) -> None:
    api.put(WORKFLOW, {})
    api.faults[:] = [fault] * 4
    patient = dataclasses.replace(cluster, patience=60)
    assert patient.find(k8s.WORKFLOW, "team-research", "a") is not None
    api.faults[:] = [fault]
    with pytest.raises(AwayError) as refused:
        cluster.find(k8s.WORKFLOW, "team-research", "a")
    assert refused.value.exit_code is ExitCode.UNAVAILABLE
    assert problem(refused)


@pytest.mark.parametrize(("status", "words"), [(401, "login has expired"), (403, "team's group")])
def test_a_refusal_says_who_must_do_what(cluster: Cluster, api: Any, status: int, words: str) -> None:
    api.faults[:] = [status]
    with pytest.raises(InputError) as refused:
        cluster.get("/version")
    assert words in problem(refused)


def test_nothing_listens(kubeconfig: Callable[..., Path], kit: Platform) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    kubeconfig(f"http://127.0.0.1:{port}")
    with pytest.raises(AwayError) as refused:
        open_cluster(kit).get("/version")
    assert "nothing answers at its address" in problem(refused)


def test_a_name_that_is_not_known(kubeconfig: Callable[..., Path], kit: Platform) -> None:
    kubeconfig("http://no-such-host.invalid")
    with pytest.raises(AwayError) as refused:
        open_cluster(kit).get("/version")
    assert "VPN" in problem(refused)


def test_a_server_that_speaks_no_tls(api: Any, kubeconfig: Callable[..., Path], kit: Platform) -> None:
    kubeconfig(api.url.replace("http:", "https:"))
    with pytest.raises(InputError) as refused:
        open_cluster(kit).get("/version")
    assert "certificate is not accepted" in problem(refused)


def test_a_login_program_that_fails_is_told_before_anything_is_asked(
    api: Any, kubeconfig: Callable[..., Path], kit: Platform
) -> None:
    login = {"apiVersion": "client.authentication.k8s.io/v1", "command": "/no/such/plugin", "interactiveMode": "Never"}
    kubeconfig(api.url, user={"exec": login})
    with pytest.raises(InputError) as refused:
        open_cluster(kit)
    assert "gcloud auth login" in problem(refused)
    assert api.asked == []


def test_only_the_environment_s_own_cluster_is_used(
    api: Any, kubeconfig: Callable[..., Path], dev: Platform, kit: Platform
) -> None:
    right = f"gke_{dev.project}_{dev.region}_{dev.cluster}"
    kubeconfig(api.url, name=right)
    assert open_cluster(dev).context == right
    with pytest.raises(InputError, match="local environment"):
        open_cluster(kit)
    for wrong in (f"gke_{dev.project}_{dev.region}_tunery-prod", f"gke_other_{dev.region}_{dev.cluster}"):
        kubeconfig(api.url, name=wrong)
        for named in (None, wrong):
            with pytest.raises(InputError, match="get-credentials tunery-dev"):
                open_cluster(dev, named)
    kubeconfig(api.url, name="my-cluster")
    with pytest.raises(InputError, match="--context my-cluster"):
        open_cluster(dev)
    assert open_cluster(dev, "my-cluster").context == "my-cluster"
    with pytest.raises(InputError, match="no context 'other'"):
        open_cluster(dev, "other")


def test_no_kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dev: Platform) -> None:
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "none"))
    with pytest.raises(InputError, match="no usable kubeconfig"):
        open_cluster(dev)


def changed(version: int, phase: str) -> dict[str, Any]:
    return {"metadata": {"name": "a", "resourceVersion": str(version)}, "status": {"phase": phase}}


def phases(cluster: Cluster) -> list[str]:
    found: list[str] = []
    for each in watch(cluster, k8s.WORKFLOW, "team-research", "a"):
        phase = "gone" if each is None else each.get("status", {}).get("phase", "")
        if not found or found[-1] != phase:
            found.append(phase)
    return found


def test_a_watch_goes_on_after_it_ended_expired_or_broke_off(cluster: Cluster, api: Any) -> None:
    api.put(WORKFLOW, {"status": {"phase": "Pending"}})
    api.watched[:] = [
        [{"type": "MODIFIED", "object": changed(10, "Running")}],
        [{"type": "BOOKMARK", "object": changed(11, "")}],
        [{"type": "ERROR", "object": {"kind": "Status", "code": 410}}],
        [{"type": "MODIFIED", "object": changed(20, "Succeeded")}, {"type": "DELETED", "object": changed(21, "x")}],
    ]
    assert phases(cluster) == ["Pending", "Running", "Pending", "Succeeded", "gone"]


def test_a_watch_survives_a_server_that_is_away(cluster: Cluster, api: Any) -> None:
    api.put(WORKFLOW, {"status": {"phase": "Running"}})
    seen = watch(dataclasses.replace(cluster, patience=60), k8s.WORKFLOW, "team-research", "a")
    assert next(seen) is not None
    api.faults[:] = ["hang up", 503, "hang up"]
    assert next(seen) is not None
    api.faults[:] = [410, 503]
    assert next(seen) is not None
    api.watched[:] = [[{"type": "DELETED", "object": changed(30, "")}]]
    assert list(seen) == [None]
    assert api.faults == []


def test_a_watch_of_nothing_ends_at_once(cluster: Cluster) -> None:
    assert list(watch(cluster, k8s.WORKFLOW, "team-research", "a")) == [None]


def test_lines_are_whole_whatever_the_pieces(cluster: Cluster, api: Any) -> None:
    api.watched[:] = [[{"n": number, "text": "x" * 70_000} for number in range(3)]]
    lines = list(cluster.lines(WORKFLOW, {"watch": 1}, quiet_seconds=5))
    assert [json.loads(line)["n"] for line in lines] == [0, 1, 2]


def test_the_client_is_loaded_without_its_models_and_can_still_be_imported_whole() -> None:
    program = (
        "import sys; from workloads.engines import kubernetes_config; config = kubernetes_config.load()\n"
        "assert len([name for name in sys.modules if name.startswith('kubernetes')]) < 40\n"
        "assert callable(config.new_client_from_config)\n"
        "import kubernetes\n"
        "assert kubernetes.client.V1Pod and kubernetes.client.CoreV1Api and kubernetes.config\n"
        "assert kubernetes_config.load() is kubernetes.config"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
