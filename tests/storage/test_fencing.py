"""Two pods that train the same run: the one that was replaced destroys nothing, in both kinds of store."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from workloads.events import EventLog
from workloads.runtime import RunPaths
from workloads.stages.patience import ONCE
from workloads.stages.stored_checkpoints import StoredCheckpoints
from workloads.storage import manifest
from workloads.storage.lease import FencedError, Lease
from workloads.storage.objects import Store
from workloads.training.checkpoints import Retention


@pytest.fixture
def paths(tmp_path: Path) -> RunPaths:
    return RunPaths(tmp_path / "run")


@pytest.fixture
def stored(store: Store, paths: RunPaths) -> StoredCheckpoints:
    return StoredCheckpoints(store, "run/checkpoints", EventLog(paths.events), Retention(2), patience=ONCE)


def _save(paths: RunPaths, step: int, content: bytes = b"of the newest pod") -> Path:
    folder = paths.checkpoints / f"checkpoint-{step}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "weights").write_bytes(content)
    manifest.commit(folder)
    return folder


def _held(stored: StoredCheckpoints, paths: RunPaths, pod: str) -> StoredCheckpoints:
    """The run's checkpoints as a pod sees them that has just begun."""
    return replace(stored, events=EventLog(paths.events), lease=Lease.take(stored.store, "run/leases/train", pod))


def test_a_pod_that_was_replaced_writes_nothing_more(
    stored: StoredCheckpoints, paths: RunPaths, tmp_path: Path
) -> None:
    new_paths = RunPaths(tmp_path / "new")
    old = _held(stored, paths, "pod old")
    old(_save(paths, 5), 5)
    new = _held(stored, new_paths, "pod new")
    assert new.bring_newest(new_paths) == 5
    new(_save(new_paths, 10), 10)
    before = {each.key: each.modified for each in stored.store.under("run")}
    # It was cut off and trains on: with other bytes for the same step, and with steps that nobody has yet.
    for step in (10, 15):
        folder = _save(paths, step, b"of the pod that was replaced")
        with pytest.raises(FencedError, match="pod new has taken over"):
            old(folder, step)
    with pytest.raises(FencedError):
        old.send_newest(paths.checkpoints)
    assert {each.key: each.modified for each in stored.store.under("run")} == before
    assert new.steps() == [10, 5]


def test_an_upload_that_was_under_way_when_the_pod_was_replaced_destroys_nothing(
    stored: StoredCheckpoints, paths: RunPaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new_paths = RunPaths(tmp_path / "new")
    old = _held(stored, paths, "pod old")
    mine = _save(new_paths, 10)
    theirs = _save(paths, 10, b"of the pod that was replaced")
    upload = type(stored.store).upload

    def replaced_meanwhile(self: Store, *what: Any, **how: Any) -> bool:
        monkeypatch.setattr(type(stored.store), "upload", upload)
        _held(stored, new_paths, "pod new")(mine, 10)
        return upload(self, *what, **how)

    monkeypatch.setattr(type(stored.store), "upload", replaced_meanwhile)
    with pytest.raises(FencedError, match="pod new"):
        old(theirs, 10)
    third = RunPaths(tmp_path / "third")
    assert stored.bring_newest(third) == 10
    assert (third.checkpoints / "checkpoint-10" / "weights").read_bytes() == (mine / "weights").read_bytes()


def test_what_an_earlier_pod_left_of_a_step_gives_way_to_the_newest_pod(
    stored: StoredCheckpoints, paths: RunPaths
) -> None:
    store = stored.store
    store.write("run/checkpoints/checkpoint-10/weights", b"an upload that was cut off")
    held = _held(stored, paths, "pod new")
    held(_save(paths, 10), 10)
    assert held.steps() == [10]
    assert (
        store.read("run/checkpoints/checkpoint-10/weights")
        == (paths.checkpoints / "checkpoint-10" / "weights").read_bytes()
    )
