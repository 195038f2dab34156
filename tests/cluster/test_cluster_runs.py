"""The verbs for runs on an environment, with a real Kubernetes, Argo Workflows and Kueue.

The stages are played by a shell script, which says what they would say and fails when it is told to: what is tested
is what tunery sends, what Kubernetes makes of it, and what tunery then tells. The fine-tuning itself has other tests.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.place import SHELL_IMAGE, Kubectl, Place, ended, opened, state

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


def spec(place: Place, name: str, **more: Any) -> Path:
    """A run spec of its own name."""
    path = place.root / f"{name}.json"
    training = {
        "stage": "sft",
        "do_train": True,
        "finetuning_type": "lora",
        "dataset": "numbers",
        "dataset_dir": str(place.root),
        "template": "qwen",
        "cutoff_len": 64,
        "output_dir": "saves/x",
        "max_steps": 4,
    }
    values = {"name": name, "training": training, "base": {"model": "tiny"}, "resources": {"pool": "cpu"}, **more}
    path.write_text(json.dumps(values))
    return path


def flag(place: Place, what: str, stage: str, run: str) -> Path:
    """``hold`` or ``fail``: the file that makes a run's stage wait or fail while it is there."""
    path = place.store / f"{what}-{stage}-{run}"
    path.touch()
    return path


def played_stages(root: Path) -> dict[str, Any]:
    """The contract's ``local`` for pods that run the script."""
    player = root / "play"
    player.write_text(PLAYER)
    player.chmod(0o755)
    return {
        "store": str(root / "store"),
        "python": str(player),
        "images": dict.fromkeys(("stager", "trainer", "server"), SHELL_IMAGE),
        "mounts": [{"path": str(root), "read_only": False}],
    }


@pytest.fixture(scope="module")
def place(kubectl: Kubectl, built_tiny_model: Path) -> Iterator[Place]:
    with opened(kubectl, "kit", played_stages) as place:
        rows = [{"instruction": f"{n}?", "input": "", "output": "!"} for n in range(32)]
        (place.root / "numbers.json").write_text(json.dumps(rows))
        (place.root / "dataset_info.json").write_text(json.dumps({"numbers": {"file_name": "numbers.json"}}))
        place.tunery("import", str(built_tiny_model), "tiny")
        yield place


def test_a_run_goes_through_its_stages_and_a_second_submission_attaches(place: Place) -> None:
    wanted = spec(place, "whole")
    first = place.json("run", str(wanted), "--on", "kit", "--wait")
    assert first["sent"] == "started"
    found = place.json("status", first["id"])
    assert found["state"] == "finished"
    assert [(each["name"], each["state"]) for each in found["stages"]] == [
        (stage, "finished") for stage in ("fetch", "prepare", "train", "evaluate", "export")
    ]
    assert place.json("run", str(wanted), "--on", "kit")["sent"] == "attached"
    listed = place.json("list", "--on", "kit")
    assert next(each for each in listed if each["id"] == first["id"])["state"] == "finished"
    refused = place.tunery("retry", first["id"], code=64)
    assert "has succeeded" in refused
    assert "has ended" in place.tunery("cancel", first["id"], code=64)


def test_two_submitters_at_once_make_one_run(place: Place) -> None:
    wanted = spec(place, "twice")
    with ThreadPoolExecutor(2) as pool:
        sent = list(pool.map(lambda _: place.json("run", str(wanted), "--on", "kit"), range(2)))
    assert len({each["id"] for each in sent}) == 1
    assert sorted(each["sent"] for each in sent) == ["attached", "started"]


def test_a_failed_stage_is_explained_and_retried(place: Place) -> None:
    wanted = spec(place, "failing")
    run = json.loads(place.tunery("run", str(wanted), "--on", "kit", "--dry-run", "--json"))[0]["metadata"]["name"]
    failing = flag(place, "fail", "train", run)
    said = place.tunery("run", str(wanted), "--on", "kit", "--wait", code=64)
    assert "It was told to fail." in said
    assert "take the file away" in said
    found = place.json("status", run)
    assert (found["state"], state(found, "train"), state(found, "evaluate")) == ("failed", "failed", "not run")
    assert found["problems"][0]["message"] == "It was told to fail."
    failing.unlink()
    assert place.json("retry", run)["sent"] == "started"
    assert place.until(run, lambda each: each["state"] in ("finished", "failed"))["state"] == "finished"


def test_a_run_is_stopped_and_goes_on_again(place: Place) -> None:
    wanted = spec(place, "stopped")
    run = json.loads(place.tunery("run", str(wanted), "--on", "kit", "--dry-run", "--json"))[0]["metadata"]["name"]
    holding = flag(place, "hold", "train", run)
    place.send(wanted)
    place.until(run, lambda each: state(each, "train") == "running")
    place.tunery("cancel", run)
    found = place.until(run, lambda each: each["state"] == "stopped")
    assert state(found, "evaluate") != "finished"
    holding.unlink()
    place.tunery("retry", run)
    assert place.until(run, lambda each: each["state"] in ("finished", "failed"))["state"] == "finished"


def test_a_person_approves_before_serving_and_is_named(place: Place) -> None:
    wanted = spec(place, "approved", publish={"name": "answers"}, serve={"approval": True})
    run = place.send(wanted)
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
    wanted = spec(place, "printing")
    run = place.send(wanted)
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


def test_a_folder_for_git_needs_nothing_but_to_be_applied(place: Place) -> None:
    wanted, folder = spec(place, "delivered"), place.root / "deliver"
    answer = place.json("render", str(wanted), "--on", "kit", "--to", str(folder), "--upload")
    done = place.kubectl("apply", "--server-side", "-k", str(folder))
    assert done.returncode == 0, done.stderr
    assert place.json("run", str(wanted), "--on", "kit")["sent"] == "attached"
    assert place.until(answer["id"], ended)["state"] == "finished"


def test_a_schedule_starts_runs_of_their_own(place: Place) -> None:
    wanted = spec(place, "nightly", schedule="* * * * *")
    sent = place.json("run", str(wanted), "--on", "kit")
    assert sent["sent"] == "scheduled"
    # The firing itself is played here, since it would take up to a minute: the same Workflow under Argo's name.
    cron = place.get("cronworkflow", "nightly")
    name = f"nightly-{int(time.time())}"
    firing = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"name": name, "namespace": place.namespace},
        "spec": cron["spec"]["workflowSpec"],
    }
    assert place.kubectl("create", "-f", "-", objects=[firing]).returncode == 0
    end = time.monotonic() + 90
    while not (place.store / name / "events.jsonl").is_file() or (
        "export" not in (place.store / name / "events.jsonl").read_text()
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
        (("delete", "localqueue", "cpu"), None, "has no queue cpu"),
        (("delete", "serviceaccount", "publisher"), None, "no service account publisher"),
    ],
)
def test_what_is_missing_is_told_with_who_must_do_what(place: Place, take: Any, back: Any, words: str) -> None:
    wanted = spec(place, "lacking", publish={"name": "answers"})
    assert place.kubectl(*take, "-n", place.namespace).returncode == 0
    try:
        said = place.tunery("run", str(wanted), "--on", "kit", code=64)
    finally:
        place.restore()
    assert words in said
    assert "whoever runs this cluster" in said
