"""Faults on a real cluster: nothing is lost, the same result follows, and no restart counts as a failure."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.cluster.place import ROOT, TWO_PODS, Kubectl, Place, demo_spec, ended, state

pytestmark = pytest.mark.training
FAULTS = os.environ.get("TUNERY_CLUSTER_FAULTS")
CONTROLLERS = {"argo": "argo", "jobset": "jobset-system", "kueue": "kueue-system"}
"""A controller, as the kit calls its process -> the namespace of its Deployment on other clusters."""
AWAY_SECONDS = 60
SAVE_STEPS = 25


@pytest.fixture
def fault() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Begins a fault that only the kit can make; its end is waited for."""
    if FAULTS is None:
        pytest.skip("this cluster makes no faults; run: make test-cluster, with a kit at TUNERY_CLUSTER_KIT")
    begun: list[subprocess.Popen[bytes]] = []

    def begin(*arguments: str) -> subprocess.Popen[bytes]:
        begun.append(subprocess.Popen([*shlex.split(str(FAULTS)), *arguments], cwd=ROOT))
        return begun[-1]

    yield begin
    for each in begun:
        assert each.wait(timeout=120) == 0


def until(what: str, place: Place, reached: Callable[[], Any], seconds: float = 300) -> Any:
    """What ``reached`` gives, once it is true."""
    end = time.monotonic() + seconds
    while not (found := reached()):
        assert time.monotonic() < end, f"no {what} after {seconds} s\n{place.seen()}"
        time.sleep(0.05)
    return found


def stored_step(place: Place, run: str) -> int:
    """The step of the newest checkpoint that the store has."""
    folders = (place.store / run / "checkpoints").glob("checkpoint-*/tunery-manifest.json")
    return max((int(each.parent.name.removeprefix("checkpoint-")) for each in folders), default=0)


def trained_by(place: Place, run: str, attempt: int) -> dict[int, str]:
    """Index -> name of the pods of one attempt."""
    found = place.kubectl(
        "get", "pods", "-n", place.namespace, "-o", "json", "-l",
        f"jobset.sigs.k8s.io/jobset-name={run}-t,jobset.sigs.k8s.io/restart-attempt={attempt}",
    )  # fmt: skip
    pods = [each["metadata"] for each in json.loads(found.stdout or '{"items": []}')["items"]]
    return {int(each["labels"]["batch.kubernetes.io/job-completion-index"]): each["name"] for each in pods}


def strike(place: Place, run: str, attempt: int, index: int, blow: Callable[[str], Any]) -> int:
    """Strikes a pod of an attempt once that attempt has stored a checkpoint; the step that the store then has."""
    before = until("pods", place, lambda: len(trained_by(place, run, attempt)) == 2 and stored_step(place, run) + 1)
    until("checkpoint", place, lambda: stored_step(place, run) >= before)
    blow(trained_by(place, run, attempt)[index])
    return stored_step(place, run)


def evict(place: Place) -> Callable[[str], None]:
    def blow(pod: str) -> None:
        path = f"/api/v1/namespaces/{place.namespace}/pods/{pod}/eviction"
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}}
        done = place.kubectl("create", "--raw", path, "-f", "-", text=json.dumps(eviction))
        assert done.returncode == 0, done.stderr

    return blow


def delete(place: Place) -> Callable[[str], None]:
    def blow(pod: str) -> None:
        done = place.kubectl("delete", "pod", pod, "-n", place.namespace, "--wait=false")
        assert done.returncode == 0, done.stderr

    return blow


def lose_lease(kubectl: Kubectl) -> None:
    """Deletes the leases of all nodes, by which the control plane knows that they are there; kubelets renew them."""
    done = kubectl("delete", "leases", "--all", "-n", "kube-node-lease")
    assert done.returncode == 0, done.stderr


def lose_waiter(place: Place, run: str) -> None:
    """Deletes the pod in which Argo waits for the training."""
    about = f"workflows.argoproj.io/workflow={run},tunery.dev/stage=train"
    done = place.kubectl("delete", "pods", "-n", place.namespace, "-l", about, "--wait=false")
    assert f"{run}-train-" in done.stdout, done.stdout + done.stderr


