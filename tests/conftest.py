"""What many tests share: a tiny model that is built once, and places of their own for hub, cache and runs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from workloads.runtime import RunPaths

# Before torch is imported anywhere: two test processes on two cores, each with its own threads, only wait.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["DISABLE_VERSION_CHECK"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["NO_COLOR"] = "1"


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the repository."""
    return Path(__file__).parents[1]


@pytest.fixture(scope="session")
def built_tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's base model, built once for all test processes. Read only: use ``tiny_model`` to change it."""
    own = tmp_path_factory.getbasetemp()
    # Without workers the folder above is that of all sessions, and would keep the model of an older commit.
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    folder = shared / "tiny-model"
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            from workloads.demo.tiny_model import build_tiny_model

            partial = folder.with_name(f"tiny-model.{os.getpid()}")
            build_tiny_model(partial)
            partial.rename(folder)
    return folder


@pytest.fixture
def tiny_model(built_tiny_model: Path, tmp_path: Path) -> Path:
    """A copy of the tiny base model that the test may change."""
    folder = tmp_path / "tiny-model"
    shutil.copytree(built_tiny_model, folder)
    return folder


@pytest.fixture(autouse=True)
def own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the hub, cache or runs of the person who runs it."""
    monkeypatch.setenv("TUNERY_HUB", str(tmp_path / "hub"))
    monkeypatch.setenv("TUNERY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TUNERY_RUNS", str(tmp_path / "runs"))
    for name in (
        "TUNERY_API_KEY",
        "TUNERY_ARTIFACTORY_URL",
        "TUNERY_CACHE_LIMIT",
        "TUNERY_SIGNING_KEY",
        "TUNERY_SIGNING_PUBLIC_KEY",
    ):
        monkeypatch.delenv(name, raising=False)


MakeRun = Callable[..., RunPaths]


@pytest.fixture
def make_run(built_tiny_model: Path, tmp_path: Path) -> MakeRun:
    """Makes a run on the tiny model: ``make_run({key: value of the training config}, {part of the run spec})``."""

    def make(config: dict[str, Any] | None = None, spec: dict[str, Any] | None = None) -> RunPaths:
        from workloads.engines.create import create, plan
        from workloads.run_spec_loader import load_run_spec
        from workloads.runtime import runs_dir

        folder = tmp_path / "project"
        folder.mkdir(exist_ok=True)
        rows = [{"instruction": f"Say {n}.", "input": "", "output": f"It is {n}."} for n in range(64)]
        (folder / "numbers.json").write_text(json.dumps(rows))
        (folder / "dataset_info.json").write_text(json.dumps({"numbers": {"file_name": "numbers.json"}}))
        questions = [{"question": f"Say {n}.", "answer": f"It is {n}."} for n in range(4)]
        (folder / "questions.jsonl").write_text("\n".join(json.dumps(each) for each in questions))
        training = {
            "model_name_or_path": str(built_tiny_model),
            "stage": "sft",
            "do_train": True,
            "finetuning_type": "lora",
            "dataset": "numbers",
            "dataset_dir": str(folder),
            "template": "qwen",
            "cutoff_len": 64,
            "output_dir": "saves/x",
            "per_device_train_batch_size": 4,
            "learning_rate": 1e-3,
            "max_steps": 12,
            "save_steps": 4,
            "logging_steps": 1,
            "val_size": 0.1,
        }
        values = {"name": "test", "training": training | (config or {}), **(spec or {})}
        path = folder / "run.yaml"
        path.write_text(json.dumps(values))
        return create(plan(load_run_spec(path)), runs_dir())

    return make


@pytest.fixture
def start_run() -> Iterator[Callable[[RunPaths], subprocess.Popen[bytes]]]:
    """Starts the stages of a run as a process of its own; what still runs when the test ends is killed."""
    started: list[subprocess.Popen[bytes]] = []

    def start(paths: RunPaths, *stage: str) -> subprocess.Popen[bytes]:
        module = ".".join(["workloads.stages", *stage])
        paths.log.parent.mkdir(exist_ok=True)
        with paths.log.open("ab") as log:
            process = subprocess.Popen([sys.executable, "-m", module, str(paths.root)], stdout=log, stderr=log)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
