"""The verbs for runs on an environment, with a real Kubernetes, Argo Workflows and Kueue.

The stages are played by a shell script, which says what they would say and fails when it is told to: what is tested
is what tunery sends, what Kubernetes makes of it, and what tunery then tells. The fine-tuning itself has other tests.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from infra import contract
from infra.objects import access
from infra.settings import Environment
from infra.settings_loader import load_all

Kubectl = Callable[..., "subprocess.CompletedProcess[str]"]
ROOT = Path(__file__).parents[2]
APPLY = ("apply", "--server-side", "--force-conflicts", "--validate=strict", "-f", "-")
QUEUE_API = "kueue.x-k8s.io/v1beta2"
SHELL_IMAGE = os.environ.get("TUNERY_CLUSTER_SHELL_IMAGE", "kit.local/busybox:1")
PLAYER = """#!/bin/sh
# Plays one stage: $3 is the stage, $4 the run.
run=$TUNERY_STORE/$4; mkdir -p "$run"
say() { echo "{\\"time\\": $(date +%s), \\"event\\": \\"$1\\", \\"stage\\": \\"$stage\\"$2}" >> "$run/events.jsonl"; }
stage=$3
trap 'say preempted; exit 75' TERM
say stage_started
echo "the stage $stage works"
while [ -e "$TUNERY_STORE/hold-$stage-$4" ]; do sleep 0.2; done
if [ -e "$TUNERY_STORE/fail-$stage-$4" ]; then
  say stage_failed ', "exit_code": 64, "problems": [{"message": "It was told to fail.", "fix": "take the file away"}]'
  exit 64
fi
say stage_finished ', "seconds": 0.5'
"""


@dataclass
class Place:
    """A local environment and its folders, which pods see at the same paths."""

    root: Path
    namespace: str
    kubectl: Kubectl
    environ: dict[str, str] = field(default_factory=dict)

    def tunery(self, *arguments: str, code: int = 0) -> str:
        """What a verb prints; its exit code must be ``code``."""
        command = [str(Path(sys.executable).parent / "tunery"), *arguments]
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
            umask=0,  # pods work as another user, and must be able to write into the run directories made here
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout if code == 0 else done.stdout + done.stderr

    def json(self, *arguments: str) -> Any:
        """The same, as JSON."""
        return json.loads(self.tunery(*arguments, "--json"))

    def spec(self, name: str, **more: Any) -> Path:
        """A run spec of its own name."""
        path = self.root / f"{name}.json"
        training = {
            "stage": "sft",
            "do_train": True,
            "finetuning_type": "lora",
            "dataset": "numbers",
            "dataset_dir": str(self.root),
            "template": "qwen",
            "cutoff_len": 64,
            "output_dir": "saves/x",
            "max_steps": 4,
        }
        values = {"name": name, "training": training, "base": {"model": "tiny"}, "resources": {"pool": "cpu"}, **more}
        path.write_text(json.dumps(values))
        return path

    def send(self, spec: Path) -> str:
        """Sends a spec and returns the run's id."""
        return str(self.json("run", str(spec), "--on", "kit")["id"])

    def flag(self, what: str, stage: str, run: str) -> Path:
        """``hold`` or ``fail``: the file that makes a run's stage wait or fail while it is there."""
        path = self.root / "store" / "kit" / f"{what}-{stage}-{run}"
        path.touch()
        return path

    def until(self, run: str, reached: Callable[[dict[str, Any]], bool], seconds: float = 90) -> dict[str, Any]:
        """The status of a run, once it is as it should be."""
        end = time.monotonic() + seconds
        while True:
            found: dict[str, Any] = self.json("status", run)
            if reached(found):
                return found
            assert time.monotonic() < end, json.dumps(found, indent=1)
            time.sleep(0.5)


def state(found: dict[str, Any], stage: str) -> str:
    return next(each["state"] for each in found["stages"] if each["name"] == stage)


def kit_environment() -> Environment:
    """An environment like dev with one team that no other test uses."""
    dev = next(each for each in load_all(ROOT / "configs" / "environments") if each.name == "dev")
    team = dev.teams["research"].model_copy(update={"gpus": 0})
    return dev.model_copy(update={"name": "kit", "teams": {"kit": team}})