def unharmed(place: Place, run: str, steps: list[int], reference: dict[str, Any]) -> None:
    """The run came to the same as without the faults, resumed from what was stored, and no restart counted."""
    status = place.get("jobset", f"{run}-t")["status"]
    assert (status["terminalState"], status["restarts"], status.get("restartsCountTowardsMax", 0)) == (
        "Completed",
        len(steps),
        0,
    )
    found = place.json("status", run)
    assert (found["state"], found["step"], found["problems"]) == ("finished", 225, [])
    events = [json.loads(line) for line in (place.store / run / "events.jsonl").read_text().splitlines()]
    resumed = [each["step"] for each in events if each["event"] == "resumed"]
    assert len(resumed) == len(steps)
    for stored, step in zip(steps, resumed, strict=True):
        assert step >= stored
    model = next(each for each in place.json("models") if each["name"] == "tunery/demo-assistant")
    assert model["digest"] == reference["digest"]


def restart_controllers(kubectl: Kubectl, fault: Callable[..., subprocess.Popen[bytes]]) -> None:
    for name, namespace in CONTROLLERS.items():
        deployments = kubectl("get", "deployments", "-n", namespace, "-o", "name").stdout.split()
        if deployments:
            kubectl("rollout", "restart", *deployments, "-n", namespace)
        else:
            fault("away", "1", name)


def test_a_run_under_one_fault_after_the_other(
    real_place: Place, kubectl: Kubectl, reference: dict[str, Any], fault: Callable[..., subprocess.Popen[bytes]]
) -> None:
    spec = str(demo_spec(real_place, "disturbed"))
    command = ("run", spec, *TWO_PODS, "--on", "kit", "--json")
    with ThreadPoolExecutor(2) as pool:  # two people at once
        sent = list(pool.map(lambda _: json.loads(real_place.tunery(*command)), range(2)))
    assert sorted(each["sent"] for each in sent) == ["attached", "started"]
    run = sent[0]["id"]
    assert sent[1]["id"] == run
    with real_place.start("status", run, "--follow") as follower:
        lose_lease(kubectl)
        steps = [strike(real_place, run, 0, 1, evict(real_place))]
        lose_waiter(real_place, run)
        restart_controllers(kubectl, fault)
        steps.append(strike(real_place, run, 1, 0, delete(real_place)))
        until("third attempt", real_place, lambda: len(trained_by(real_place, run, 2)) == 2)
        fault("away", str(AWAY_SECONDS), "kube-apiserver").wait()
        # Elsewhere Argo's controller loses its lease meanwhile, and is started again. The kit's has none, and reads
        # its closed watch in a circle from then on (argo-workflows issue 11657).
        fault("away", "1", "argo")
        out, err = follower.communicate(timeout=420)
    assert follower.returncode == 0, out + err + real_place.seen()
    unharmed(real_place, run, steps, reference)


def test_a_node_vanishes_with_all_that_is_on_it(
    real_place: Place, kubectl: Kubectl, reference: dict[str, Any], fault: Callable[..., subprocess.Popen[bytes]]
) -> None:
    assert fault("start-node", "node-2").wait() == 0
    kubectl("cordon", "node-1")
    try:
        run = real_place.send(demo_spec(real_place, "homeless"), *TWO_PODS)

        def vanish(_: str) -> None:
            kubectl("uncordon", "node-1")
            assert fault("kill-node", "node-2", "--delete").wait() == 0

        steps = [strike(real_place, run, 0, 0, vanish)]
        found = real_place.until(run, ended, seconds=420)
    finally:
        kubectl("uncordon", "node-1")
    assert found["state"] == "finished", real_place.seen()
    unharmed(real_place, run, steps, reference)


def test_a_wrong_config_fails_at_once(real_place: Place) -> None:
    spec = demo_spec(real_place, "wrong", publish=None, serve=None)
    said = real_place.tunery("run", str(spec), *TWO_PODS, "lora_target=absent_layer", "--on", "kit", "--wait", code=64)
    assert "absent_layer" in said
    jobsets = real_place.get("jobsets", "-l", "tunery.dev/stage=train")["items"]
    status = next(each["status"] for each in jobsets if each["metadata"]["name"].startswith("wrong-"))
    assert (status["terminalState"], status.get("restarts", 0)) == ("Failed", 0)
    run = next(each["id"] for each in real_place.json("list", "--on", "kit") if each["id"].startswith("wrong-"))
    assert state(real_place.json("status", run), "train") == "failed"
