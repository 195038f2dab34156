from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from workloads.errors import UnavailableError
from workloads.events import EventLog, read_events
from workloads.runtime import RunPaths
from workloads.stages.patience import ONCE
from workloads.stages.stored_checkpoints import StoredCheckpoints
from workloads.storage import manifest
from workloads.storage.object_directory import DirectoryStore
from workloads.training.checkpoints import Retention, list_checkpoints, newest_verified


@pytest.fixture
def paths(tmp_path: Path) -> RunPaths:
    return RunPaths(tmp_path / "run")


@pytest.fixture
def stored(tmp_path: Path, paths: RunPaths) -> StoredCheckpoints:
    store = DirectoryStore(tmp_path / "store")
    return StoredCheckpoints(store, "run/checkpoints", EventLog(paths.events), Retention(2), patience=ONCE)


def _save(paths: RunPaths, step: int, *, commit: bool = True) -> Path:
    folder = paths.checkpoints / f"checkpoint-{step}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "weights").write_bytes(step.to_bytes(2, "big") * 500)
    if commit:
        manifest.commit(folder)
    return folder


def _events(paths: RunPaths, name: str) -> list[dict[str, Any]]:
    return [each for each in read_events(paths.events)[0] if each["event"] == name]


def test_the_newest_are_kept_in_the_store_and_a_new_pod_gets_the_newest(
    stored: StoredCheckpoints, paths: RunPaths, tmp_path: Path
) -> None:
    for step in (5, 10, 15, 100):
        stored(_save(paths, step), step)
    assert stored.steps() == [100, 15]
    assert {each.key.split("/")[2] for each in stored.store.under("run")} == {"checkpoint-15", "checkpoint-100"}
    other = RunPaths(tmp_path / "other")
    assert stored.bring_newest(other) == 100
    checkpoint, damaged = newest_verified(other.checkpoints, other.damaged)
    assert checkpoint is not None
    assert (checkpoint.step, damaged) == (100, [])


def test_a_checkpoint_without_a_manifest_does_not_count(stored: StoredCheckpoints, paths: RunPaths) -> None:
    stored(_save(paths, 5), 5)
    stored.store.write("run/checkpoints/checkpoint-10/weights", b"an upload that was cut off")
    stored.store.write("run/checkpoints/checkpoint-x/tunery-manifest.json", b"{}")
    assert stored.steps() == [5]


DAMAGE: dict[str, Callable[[Path], object]] = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:10]),
    "flipped": lambda path: path.write_bytes(b"\xff" + path.read_bytes()[1:]),
    "absent": lambda path: path.unlink(),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_one_is_reported_and_the_one_before_it_is_taken(
    stored: StoredCheckpoints, paths: RunPaths, tmp_path: Path, kind: str
) -> None:
    for step in (5, 10):
        stored(_save(paths, step), step)
    DAMAGE[kind](tmp_path / "store/run/checkpoints/checkpoint-10/weights")
    other = RunPaths(tmp_path / "other")
    assert stored.bring_newest(other) == 5
    assert newest_verified(other.checkpoints, other.damaged)[0] is not None
    reported = _events(paths, "checkpoint_damaged")
    assert [each["checkpoint"] for each in reported] == ["checkpoint-10"]
    assert "checkpoint-10/weights" in reported[0]["reasons"][0]
    assert stored.bring_newest(RunPaths(tmp_path / "third")) == 5
    assert len(_events(paths, "checkpoint_damaged")) == 1


def test_what_this_disk_has_is_not_brought(stored: StoredCheckpoints, paths: RunPaths) -> None:
    stored(_save(paths, 5), 5)
    _save(paths, 10)
    assert stored.bring_newest(paths) == 10
    assert [each.step for each in list_checkpoints(paths.checkpoints)] == [10, 5]


def test_nothing_stored_is_nothing_brought(stored: StoredCheckpoints, paths: RunPaths) -> None:
    assert stored.bring_newest(paths) is None


def test_a_store_that_is_away_costs_no_training_and_the_next_chance_is_taken(
    stored: StoredCheckpoints, paths: RunPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object, **__: object) -> bool:
        raise UnavailableError.of("The store is away.", "wait")

    with monkeypatch.context() as patch:
        patch.setattr(DirectoryStore, "upload", away)
        stored(_save(paths, 5), 5)
    assert _events(paths, "checkpoint_not_stored")[0]["reason"] == "The store is away."
    assert stored.steps() == []
    _save(paths, 10, commit=False)  # the trainer was killed in this save
    stored.send_newest(paths.checkpoints)
    assert stored.steps() == [5]
    stored.send_newest(paths.checkpoints)
    assert len(_events(paths, "checkpoint_stored")) == 1
