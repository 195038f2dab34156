"""What ``tunery why`` says of runs that a real Kubernetes, Argo and Kueue refuse, hold back or end.

Each run is one Workflow with the Job of a training that something is wrong with, as the pipeline would make it.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from infra import contract
from infra.objects import access
from infra.settings_loader import load_all
from workloads import platform
from workloads.engines.cluster_client import Cluster
from workloads.engines.cluster_login import open_cluster
from workloads.engines.evidence import collect
from workloads.engines.remote import RemoteRun
from workloads.explain.explain import Explanation, explain
from workloads.render import failure

Kubectl = Callable[..., "subprocess.CompletedProcess[str]"]
ROOT = Path(__file__).parents[2]
APPLY = ("apply", "--server-side", "--force-conflicts", "-f", "-")
QUEUE_API = "kueue.x-k8s.io/v1beta2"
IMAGE = "kit.local/busybox:1"
NAMESPACE = "team-why"
SECONDS = 45

RUNS: dict[str, dict[str, Any]] = {
    "bringing-inputs": {"command": "sleep 600"},
    "wrong-config": {"command": "exit 64"},
    "host-memory": {"command": "tail /dev/zero", "limits": {"memory": "16Mi"}},
    "evicted-disk": {
        "command": "dd if=/dev/zero of=/tmp/x bs=1M count=50; sleep 600",
        "limits": {"ephemeral-storage": "2Mi"},
    },
    "deadline": {"command": "sleep 600", "job": {"activeDeadlineSeconds": 2}},
    "image-unreachable": {"image": "kit.local/absent:1"},
    "no-such-node": {"pod": {"nodeSelector": {"tunery.dev/pool": "h100x8"}}},
    "nodes-full": {"requests": {"cpu": "5000"}},
    "account-missing": {"pod": {"serviceAccountName": "absent"}},
    "not-in-quota": {"requests": {"example.com/fpga": "1"}, "limits": {"example.com/fpga": "1"}},
    "too-large": {"requests": {"memory": "900Gi"}},
    "queue-missing": {"queue": "absent"},
    "rights": {"kind": "ConfigMap"},
    "kind-missing": {"kind": "JobSet", "api": "jobset.x-k8s.io/v1"},
}
"""The cause that must be found -> what is otherwise than in a good run."""


def _workflow(run: str, **wrong: Any) -> dict[str, Any]:
    labels = {"tunery.dev/run": run, "tunery.dev/stage": "train", "tunery.dev/team": "why"}
    resources = {"requests": {"cpu": "10m", "memory": "8Mi", **wrong.get("requests", {})}}
    container = {
        "name": "main",
        "image": wrong.get("image", IMAGE),
        "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-c", wrong.get("command", "true")],
        "resources": resources | ({"limits": wrong["limits"]} if "limits" in wrong else {}),
    }
    queued = {**labels, "kueue.x-k8s.io/queue-name": wrong.get("queue", "cpu")}
    pod = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 1,
        "containers": [container],
        **wrong.get("pod", {}),
    }
    job = {
        "apiVersion": wrong.get("api", "batch/v1"),
        "kind": wrong.get("kind", "Job"),
        "metadata": {"name": f"{run}-t", "namespace": NAMESPACE, "labels": queued},
        "spec": {
            "suspend": True,
            "backoffLimit": 0,
            "template": {"metadata": {"labels": labels}, "spec": pod},
            **wrong.get("job", {}),
        },
    }
    if job["kind"] == "ConfigMap":
        job = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"{run}-t", "namespace": NAMESPACE}}
    train = {
        "name": "train",
        "metadata": {"labels": labels},
        "serviceAccountName": "runner",
        "retryStrategy": failure.resource_retry(),
        "resource": {
            "action": failure.ACTION,
            "setOwnerReference": True,
            "successCondition": "status.succeeded > 0",
            "failureCondition": "status.failed > 0",
            "manifest": json.dumps(job),
        },
    }
    return _wrapped(run, train)


def _wrapped(run: str, template: dict[str, Any]) -> dict[str, Any]:
    tasks = [{"name": template["name"], "template": template["name"]}]
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"name": run, "namespace": NAMESPACE, "labels": {"tunery.dev/run": run}},
        "spec": {
            "entrypoint": "pipeline",
            "serviceAccountName": "runner",
            "podSpecPatch": '{"automountServiceAccountToken": true}',
            "templates": [{"name": "pipeline", "dag": {"tasks": tasks}}, template],
        },
    }


def _queue(namespace: str) -> list[dict[str, Any]]:
    limits = {"cpu": "10000", "memory": "64Gi", "ephemeral-storage": "100Gi"}
    quota = [{"name": name, "nominalQuota": amount} for name, amount in limits.items()]
    group = {"coveredResources": list(limits), "flavors": [{"name": "why-any", "resources": quota}]}
    whole = {"namespaceSelector": {}, "resourceGroups": [group]}
    place = {"name": "cpu", "namespace": namespace}
    return [
        {"apiVersion": QUEUE_API, "kind": "ResourceFlavor", "metadata": {"name": "why-any"}},
        {"apiVersion": QUEUE_API, "kind": "ClusterQueue", "metadata": {"name": "team-why-cpu"}, "spec": whole},
        {"apiVersion": QUEUE_API, "kind": "LocalQueue", "metadata": place, "spec": {"clusterQueue": "team-why-cpu"}},
    ]


Why = Callable[[str, str], Explanation]


@pytest.fixture(scope="module")
def send(kubectl: Kubectl) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Creates a workflow in a namespace of this module's own."""
    dev = next(each for each in load_all(ROOT / "configs" / "environments") if each.name == "dev")
    team = dev.teams["research"].model_copy(update={"gpus": 0})
    environment = dev.model_copy(update={"name": "why", "teams": {"why": team}})
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    done = kubectl(*APPLY, objects=[namespace, *access.objects(environment), *_queue(NAMESPACE)])
    assert done.returncode == 0, done.stderr

    def create(workflow: dict[str, Any]) -> None:
        done = kubectl("create", "-f", "-", objects=[workflow])
        assert done.returncode == 0, done.stderr

    yield create
    kubectl("delete", "namespace", NAMESPACE, "--wait=false")
    kubectl("delete", "clusterqueue/team-why-cpu", "resourceflavor/why-any", "--wait=false")


