"""What the platform stack installs is accepted, and does what it says, at a real Kubernetes API server."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra import charts, objects
from infra import names as n
from infra.objects import queues
from infra.parts.controllers import text
from infra.settings import Environment
from infra.settings_loader import load_all
from infra.values import VALUES
from tests.cluster.place import APPLY, count

Run = Callable[..., "subprocess.CompletedProcess[str]"]
Objects = list[dict[str, Any]]

ELSEWHERE = {
    "ComputeClass": "served by GKE's control plane",
    "SecretProviderClass": "served by GKE's Secret Manager add-on",
    "PodMonitoring": "served by Google Cloud Managed Service for Prometheus",
}
"""Kinds that no cluster but GKE's has, and so are not applied here."""
AT_HAND = ("jobset", "kueue")
"""Controllers whose charts can be had without network; of the others only the values are tested (test_charts.py)."""
IMAGE = "registry.k8s.io/pause:3.10"


@pytest.fixture(scope="module")
def prod() -> Environment:
    folder = Path(__file__).parents[2] / "configs" / "environments"
    return next(environment for environment in load_all(folder) if environment.name == "prod")


@pytest.fixture(scope="module")
def platform(kubectl: Run, prod: Environment) -> Run:
    """The cluster with everything of prod that it can have."""
    for carried in (objects.foundation(prod), queues.objects(prod)):
        done = kubectl(*APPLY, objects=carried)
        assert done.returncode == 0, done.stderr
        assert "Warning" not in done.stderr
    count(kubectl, objects.foundation(prod))
    return kubectl


def helm(*arguments: str, text: str | None = None) -> str:
    """What Helm prints."""
    program = shutil.which("helm")
    assert program, "helm is not installed"
    done = subprocess.run([program, *arguments], input=text, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def source(controller: str) -> str:
    """A controller's chart: from the folder TUNERY_CHARTS, or from where the platform gets it."""
    chart = charts.CHARTS[controller]
    folder = os.environ.get("TUNERY_CHARTS")
    return str(Path(folder) / chart.name) if folder else f"{chart.repository}/{chart.name}"


def template(chart: str, values: dict[str, Any], namespace: str, *more: str) -> Objects:
    """What Helm makes of a chart and our values, as the Terraform stack passes them."""
    printed = helm(
        "template",
        "release",
        chart,
        "--namespace",
        namespace,
        "--include-crds",
        "--values",
        "-",
        *more,
        text=text(values),
    )
    return [item for item in yaml.safe_load_all(printed) if item]


def job(name: str, *, queued: bool = True, pool: str = "l4x1", gpus: int = 1, **pod: Any) -> dict[str, Any]:
    """A Job such as a run renders, that the standard `restricted` allows."""
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name,
            "namespace": "team-research",
            "labels": {"kueue.x-k8s.io/queue-name": pool} if queued else {},
        },
        "spec": {
            "suspend": True,
            "template": {
                "metadata": {"labels": {n.STAGE_LABEL: "train"}},
                "spec": {
                    "restartPolicy": "Never",
                    "serviceAccountName": "trainer",
                    "nodeSelector": {n.COMPUTE_CLASS_LABEL: pool},
                    "securityContext": {
                        "runAsNonRoot": True,
                        "runAsUser": 1000,
                        "seccompProfile": {"type": "RuntimeDefault"},
                    },
                    "containers": [
                        {
                            "name": "main",
                            "image": IMAGE,
                            "resources": {
                                "requests": {"cpu": "4", "memory": "16Gi"},
                                "limits": {"nvidia.com/gpu": str(gpus), "memory": "16Gi"},
                            },
                            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                        }
                    ],
                    **pod,
                },
            },
        },
    }