def kueue(namespace: str) -> list[dict[str, Any]]:
    """A queue for everything that asks for CPU and memory, on any node."""
    quota = [{"name": "cpu", "nominalQuota": "16"}, {"name": "memory", "nominalQuota": "64Gi"}]
    group = {"coveredResources": ["cpu", "memory"], "flavors": [{"name": "kit-any", "resources": quota}]}
    return [
        {"apiVersion": QUEUE_API, "kind": "WorkloadPriorityClass", "metadata": {"name": "normal"}, "value": 0},
        {"apiVersion": QUEUE_API, "kind": "ResourceFlavor", "metadata": {"name": "kit-any"}},
        {
            "apiVersion": QUEUE_API,
            "kind": "ClusterQueue",
            "metadata": {"name": "team-kit"},
            "spec": {"namespaceSelector": {}, "resourceGroups": [group]},
        },
        {
            "apiVersion": QUEUE_API,
            "kind": "LocalQueue",
            "metadata": {"name": "runs", "namespace": namespace},
            "spec": {"clusterQueue": "team-kit"},
        },
    ]


@pytest.fixture(scope="module")
def place(kubectl: Kubectl, built_tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    root = Path(f"/var/tmp/tunery-cluster-{os.getpid()}")  # noqa: S108 pods, as another user, cannot enter pytest's own
    root.mkdir(mode=0o755)
    for name in ("store", "store/kit", "store/models"):
        (root / name).mkdir()
        (root / name).chmod(0o777)
    player = root / "play"
    player.write_text(PLAYER)
    player.chmod(0o755)
    environment = kit_environment()
    values = contract.contract(environment) | {
        "local": {
            "store": str(root / "store"),
            "python": str(player),
            "images": dict.fromkeys(("stager", "trainer", "server"), SHELL_IMAGE),
            "mounts": [{"path": str(root), "read_only": False}],
        }
    }
    (root / "platform").mkdir()
    (root / "platform" / "kit.json").write_text(json.dumps(values))
    (root / "numbers.json").write_text(
        json.dumps([{"instruction": f"{n}?", "input": "", "output": "!"} for n in range(32)])
    )
    (root / "dataset_info.json").write_text(json.dumps({"numbers": {"file_name": "numbers.json"}}))
    namespace = "team-kit"
    objects = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}},
        *access.objects(environment),
        *kueue(namespace),
    ]
    done = kubectl(*APPLY, objects=objects)
    assert done.returncode == 0, done.stderr
    found = Place(
        root,
        namespace,
        kubectl,
        {
            **os.environ,
            "TUNERY_PLATFORM": str(root / "platform"),
            "TUNERY_RUNS": str(root / "runs"),
            "TUNERY_HUB": str(root / "hub"),
            "TUNERY_CACHE": str(root / "cache"),
        },
    )
    found.tunery("import", str(built_tiny_model), "tiny")
    yield found
    kubectl("delete", "namespace", namespace, "--wait=false")
    shutil.rmtree(root, ignore_errors=True)


def test_a_run_goes_through_its_stages_and_a_second_submission_attaches(place: Place) -> None:
    spec = place.spec("whole")
    first = place.json("run", str(spec), "--on", "kit", "--wait")
    assert first["sent"] == "started"
    found = place.json("status", first["id"])
    assert found["state"] == "finished"
    assert [(each["name"], each["state"]) for each in found["stages"]] == [
        (stage, "finished") for stage in ("fetch", "prepare", "train", "evaluate", "export")
    ]
    assert place.json("run", str(spec), "--on", "kit")["sent"] == "attached"
    listed = place.json("list", "--on", "kit")
    assert next(each for each in listed if each["id"] == first["id"])["state"] == "finished"
    refused = place.tunery("retry", first["id"], code=64)
    assert "has succeeded" in refused
    assert "has ended" in place.tunery("cancel", first["id"], code=64)


def test_two_submitters_at_once_make_one_run(place: Place) -> None:
    spec = place.spec("twice")
    with ThreadPoolExecutor(2) as pool:
        sent = list(pool.map(lambda _: place.json("run", str(spec), "--on", "kit"), range(2)))
    assert len({each["id"] for each in sent}) == 1
    assert sorted(each["sent"] for each in sent) == ["attached", "started"]


def test_a_failed_stage_is_explained_and_retried(place: Place) -> None:
    spec = place.spec("failing")
    run = json.loads(place.tunery("run", str(spec), "--on", "kit", "--dry-run", "--json"))[0]["metadata"]["name"]
    failing = place.flag("fail", "train", run)
    said = place.tunery("run", str(spec), "--on", "kit", "--wait", code=64)
    assert "It was told to fail." in said
    assert "take the file away" in said
    found = place.json("status", run)
    assert (found["state"], state(found, "train"), state(found, "evaluate")) == ("failed", "failed", "not run")
    assert found["problems"][0]["message"] == "It was told to fail."
    failing.unlink()
    assert place.json("retry", run)["sent"] == "started"
    assert place.until(run, lambda each: each["state"] in ("finished", "failed"))["state"] == "finished"


