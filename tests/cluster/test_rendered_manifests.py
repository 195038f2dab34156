"""Every rendered manifest, at a real API server with the real definitions, in strict validation."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from scripts.generate_render import CASES, case
from workloads.platform import HostMount, LocalCluster
from workloads.render.pipeline import objects
from workloads.render.run import FIRING, ClusterRun
from workloads.run_spec import RunSpec

Kubectl = Callable[..., "subprocess.CompletedProcess[str]"]
NAMESPACE = "team-research"
DRY = ("apply", "--server-side", "--force-conflicts", "--validate=strict", "--dry-run=server", "-f", "-")


@pytest.fixture(scope="module")
def server(kubectl: Kubectl) -> Kubectl:
    """The cluster with a team's namespace, which allows what the standard `restricted` allows."""
    labels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}}
    # A class of the priority that manifests name; others' fields stay theirs.
    priority = {
        "apiVersion": "kueue.x-k8s.io/v1beta2",
        "kind": "WorkloadPriorityClass",
        "metadata": {"name": "high"},
        "value": 100,
    }
    done = kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", objects=[space, priority])
    assert done.returncode == 0, done.stderr
    return kubectl


def inner(manifests: list[dict[str, Any]], name: str) -> Iterator[dict[str, Any]]:
    """The Jobs and JobSets that the workflow creates."""
    for template in manifests[0]["spec"]["templates"]:
        if "resource" in template:
            yield yaml.safe_load(template["resource"]["manifest"].replace(FIRING, name))


def accepted(server: Kubectl, manifests: list[dict[str, Any]]) -> None:
    done = server(*DRY, objects=manifests)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr


@pytest.mark.parametrize("name", CASES)
def test_the_server_accepts_what_is_sent_and_what_that_creates(server: Kubectl, name: str) -> None:
    manifests = objects(case(name))
    created = list(inner(manifests, "demo-1764000000"))
    assert len(created) == 2
    accepted(server, [*manifests, *created])


def test_the_server_accepts_the_longest_names(server: Kubectl) -> None:
    for name, length in (("two-nodes-of-two-gpus", 38), ("one-gpu", 40)):
        found = case(name)
        run = ClusterRun(f"{'n' * length}-0123456789", found.spec, found.team_name, found.platform, found.images)
        manifests = objects(run)
        accepted(server, [*manifests, *inner(manifests, run.id)])


def test_a_local_cluster_accepts_its_own(server: Kubectl) -> None:
    found = case("one-gpu")
    local = LocalCluster(store="/store", mounts=(HostMount(path="/store", read_only=False),))
    spec = RunSpec.model_validate({**found.spec.model_dump(mode="json"), "resources": {"pool": "cpu", "nodes": 2}})
    at = found.platform.model_copy(update={"local": local})
    manifests = objects(ClusterRun(found.id, spec, found.team_name, at, found.images))
    done = server(*DRY, objects=[*manifests, *inner(manifests, found.id)])
    assert done.returncode == 0, done.stderr


def test_strict_validation_finds_a_wrong_key(server: Kubectl) -> None:
    # Argo's own definitions, in the form that its chart installs, accept any key.
    for name in ("one-gpu", "two-nodes-of-two-gpus"):
        job = next(inner(objects(case(name)), "x"))
        job["spec"]["supend"] = False
        assert "supend" in server(*DRY, objects=[job]).stderr
