"""The pipeline as an environment runs it: one pod a stage, each with an empty disk, and a store between them."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from workloads.engines.bundle import make_bundle, upload
from workloads.engines.create import plan
from workloads.errors import ExitCode, InputError, Preempted, UnavailableError
from workloads.events import read_events
from workloads.hub import open_hub
from workloads.hub.importing import import_folder
from workloads.hub.interface import ModelReference
from workloads.run_record import RunRecord
from workloads.run_spec_loader import load_run_spec
from workloads.runtime import STAGES, RunPaths
from workloads.stages import fetch, pod
from workloads.stages.patience import Patience
from workloads.stages.pod import run_pod
from workloads.storage.lease import FencedError, Lease
from workloads.storage.manifest import MANIFEST_NAME
from workloads.storage.object_directory import DirectoryStore
from workloads.training.signals import StopRequest

SPEC = {
    "evaluation": {"questions": {"file": "questions.jsonl", "max_new_tokens": 8}},
    "gate": {"baseline": "baseline.json", "rules": [{"metric": "loss", "tolerance": 100}]},
    "publish": {"name": "team/numbers"},
    "serve": {"question": "Say 3."},
}


class Environment:
    """A store, a hub, and pods that are processes or calls, each with a scratch folder of its own."""

    def __init__(self, root: Path, run_id: str) -> None:
        self.root = root
        self.id = run_id
        self.store = root / "store"
        self.pods = 0

    @property
    def run(self) -> RunPaths:
        """The run directory in the store."""
        return RunPaths(self.store / self.id)

    def environ(self) -> dict[str, str]:
        self.pods += 1
        scratch = self.root / f"pod-{self.pods}"
        return {
            "TUNERY_STORE": str(self.store),
            "TUNERY_MODELS_STORE": str(self.store / "models"),
            "TUNERY_SCRATCH": str(scratch),
            "TUNERY_CACHE": str(scratch / "cache"),
            "TUNERY_GRACE_SECONDS": "10",
            "HOME": str(scratch / "home"),
            "TMPDIR": str(scratch / "temporary"),
        }

    @property
    def scratch(self) -> Path:
        """The disk of the last pod."""
        return self.root / f"pod-{self.pods}"

    def call(self, stage: str, **more: str) -> None:
        """A pod in this process."""
        run_pod(stage, self.id, self.environ() | more, StopRequest(), Patience(limit=0))

    def start(self, stage: str, **more: str) -> "subprocess.Popen[bytes]":
        """A pod as Kubernetes starts it."""
        command = [sys.executable, "-m", "workloads.stages.pod", stage, self.id]
        return subprocess.Popen(command, env={**os.environ, **self.environ(), **more}, stderr=subprocess.PIPE)

    def events(self, name: str) -> list[dict[str, Any]]:
        return [each for each in read_events(self.run.events)[0] if each["event"] == name]


@pytest.fixture
def sent(make_run: Callable[..., RunPaths], built_tiny_model: Path, tmp_path: Path) -> Callable[..., Environment]:
    """Bundles and uploads a run on the tiny model, and takes away everything that it was made of."""

    def send(config: dict[str, Any] | None = None, spec: dict[str, Any] | None = None) -> Environment:
        import_folder(open_hub(), built_tiny_model, "tiny")
        project = tmp_path / "project"
        project.mkdir()
        (project / "baseline.json").write_text(json.dumps({"loss": 5.0}))
        made = make_run({"model_name_or_path": "tiny"} | (config or {}), SPEC | (spec or {}))
        record = plan(load_run_spec(project / "run.yaml"))
        assert record.id == made.root.name
        bundle = RunPaths(tmp_path / "bundle" / record.id)
        make_bundle(record, bundle)
        from workloads.storage.objects import open_store

        environment = Environment(tmp_path / "environment", record.id)
        assert upload(bundle, open_store(str(environment.store)), record.id)
        for folder in (project, tmp_path / "bundle", made.root):
            folder.rename(folder.with_name(f"{folder.name}-moved"))
        return environment

    return send


@pytest.mark.training
def test_every_stage_finds_what_it_needs_on_an_empty_disk(sent: Callable[..., Environment]) -> None:
    environment = sent()
    for stage in STAGES:
        environment.call(stage)
        assert environment.run.marker(stage).is_file()
        if stage == "prepare":
            assert not list(environment.scratch.rglob("*.safetensors"))
        if stage == "serve":
            assert not (environment.scratch / "cache" / "models" / _revision(environment)).exists()
    assert [each["stage"] for each in environment.events("stage_finished")] == list(STAGES)
    assert len(environment.events("run_finished")) == 1
    version = open_hub().resolve(ModelReference.parse("team/numbers@candidate"))
    lineage = open_hub().lineage(version)
    assert lineage["run"] == environment.id
    assert lineage["steps"] == 12
    evaluation = json.loads(environment.run.evaluation.read_text())
    assert evaluation["after"]["loss"] < evaluation["before"]["loss"]
    assert evaluation["baseline"] == {"loss": 5.0}

    before = environment.events("stage_finished")
    for stage in STAGES:
        environment.call(stage)
        assert not (environment.scratch / "cache").exists()
    assert environment.events("stage_finished") == before
    assert [each["stage"] for each in environment.events("stage_skipped")] == list(STAGES)


def _revision(environment: Environment) -> str:
    return RunRecord.read(environment.run).base.revision


def _wait_for(process: "subprocess.Popen[bytes]", ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not ready():
        assert process.poll() is None, process.stderr.read().decode()[-2000:] if process.stderr else ""
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.training
def test_a_preempted_training_goes_on_in_another_pod_from_the_store(sent: Callable[..., Environment]) -> None:
    environment = sent({"max_steps": 60, "save_steps": 10, "save_total_limit": 2})
    environment.call("fetch")
    environment.call("prepare")
    first = environment.start("train")
    _wait_for(first, lambda: (environment.run.checkpoints / "checkpoint-20" / MANIFEST_NAME).is_file())
    first.send_signal(signal.SIGTERM)
    assert first.wait(60) == ExitCode.PREEMPTED
    stopped_at = environment.events("preempted")[0]["step"]
    assert (environment.run.checkpoints / f"checkpoint-{stopped_at}" / MANIFEST_NAME).is_file()
    assert not environment.run.marker("train").exists()

    second = environment.start("train")
    _, said = second.communicate(timeout=120)
    assert second.returncode == ExitCode.OK, said.decode()[-2000:]
    assert [each["step"] for each in environment.events("resumed")] == [stopped_at]
    assert [each["step"] for each in environment.events("log")] == list(range(1, 61))
    assert json.loads(environment.run.marker("train").read_text())["outputs"]["steps"] == 60
    assert len(list(environment.run.checkpoints.iterdir())) == 2


@pytest.mark.training
@pytest.mark.slow
def test_a_pod_that_comes_back_after_it_was_replaced_stops_and_changes_nothing(
    sent: Callable[..., Environment],
) -> None:
    environment = sent({"max_steps": 60, "save_steps": 10, "save_total_limit": 2})
    environment.call("fetch")
    environment.call("prepare")
    cut_off = environment.start("train")
    _wait_for(cut_off, lambda: (environment.run.checkpoints / "checkpoint-20" / MANIFEST_NAME).is_file())
    cut_off.send_signal(signal.SIGSTOP)  # as a node does that is alive and cannot be reached
    second = environment.start("train")
    _, said = second.communicate(timeout=120)
    assert second.returncode == ExitCode.OK, said.decode()[-2000:]
    left = {path: path.read_bytes() for path in environment.run.root.rglob("*") if path.is_file()}
    cut_off.send_signal(signal.SIGCONT)
    _, said = cut_off.communicate(timeout=120)
    assert cut_off.returncode == ExitCode.INPUT, said.decode()[-2000:]
    assert b"has taken over this work" in said
    assert {path: path.read_bytes() for path in environment.run.root.rglob("*") if path.is_file()} == left
    assert json.loads(environment.run.marker("train").read_text())["outputs"]["steps"] == 60


def test_who_sends_news_hears_that_another_pod_has_taken_over(tmp_path: Path, capsys: Any) -> None:
    stop, sent_after_all = StopRequest(), []

    def send() -> None:
        sent_after_all.append(1)
        raise FencedError.of("pod b has taken over.", "nothing has to be done")

    with pod.News(send, stop, seconds=0.001):
        deadline = time.monotonic() + 10
        while not stop.requested:
            assert time.monotonic() < deadline
            time.sleep(0.001)
    assert sent_after_all == [1]
    assert capsys.readouterr().err.count("pod b has taken over") == 1


def test_a_stage_that_was_replaced_leaves_neither_its_result_nor_its_marker(
    sent: Callable[..., Environment], monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = sent()
    environment.call("fetch")

    class Slow:
        def run(self, context: Any) -> dict[str, Any]:
            context.paths.evaluation.write_text("{}")
            Lease.take(DirectoryStore(environment.store), f"{environment.id}/leases/evaluate", "pod b")
            return {}

        def intact(self, context: Any) -> bool:
            return True

    monkeypatch.setattr(pod, "stage_module", lambda _: Slow())
    monkeypatch.setattr("workloads.stages.stored_run.StoredRun.bring", lambda *_: None)
    with pytest.raises(FencedError, match="pod b has taken over"):
        environment.call("evaluate")
    assert not environment.run.marker("evaluate").exists()
    assert not environment.run.evaluation.exists()


def test_a_stop_stays_a_stop_when_the_store_is_away(
    sent: Callable[..., Environment], monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = sent()
    environment.call("fetch")

    def away(*_: object) -> None:
        raise UnavailableError.of("The store is away.", "wait")

    class Stopped:
        def run(self, context: Any) -> dict[str, Any]:
            monkeypatch.setattr(Lease, "check", away)
            raise Preempted.of("The run was told to stop.", "go on")

        def intact(self, context: Any) -> bool:
            return False

    monkeypatch.setattr(pod, "stage_module", lambda _: Stopped())
    monkeypatch.setattr("workloads.stages.stored_run.StoredRun.bring", lambda *_: None)
    with pytest.raises(Preempted):
        environment.call("evaluate")


def test_the_base_model_is_fetched_once_for_all_runs(
    sent: Callable[..., Environment], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = sent()
    environment.call("fetch")
    (tmp_path / "hub").rename(tmp_path / "hub-away")
    second = f"{environment.id}-again"
    record = replace(RunRecord.read(environment.run), id=second)
    record.write(RunPaths(environment.store / second))
    environment.id = second
    environment.call("fetch")
    assert environment.events("stage_finished")


def test_a_firing_of_a_schedule_is_a_run_of_its_own_with_the_inputs_of_the_bundle(
    sent: Callable[..., Environment],
) -> None:
    environment = sent()
    bundle, environment.id = environment.id, "test-1234567890"
    environment.call("fetch", TUNERY_BUNDLE=bundle)
    assert RunRecord.read(environment.run).id == "test-1234567890"
    assert RunRecord.read(environment.run).datasets == RunRecord.read(RunPaths(environment.store / bundle)).datasets
    assert not (environment.store / bundle / "stages").exists()


def test_a_failed_stage_leaves_its_events_and_its_reason(sent: Callable[..., Environment]) -> None:
    environment = sent()
    environment.call("fetch")
    name = next(environment.run.inputs.glob("data/00/*.json"))
    content = bytearray(name.read_bytes())
    content[5] ^= 1
    name.write_bytes(content)
    process = environment.start("prepare")
    _, said = process.communicate(timeout=60)
    assert process.returncode == ExitCode.INTERNAL
    assert b"does not have the recorded SHA-256" in said
    failed = environment.events("stage_failed")[0]
    assert (failed["stage"], failed["exit_code"]) == ("prepare", 70)
    assert failed["problems"][0]["file"] == str(name)
    assert not environment.run.marker("prepare").exists()


def test_what_a_gate_refused_can_still_be_read(
    sent: Callable[..., Environment], monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = sent()
    environment.call("fetch")

    class Refusing:
        def run(self, context: Any) -> dict[str, Any]:
            context.paths.evaluation.write_text('{"gate": {"passed": false}}')
            raise InputError.of("The gate stops here.", "train longer")

        def intact(self, context: Any) -> bool:
            return False

    monkeypatch.setattr(pod, "stage_module", lambda _: Refusing())
    monkeypatch.setattr("workloads.stages.stored_run.StoredRun.bring", lambda *_: None)
    with pytest.raises(InputError, match="gate stops"):
        environment.call("evaluate")
    assert json.loads(environment.run.evaluation.read_text()) == {"gate": {"passed": False}}
    assert environment.events("stage_failed")[0]["exit_code"] == 64
    assert not environment.run.marker("evaluate").exists()


def test_of_a_gang_only_the_first_pod_leaves_anything(
    sent: Callable[..., Environment], monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = sent()
    environment.call("fetch")
    before = {path: path.stat().st_mtime_ns for path in environment.store.rglob("*") if path.is_file()}

    class Quiet:
        def run(self, context: Any) -> dict[str, Any]:
            return {}

        def intact(self, context: Any) -> bool:
            return True

    monkeypatch.setattr(pod, "stage_module", lambda _: Quiet())
    monkeypatch.setattr("workloads.stages.stored_run.StoredRun.bring", lambda *_: None)
    environment.call("train", NNODES="2", JOB_COMPLETION_INDEX="1")
    assert {path: path.stat().st_mtime_ns for path in environment.store.rglob("*") if path.is_file()} == before


def test_a_stage_that_asks_a_hub_that_is_away_waits_for_it(
    sent: Callable[..., Environment], monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = sent()
    real, attempts, pauses = fetch.base_model, [], []

    def away_twice(context: Any) -> dict[str, Any]:
        attempts.append(1)
        if len(attempts) < 3:
            raise UnavailableError.of("The hub is away.", "wait")
        return real(context)

    monkeypatch.setattr(fetch, "base_model", away_twice)
    run_pod("fetch", environment.id, environment.environ(), StopRequest(), Patience(sleep=pauses.append))
    assert len(pauses) == 2
    assert environment.events("stage_failed") == []
    assert environment.run.marker("fetch").is_file()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["trian", "x"], "'trian' is no stage"),
        (["train", "../x"], "is no run id"),
        (["train", "no-such-run"], "The store has no run no-such-run"),
        (["train"], "and a run id"),
    ],
)
def test_a_pod_that_is_started_wrongly_is_not_retried(
    arguments: list[str], says: str, tmp_path: Path, capsys: Any
) -> None:
    environ = Environment(tmp_path, "x").environ()
    assert pod.command(arguments, environ, StopRequest()) == ExitCode.INPUT
    assert says in capsys.readouterr().err


def test_a_pod_without_a_store_says_what_is_missing(capsys: Any) -> None:
    assert pod.command(["train", "x"], {}, StopRequest()) == ExitCode.INPUT
    assert "TUNERY_STORE is not set" in capsys.readouterr().err