def admission(kubectl: Run, of: str, *, wanted: bool) -> dict[str, str] | None:
    """The flavors that Kueue gave to a job; None when it waits."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        found = kubectl("get", "workloads", "-n", "team-research", "-o", "json")
        for workload in json.loads(found.stdout or '{"items": []}')["items"]:
            if workload["metadata"]["ownerReferences"][0]["name"] != of:
                continue
            status = workload.get("status", {})
            if "admission" in status:
                flavors: dict[str, str] = status["admission"]["podSetAssignments"][0]["flavors"]
                return flavors
            reasons = [c for c in status.get("conditions", []) if c["type"] == "QuotaReserved"]
            if not wanted and reasons and reasons[0]["status"] == "False":
                return None
        time.sleep(0.3)
    raise AssertionError(f"Kueue said nothing about {of} in 30 s")


def test_gke_s_own_kinds_are_the_only_ones_left_out(prod: Environment) -> None:
    assert {item["kind"] for item in objects.gke(prod)} == set(ELSEWHERE)


@pytest.mark.parametrize("controller", AT_HAND)
def test_the_charts_accept_our_values_and_the_server_their_objects(
    platform: Run, prod: Environment, controller: str
) -> None:
    chart = charts.CHARTS[controller]
    rendered = template(
        source(controller), VALUES[controller](prod), n.CONTROLLER_NAMESPACES[controller], "--version", chart.version
    )
    assert f"version: {chart.version}" in helm("show", "chart", source(controller), "--version", chart.version)
    # Dry: the controllers of the test cluster run already, and would lose their webhooks to Services without pods.
    done = platform(*APPLY, "--dry-run=server", objects=rendered)
    assert done.returncode == 0, done.stderr
    assert "PodSecurity" not in done.stderr
    deployments = [item for item in rendered if item["kind"] == "Deployment"]
    assert [item["spec"]["replicas"] for item in deployments] == [2]
    assert any(item["kind"] == "PodDisruptionBudget" for item in rendered)
    image = deployments[0]["spec"]["template"]["spec"]["containers"][0]["image"]
    assert image.startswith("europe-west4-docker.pkg.dev/example-llm-prod/gke-llm-k8s/")
    assert image.endswith(f":{chart.app}")


@pytest.mark.parametrize("controller", AT_HAND)
def test_every_value_is_one_that_the_chart_knows(kubectl: Run, prod: Environment, controller: str) -> None:
    done = helm("show", "values", source(controller), "--version", charts.CHARTS[controller].version)

    def unknown(ours: dict[str, Any], theirs: dict[str, Any], path: str = "") -> list[str]:
        found = [f"{path}{key}" for key in ours if key not in theirs]
        for key, value in ours.items():
            inner = theirs.get(key)
            # An empty default is free in what it holds: a node selector, an affinity.
            if isinstance(value, dict) and isinstance(inner, dict) and inner and "Context" not in key:
                found += unknown(value, inner, f"{path}{key}.")
        return found

    assert unknown(VALUES[controller](prod), yaml.safe_load(done)) == []


def test_our_chart_carries_objects_unchanged(platform: Run, prod: Environment) -> None:
    odd = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "odd"}, "data": {"template": "{{ .Values }}"}}
    carried = [odd, *objects.foundation(prod), *objects.gke(prod), *queues.objects(prod)]
    printed = template(charts.OBJECTS, {"objects": carried}, "tunery-system")
    # Helm sorts by kind, so that namespaces come first.
    assert sorted(json.dumps(item, sort_keys=True) for item in printed) == sorted(
        json.dumps(item, sort_keys=True) for item in carried
    )


def test_applying_again_changes_nothing(platform: Run, prod: Environment) -> None:
    carried = [*objects.foundation(prod), *queues.objects(prod)]
    before = platform("get", "clusterqueues,resourceflavors,cohorts", "-o", "jsonpath={.items[*].metadata.generation}")
    assert platform(*APPLY, objects=carried).returncode == 0
    after = platform("get", "clusterqueues,resourceflavors,cohorts", "-o", "jsonpath={.items[*].metadata.generation}")
    assert before.stdout
    assert before.stdout == after.stdout


def test_every_queue_is_ready(platform: Run, prod: Environment) -> None:
    for team in prod.teams:
        for pool in prod.pools:
            name = n.Names(prod).cluster_queue(team, pool)
            done = platform("wait", f"clusterqueue/{name}", "--for=condition=Active", "--timeout=30s")
            assert done.returncode == 0, done.stderr


def test_a_training_is_admitted_to_the_pool_it_asks_for(platform: Run) -> None:
    assert platform(*APPLY, objects=[job("fits", pool="l4x2", gpus=2)]).returncode == 0
    assert admission(platform, "fits", wanted=True) == {"cpu": "l4x2", "memory": "l4x2", "nvidia.com/gpu": "l4x2"}
    pod = platform("get", "job", "fits", "-n", "team-research", "-o", "json")
    tolerated = {item["key"] for item in json.loads(pod.stdout)["spec"]["template"]["spec"]["tolerations"]}
    assert {n.COMPUTE_CLASS_LABEL, n.GPU_TAINT} <= tolerated


def test_a_training_larger_than_all_there_is_waits(platform: Run) -> None:
    assert platform(*APPLY, objects=[job("too-large", gpus=500)]).returncode == 0
    assert admission(platform, "too-large", wanted=False) is None


def test_a_job_that_names_no_queue_is_refused_with_the_way_out(platform: Run) -> None:
    done = platform(*APPLY, objects=[job("no-queue", queued=False)])
    assert done.returncode != 0
    assert "kueue.x-k8s.io/queue-name, with the queue of its pool: cpu, l4x1" in done.stderr


def test_a_bare_pod_with_a_gpu_is_refused_and_one_without_is_not(platform: Run) -> None:
    spec = job("x")["spec"]["template"]["spec"]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "bare", "namespace": "team-research"}, "spec": spec}
    done = platform(*APPLY, "--dry-run=server", objects=[pod])
    assert done.returncode != 0
    assert "comes from a Job" in done.stderr
    del spec["containers"][0]["resources"]["limits"]["nvidia.com/gpu"]
    assert platform(*APPLY, "--dry-run=server", objects=[pod]).returncode == 0


def test_a_pod_with_privileges_is_refused(platform: Run) -> None:
    spec = job("x")["spec"]["template"]["spec"]
    del spec["containers"][0]["resources"]["limits"]["nvidia.com/gpu"]
    spec["hostNetwork"] = True
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "host", "namespace": "team-research"}, "spec": spec}
    done = platform(*APPLY, "--dry-run=server", objects=[pod])
    assert done.returncode != 0
    assert "PodSecurity" in done.stderr


RESEARCH = "system:serviceaccount:team-research"
ARGO = "system:serviceaccount:argo:argo-workflow-controller"


@pytest.mark.parametrize(
    ("who", "verb", "what", "namespace", "allowed"),
    [
        (f"{RESEARCH}:runner", "create", "jobsets.jobset.x-k8s.io", "team-research", True),
        (f"{RESEARCH}:runner", "create", "jobsets.jobset.x-k8s.io", "team-support", False),
        (f"{RESEARCH}:runner", "get", "secrets", "team-research", False),
        (f"{RESEARCH}:trainer", "patch", "workflowtaskresults.argoproj.io", "team-research", True),
        (f"{RESEARCH}:trainer", "create", "jobs.batch", "team-research", False),
        (f"{RESEARCH}:default", "list", "pods", "team-research", False),
        (ARGO, "create", "pods", "team-research", True),
        (ARGO, "create", "pods", "kueue-system", False),
        (ARGO, "list", "secrets", "team-research", False),
        ("group:llm-research@example.com", "create", "workflows.argoproj.io", "team-research", True),
        ("group:llm-research@example.com", "get", "pods/log", "team-research", True),
        ("group:llm-research@example.com", "create", "pods/exec", "team-research", False),
        ("group:llm-research@example.com", "list", "workflows.argoproj.io", "team-support", False),
        ("group:llm-research@example.com", "list", "clusterqueues.kueue.x-k8s.io", "team-research", True),
        (
            "tunery-prod-submitter@example-llm-prod.iam.gserviceaccount.com",
            "create",
            "workflows.argoproj.io",
            "team-support",
            True,
        ),
        (
            "tunery-prod-submitter@example-llm-prod.iam.gserviceaccount.com",
            "delete",
            "workflows.argoproj.io",
            "team-support",
            False,
        ),
    ],
)
def test_rights_are_as_narrow_as_they_look(
    platform: Run, who: str, verb: str, what: str, namespace: str, allowed: bool
) -> None:
    group = who.removeprefix("group:")
    caller = ["--as", who] if group == who else ["--as", "somebody@example.com", "--as-group", group]
    done = platform("auth", "can-i", verb, what, "-n", namespace, *caller)
    assert (done.stdout.strip() == "yes") is allowed, done.stdout + done.stderr
