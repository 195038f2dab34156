"""The demo's fine-tuning on a real cluster: an Argo Workflow whose training is a JobSet of two pods."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cluster.place import TWO_PODS, Place, demo_spec

pytestmark = pytest.mark.training
STAGES = ["fetch", "prepare", "train", "evaluate", "export", "publish", "serve"]


@pytest.fixture(scope="module")
def run(real_place: Place) -> dict[str, Any]:
    """The run, once it has ended well: what ``tunery run`` said, and its id."""
    said = real_place.tunery("run", str(demo_spec(real_place)), *TWO_PODS, "--on", "kit", "--follow", seconds=300)
    return {"id": said.split()[0], "said": said}


def test_whoever_follows_sees_every_stage_and_the_training(run: dict[str, Any]) -> None:
    for stage in STAGES:
        assert f"✓ {stage}" in run["said"]
    assert "step 225/225" in run["said"]


def test_status_and_list_say_that_it_is_finished(run: dict[str, Any], real_place: Place) -> None:
    found = real_place.json("status", run["id"])
    assert (found["state"], found["step"], found["problems"]) == ("finished", 225, [])
    assert [(each["name"], each["state"]) for each in found["stages"]] == [(stage, "finished") for stage in STAGES]
    assert found["gpu_hours"]["useful"] > 0
    assert found["gpu_hours"]["lost"] == 0
    listed = {each["id"]: each["state"] for each in real_place.json("list", "--on", "kit")}
    assert listed[run["id"]] == "finished"


def test_two_pods_trained_it_without_a_restart(run: dict[str, Any], real_place: Place) -> None:
    status = real_place.get("jobset", f"{run['id']}-t")["status"]
    assert status["terminalState"] == "Completed"
    assert not status.get("restarts")
    pods = real_place.get("pods", "-l", f"jobset.sigs.k8s.io/jobset-name={run['id']}-t")["items"]
    assert [pod["status"]["phase"] for pod in pods] == ["Succeeded", "Succeeded"]


def test_the_logs_are_those_of_the_trainer(run: dict[str, Any], real_place: Place) -> None:
    lines = real_place.tunery("logs", run["id"], "--stage", "train").splitlines()
    assert any("***** Running training *****" in line for line in lines)
    assert len({line.split()[0] for line in lines}) == 2


def test_the_model_is_in_the_hub_and_is_the_one_that_this_machine_makes(
    run: dict[str, Any], real_place: Place, reference: dict[str, Any]
) -> None:
    assert reference["id"] == run["id"]
    model = next(each for each in real_place.json("models") if each["name"] == "tunery/demo-assistant")
    assert (model["version"], model["aliases"]) == ("v1", ["candidate"])
    assert model["digest"] == reference["digest"]
    real_place.tunery("verify", "tunery/demo-assistant")


def test_the_gate_was_passed(run: dict[str, Any], real_place: Place, reference: dict[str, Any]) -> None:
    evaluation = json.loads((real_place.store / run["id"] / "evaluation.json").read_text())
    assert evaluation["gate"]["passed"]
    assert evaluation["gate"] == reference["gate"]
