"""What many tests share: a tiny model that is built once, and places of their own for hub, cache and runs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

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
    shared = tmp_path_factory.getbasetemp().parent
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
def own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No test sees the hub, cache or runs of the person who runs it."""
    monkeypatch.setenv("TUNERY_HUB", str(tmp_path / "hub"))
    monkeypatch.setenv("TUNERY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TUNERY_RUNS", str(tmp_path / "runs"))
    monkeypatch.delenv("TUNERY_API_KEY", raising=False)
    yield
