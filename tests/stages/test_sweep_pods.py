"""A sweep as an environment runs it: one pod a trial and rung, each with an empty disk, and a store between them."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from workloads.engines.bundle import make_bundle, upload
from workloads.engines.create import plan
from workloads.engines.remote_sweep import read_sweep
from workloads.errors import InputError, Preempted
from workloads.hub import open_hub
from workloads.hub.importing import import_folder
from workloads.run_record import RunRecord
from workloads.run_spec_loader import load_run_spec
from workloads.runtime import RunPaths
from workloads.stages import trial as trial_stage
from workloads.stages.choose import choose
from workloads.stages.context import RunContext
from workloads.stages.patience import Patience
from workloads.stages.pod import run_pod
from workloads.stages.process import run_and_numbers
from workloads.stages.runner import planned, run_stages
from workloads.stages.trial import run_trial
from workloads.storage import manifest
from workloads.storage.atomic import read_json
from workloads.storage.objects import open_store
from workloads.sweep.results import Measurement
from workloads.sweep.trials import Trial
from workloads.training.signals import StopRequest

ASHA = {
    "method": "asha",
    "parameters": {"learning_rate": {"min": 1e-5, "max": 1e-1, "log": True}},
    "trials": 4,
    "reduction": 4,
    "min_steps": 2,
}
GRID = {"method": "grid", "parameters": {"learning_rate": {"values": [1e-4, 1e-3, 1e-2]}}}


class Pods:
    """Pods that are calls, each with a scratch folder of its own."""

    def __init__(self, root: Path, record: RunRecord) -> None:
        self.root = root
        self.record = record
        self.run = RunPaths(root / "store" / record.id)
        self.started = 0

    def environ(self, **more: str) -> dict[str, str]:
        self.started += 1
        scratch = self.root / f"pod-{self.started}"
        store = self.root / "store"
        places = {"TUNERY_STORE": store, "TUNERY_MODELS_STORE": store / "models", "TUNERY_SCRATCH": scratch}
        return {name: str(path) for name, path in places.items()} | {"TUNERY_CACHE": str(scratch / "cache"), **more}

    def stage(self, name: str) -> None:
        run_pod(name, self.record.id, self.environ(), StopRequest(), Patience(limit=0))

    def trial(self, rung: int, slot: int, **more: str) -> None:
        run_trial(self.record.id, rung, slot, self.environ(**more), StopRequest(), Patience(limit=0))

    def choose(self, rung: int) -> None:
        choose(self.record.id, rung, self.environ(), StopRequest(), Patience(limit=0))

    def result(self, number: int) -> Any:
        return read_json(self.run.trial(number) / "result.json")


@pytest.fixture
def sent(make_run: Callable[..., RunPaths], built_tiny_model: Path, tmp_path: Path) -> Callable[..., Pods]:
    """Bundles and uploads a run with a sweep; its base model and data are fetched and prepared."""

    def send(sweep: dict[str, Any]) -> Pods:
        import_folder(open_hub(), built_tiny_model, "tiny")
        make_run({"model_name_or_path": "tiny", "max_steps": 6, "save_steps": 3}, {"sweep": sweep})
        record = plan(load_run_spec(tmp_path / "project" / "run.yaml"))
        bundle = RunPaths(tmp_path / "bundle" / record.id)
        make_bundle(record, bundle)
        pods = Pods(tmp_path / "environment", record)
        assert upload(bundle, open_store(str(pods.root / "store")), record.id)
        return pods

    return send


class Objective:
    """Stands in for training: the loss is the distance of the learning rate from 1e-3, in powers of ten."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, int | None]] = []
        self.error: Exception | None = None

    def __call__(self, trial: Trial, _spec: Any, _stop: Any, until: int | None, _tell: Any) -> Measurement:
        self.calls.append((trial.number, until))
        if self.error is not None:
            raise self.error
        if until is None:
            trial.paths.trained.mkdir()
            (trial.paths.trained / "weights").write_text(json.dumps(trial.config["learning_rate"]))
            manifest.commit(trial.paths.trained)
        return Measurement(until or 6, {"loss": abs(math.log10(float(trial.config["learning_rate"])) + 3)})


@pytest.fixture
def objective(monkeypatch: pytest.MonkeyPatch) -> Objective:
    found = Objective()
    monkeypatch.setattr(trial_stage, "train_and_measure", found)
    monkeypatch.setattr("workloads.stages.stored_run.StoredRun.bring", lambda *_: None)
    return found