@pytest.fixture(scope="module")
def why(send: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Why]:
    """What is said of a run, once it is the cause that is expected; after a while whatever is said."""
    folder = tmp_path_factory.mktemp("why")
    dev = next(each for each in load_all(ROOT / "configs" / "environments") if each.name == "dev")
    team = dev.teams["research"].model_copy(update={"gpus": 0})
    values = contract.contract(dev.model_copy(update={"name": "why", "teams": {"why": team}}))
    (folder / "why.json").write_text(json.dumps(values | {"local": {"store": str(folder / "store")}}))
    found = platform.load("why", folder)
    cluster: Cluster = open_cluster(found, patience=15.0)

    def ask(run: str, expected: str) -> Explanation:
        end = time.monotonic() + SECONDS
        while True:
            explanation = explain(collect(cluster, remote(run)))
            if explanation.cause == expected or time.monotonic() > end:
                return explanation
            time.sleep(1)

    def remote(run: str) -> RemoteRun:
        return RemoteRun(run, "why", "why", NAMESPACE, found.store("why"))

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUNERY_PLATFORM", str(folder))
        yield ask
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def sent(send: Callable[[dict[str, Any]], None]) -> dict[str, str]:
    """Cause -> the run that has it; all of them are sent at once."""
    names = {cause: f"why-{cause}" for cause in RUNS}
    for cause, run in names.items():
        send(_workflow(run, **RUNS[cause]))
    return names


@pytest.mark.parametrize("cause", RUNS)
def test_the_cause_is_found(sent: dict[str, str], why: Why, cause: str) -> None:
    explanation = why(sent[cause], cause)
    assert explanation.cause == cause, explanation
    assert explanation.evidence
    assert explanation.hidden == ()


def test_a_full_quota_names_who_holds_it(send: Callable[[dict[str, Any]], None], why: Why) -> None:
    send(_workflow("why-holder", requests={"memory": "60Gi"}, command="sleep 600"))
    why("why-holder", "nodes-full")
    send(_workflow("why-held", requests={"memory": "10Gi"}))
    explanation = why("why-held", "quota-full")
    assert explanation.cause == "quota-full", explanation
    assert "why-holder" in explanation.what


def test_a_person_is_waited_for_and_then_stops_the_run(
    send: Callable[[dict[str, Any]], None], why: Why, kubectl: Kubectl
) -> None:
    send(_wrapped("why-approval", {"name": "approve", "suspend": {}}))
    assert why("why-approval", "approval").cause == "approval"
    stop = json.dumps({"spec": {"shutdown": "Terminate"}})
    kubectl("patch", "workflow", "why-approval", "-n", NAMESPACE, "--type=merge", "-p", stop)
    assert why("why-approval", "cancelled").cause == "cancelled"


def test_pods_that_the_namespace_does_not_admit(
    send: Callable[[dict[str, Any]], None], why: Why, kubectl: Kubectl
) -> None:
    label = "pod-security.kubernetes.io/enforce"
    send(_workflow("why-security", job={"suspend": True}, command="true", queue="absent"))
    why("why-security", "queue-missing")
    # The workflow's own pod is there already: from now on no other is let in.
    kubectl("label", "namespace", NAMESPACE, f"{label}=restricted")
    try:
        kubectl("label", "job", "why-security-t", "-n", NAMESPACE, "--overwrite", "kueue.x-k8s.io/queue-name=cpu")
        explanation = why("why-security", "pod-security")
    finally:
        kubectl("label", "namespace", NAMESPACE, f"{label}-")
    assert explanation.cause == "pod-security", explanation