def test_a_run_is_stopped_and_goes_on_again(place: Place) -> None:
    spec = place.spec("stopped")
    run = json.loads(place.tunery("run", str(spec), "--on", "kit", "--dry-run", "--json"))[0]["metadata"]["name"]
    holding = place.flag("hold", "train", run)
    place.send(spec)
    place.until(run, lambda each: state(each, "train") == "running")
    place.tunery("cancel", run)
    found = place.until(run, lambda each: each["state"] == "stopped")
    assert state(found, "evaluate") != "finished"
    holding.unlink()
    place.tunery("retry", run)
    assert place.until(run, lambda each: each["state"] in ("finished", "failed"))["state"] == "finished"


def test_a_person_approves_before_serving_and_is_named(place: Place) -> None:
    spec = place.spec("approved", publish={"name": "answers"}, serve={"approval": True})
    run = place.send(spec)
    found = place.until(
        run, lambda each: each["state"] in ("waiting", "failed") and state(each, "publish") == "finished"
    )
    assert found["note"] == "approve: a person must approve"
    who = place.json("approve", run)["approved_by"]
    assert who
    found = place.until(run, lambda each: each["state"] in ("finished", "failed"))
    assert state(found, "serve") == "finished"
    assert next(each["note"] for each in found["stages"] if each["name"] == "approve") in ("", f"approved by {who}")
    assert "waits for no approval" in place.tunery("approve", run, code=64)


def test_logs_of_one_stage_and_of_all(place: Place) -> None:
    spec = place.spec("printing")
    run = place.send(spec)
    lines = place.tunery("logs", run, "--follow").splitlines()
    assert [line.split()[-2] for line in lines if line.endswith("works")] == [
        "fetch",
        "prepare",
        "train",
        "evaluate",
        "export",
    ]
    only = place.tunery("logs", run, "--stage", "train")
    assert [line.split() for line in only.splitlines()] == [["train", "the", "stage", "train", "works"]]


def test_a_schedule_starts_runs_of_their_own(place: Place) -> None:
    spec = place.spec("nightly", schedule="* * * * *")
    sent = place.json("run", str(spec), "--on", "kit")
    assert sent["sent"] == "scheduled"
    # The firing itself is played here, since it would take up to a minute: the same Workflow under Argo's name.
    name = f"nightly-{int(time.time())}"
    firing = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"name": name, "namespace": place.namespace},
        "spec": {"workflowTemplateRef": {"name": sent["id"]}},
    }
    assert place.kubectl("create", "-f", "-", objects=[firing]).returncode == 0
    end = time.monotonic() + 90
    while not (place.root / "store" / "kit" / name / "events.jsonl").is_file() or (
        "export" not in (place.root / "store" / "kit" / name / "events.jsonl").read_text()
    ):
        assert time.monotonic() < end, place.kubectl(
            "get", "workflow", name, "-n", place.namespace, "-o", "yaml"
        ).stdout
        time.sleep(0.5)
    assert "is removed" in place.tunery("cancel", sent["id"])
    assert place.kubectl("wait", "cronworkflow/nightly", "-n", place.namespace, "--for=delete").returncode == 0
    assert place.kubectl("get", "workflow", name, "-n", place.namespace).returncode == 0
    left = place.kubectl("get", "cronworkflows", "-n", place.namespace, "-o", "name").stdout
    assert "nightly" not in left


@pytest.mark.parametrize(
    ("take", "back", "words"),
    [
        (("delete", "localqueue", "runs"), None, "has no queue runs"),
        (("delete", "serviceaccount", "publisher"), None, "no service account publisher"),
    ],
)
def test_what_is_missing_is_told_with_who_must_do_what(place: Place, take: Any, back: Any, words: str) -> None:
    spec = place.spec("lacking", publish={"name": "answers"})
    assert place.kubectl(*take, "-n", place.namespace).returncode == 0
    try:
        said = place.tunery("run", str(spec), "--on", "kit", code=64)
    finally:
        place.kubectl(*APPLY, objects=[*access.objects(kit_environment()), *kueue(place.namespace)])
    assert words in said
    assert "whoever runs this cluster" in said
