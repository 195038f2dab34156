"""Checkpoints in the background: what is waited for, what is passed on, what is removed."""

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.events import EventLog, read_events
from workloads.storage import manifest
from workloads.training import checkpoints
from workloads.training.checkpoints import Retention, list_checkpoints, newest_verified, seal
from workloads.training.saving import Handover, Saver

_PATIENCE = 20.0
_TWO = Retention(2)


def _write(output_dir: Path, step: int) -> Path:
    """What the trainer does in a save."""
    folder = output_dir / f"checkpoint-{step}"
    folder.mkdir(parents=True)
    (folder / "weights").write_bytes(b"weights" * step)
    return folder


class Gate:
    """Work that stands still until it is let go, one piece at a time."""

    def __init__(self) -> None:
        self.begun: list[Any] = []
        self._entered, self._open = threading.Semaphore(0), threading.Semaphore(0)

    def __call__(self, *what: Any) -> None:
        self.begun.append(what[-1])
        self._entered.release()
        assert self._open.acquire(timeout=_PATIENCE)

    def wait(self) -> None:
        assert self._entered.acquire(timeout=_PATIENCE)

    def let_go(self, pieces: int = 1) -> None:
        self._open.release(pieces)


@pytest.fixture
def make_saver(tmp_path: Path) -> Callable[..., Saver]:
    events = EventLog(tmp_path / "events.jsonl")
    return lambda retention=_TWO, *more: Saver(events, retention, *more)


def _saved(tmp_path: Path) -> list[dict[str, Any]]:
    return [each for each in read_events(tmp_path / "events.jsonl")[0] if each["event"] == "checkpoint_saved"]


def test_training_goes_on_while_a_checkpoint_is_committed_and_waits_with_the_next_save(
    tmp_path: Path, make_saver: Callable[..., Saver], monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, commit = Gate(), manifest.commit

    def slow(folder: Path) -> manifest.Manifest:
        gate(folder.name)
        return commit(folder)

    monkeypatch.setattr(manifest, "commit", slow)
    saver = make_saver()
    saver.begin(_write(tmp_path / "out", 5), 5, 0.0)
    gate.wait()
    saver.check()
    assert _saved(tmp_path) == []
    second = threading.Thread(target=saver.begin, args=(_write(tmp_path / "out", 10), 10, 0.0))
    second.start()
    second.join(0.05)
    assert second.is_alive()
    assert gate.begun == ["checkpoint-5"]
    gate.let_go(2)
    second.join(_PATIENCE)
    saver.settle()
    saver.close()
    assert [each["step"] for each in _saved(tmp_path)] == [5, 10]
    assert all(each["seconds"] <= each["committed_after"] for each in _saved(tmp_path))


def test_a_commit_that_fails_stops_the_training_at_its_next_step(
    tmp_path: Path, make_saver: Callable[..., Saver], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(manifest, "commit", full)
    saver = make_saver()
    saver.begin(_write(tmp_path / "out", 5), 5, 0.0)
    saver.close()
    with pytest.raises(OSError, match="No space left"):
        saver.check()
    with pytest.raises(OSError, match="No space left"):
        saver.begin(_write(tmp_path / "out", 10), 10, 0.0)


def test_while_one_is_passed_on_only_the_newest_waits_and_what_stays_for_good(tmp_path: Path) -> None:
    gate = Gate()
    handover = Handover(gate, Retention(2, every=100))
    for step in (90, 100, 110, 120):
        handover.put(tmp_path / str(step), step)
        if step == 90:
            gate.wait()
    assert handover.held == {tmp_path / str(step) for step in (90, 100, 120)}
    assert not handover.wait(0.01)
    gate.let_go(3)
    assert handover.wait(_PATIENCE)
    assert gate.begun == [90, 100, 120]
    assert handover.held == set()
    handover.put(tmp_path / "130", 130)
    gate.let_go()
    assert handover.wait(_PATIENCE)
    assert gate.begun[-1] == 130


def test_what_passing_on_raises_is_raised_by_whoever_asks_next(tmp_path: Path) -> None:
    def away(folder: Path, step: int) -> None:
        raise OSError(5, "gone")

    handover = Handover(away, Retention(2))
    handover.put(tmp_path, 1)
    with pytest.raises(OSError, match="gone"):
        handover.wait(_PATIENCE)
    with pytest.raises(OSError, match="gone"):
        handover.put(tmp_path, 2)


def test_the_newest_stay_those_of_every_so_many_steps_and_those_that_are_needed(
    tmp_path: Path, make_saver: Callable[..., Saver]
) -> None:
    output_dir, needed = tmp_path / "out", tmp_path / "out" / "checkpoint-5"
    _write(output_dir, 7)  # a save that was cut off
    saver = make_saver(Retention(2, every=20), None, lambda: {needed})
    best = output_dir / "checkpoint-15"
    for step in (5, 10, 15, 20, 25, 30, 35):
        saver.begin(_write(output_dir, step), step, 0.0, best)
        saver.settle()
    saver.close()
    assert [each.step for each in list_checkpoints(output_dir)] == [35, 30, 20, 15, 5]


@given(st.lists(st.integers(1, 1000), unique=True), st.integers(1, 5), st.integers(1, 50) | st.none())
def test_retention_keeps_the_newest_and_the_lasting(steps: list[int], keep: int, every: int | None) -> None:
    ordered = sorted(steps, reverse=True)
    gone = set(Retention(keep, every).superfluous(ordered))
    assert not gone & set(ordered[:keep])
    assert not any(every and step % every == 0 for step in gone)
    assert len(set(ordered) - gone) >= min(keep, len(ordered))


def test_a_process_that_is_killed_before_the_manifest_loses_nothing(tmp_path: Path) -> None:
    manifest.commit(_write(tmp_path / "out", 5))
    seal(_write(tmp_path / "out", 10))
    found, damaged = newest_verified(tmp_path / "out", tmp_path / "damaged")
    assert found is not None
    assert (found.step, found.completed, damaged) == (10, True, [])
    assert manifest.damage(found.folder) == []


def _truncate(folder: Path, _: pytest.MonkeyPatch) -> None:
    os.truncate(folder / "weights", 3)


def _lose_a_file(folder: Path, _: pytest.MonkeyPatch) -> None:
    (folder / "weights").unlink()


def _boot_again(folder: Path, patch: pytest.MonkeyPatch) -> None:
    (folder.parent.parent / "boot").write_text("another")
    patch.setattr(checkpoints, "_BOOT", folder.parent.parent / "boot")


def _have_no_boot(folder: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(checkpoints, "_BOOT", folder.parent.parent / "absent")


@pytest.mark.parametrize("happen", [_truncate, _lose_a_file, _boot_again, _have_no_boot])
def test_a_sealed_checkpoint_counts_only_where_its_bytes_must_still_be_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, happen: Callable[[Path, pytest.MonkeyPatch], None]
) -> None:
    manifest.commit(_write(tmp_path / "out", 5))
    folder = _write(tmp_path / "out", 10)
    seal(folder)
    happen(folder, monkeypatch)
    found, damaged = newest_verified(tmp_path / "out", tmp_path / "damaged")
    assert found is not None
    assert found.step == 5
    assert [each.folder.name for each in damaged] == ["checkpoint-10"]


def test_a_seal_does_not_make_up_for_a_manifest_that_does_not_verify(tmp_path: Path) -> None:
    folder = _write(tmp_path / "out", 10)
    seal(folder)
    manifest.commit(folder)
    (folder / "weights").write_bytes(b"flipped" * 10)
    assert newest_verified(tmp_path / "out", tmp_path / "damaged")[0] is None