@pytest.mark.training
def test_pods_come_to_the_same_model_as_one_process(sent: Callable[..., Pods], tmp_path: Path) -> None:
    pods = sent(ASHA)
    pods.stage("fetch")
    pods.stage("prepare")
    for slot in (2, 0, 3, 1):
        pods.trial(0, slot)
    pods.choose(0)
    pods.trial(1, 0)
    pods.choose(1)
    pods.stage("evaluate")

    local = RunContext.open(tmp_path / "runs" / pods.record.id)
    run_stages(local, planned(local)[:4])
    here, there = read_json(local.paths.sweep), read_json(pods.run.sweep)
    for row in (*here["trials"], *there["trials"]):
        del row["seconds"]
    assert there == here
    assert read_json(pods.run.marker("train"))["outputs"]["trial"] == here["best"]
    weights = "adapter_model.safetensors"
    assert manifest.sha256_file(pods.run.trained / weights) == manifest.sha256_file(local.paths.trained / weights)
    assert read_json(pods.run.evaluation)["after"] == read_json(local.paths.evaluation)["after"]


def test_a_pod_that_comes_again_repeats_nothing(sent: Callable[..., Pods], objective: Objective) -> None:
    pods = sent(GRID)
    for slot in (0, 1, 1, 2, 0):
        pods.trial(0, slot)
    for _ in range(2):
        pods.choose(0)
    assert objective.calls == [(0, None), (1, None), (2, None)]
    outputs = read_json(pods.run.marker("train"))["outputs"]
    assert outputs["parameters"] == {"learning_rate": 1e-3}
    assert json.loads((pods.run.trained / "weights").read_text()) == 1e-3
    assert manifest.damage(pods.run.trained) == []


def test_slots_that_no_trial_has_do_nothing(sent: Callable[..., Pods], objective: Objective) -> None:
    pods = sent(GRID)
    pods.trial(0, 7)
    pods.trial(3, 0)
    assert objective.calls == []


def test_a_choice_stays_when_results_change_later(sent: Callable[..., Pods], objective: Objective) -> None:
    pods = sent(ASHA)
    for slot in range(3):
        pods.trial(0, slot)
    pods.choose(0)
    first = read_json(pods.run.root / "rungs" / "1.json")
    pods.trial(0, 3)
    pods.choose(0)
    assert read_json(pods.run.root / "rungs" / "1.json") == first


def test_a_stopped_trial_keeps_its_time_and_is_tried_again(sent: Callable[..., Pods], objective: Objective) -> None:
    pods = sent(GRID)
    objective.error = Preempted.of("stopped", "go on")
    with pytest.raises(Preempted):
        pods.trial(0, 0)
    assert pods.result(0)["measured"] == {}
    objective.error = None
    pods.trial(0, 0)
    assert pods.result(0)["measured"]["0"]["step"] == 6


def test_a_trial_that_fails_by_its_own_fault_ends_well(sent: Callable[..., Pods], objective: Objective) -> None:
    pods = sent(GRID)
    objective.error = RuntimeError("CUDA out of memory")
    for slot in range(3):
        pods.trial(0, slot)
    assert "Memory was too small" in pods.result(0)["problems"][0]["message"]
    with pytest.raises(InputError, match="Every trial failed"):
        pods.choose(0)
    assert not pods.run.marker("train").exists()


def test_what_the_cost_buys_starts_no_more_trials_but_finishes_the_best(
    sent: Callable[..., Pods], objective: Objective
) -> None:
    pods = sent(ASHA)
    pods.trial(0, 2)
    spent = pods.run.trial(2) / "result.json"
    spent.write_text(json.dumps(json.loads(spent.read_text()) | {"seconds": 7200.0}))
    pods.trial(0, 1, TUNERY_SWEEP_HOURS="2")
    assert objective.calls == [(2, 2)]
    pods.choose(0)
    pods.trial(1, 0, TUNERY_SWEEP_HOURS="2")
    now = read_sweep(open_store(str(pods.root / "store")), pods.record.id)
    assert now is not None
    assert (now["over"], now["best"]) == (False, 2)
    pods.choose(1)
    assert objective.calls == [(2, 2), (2, None)]
    assert read_sweep(open_store(str(pods.root / "store")), pods.record.id) == read_json(pods.run.sweep)
    states = [row["state"] for row in read_json(pods.run.sweep)["trials"]]
    assert states == ["skipped", "skipped", "finished", "skipped"]


@pytest.mark.parametrize(
    "arguments", [[], ["id"], ["id", "0"], ["id", "0", "x"], ["id", "0", "1", "2"], ["id", "0", "²"]]
)
def test_a_wrong_command_line_is_refused(arguments: list[str]) -> None:
    with pytest.raises(InputError, match="RUN_ID RUNG SLOT"):
        run_and_numbers(arguments, ("RUNG", "SLOT"))
