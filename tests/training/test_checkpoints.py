from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.storage import manifest
from workloads.training.checkpoints import list_checkpoints, newest_verified


def _checkpoint(output_dir: Path, step: int, *, whole: bool = True) -> None:
    folder = output_dir / f"checkpoint-{step}"
    folder.mkdir(parents=True)
    (folder / "adapter_model.safetensors").write_bytes(b"weights" * step)
    if whole:
        manifest.commit(folder)


def test_without_checkpoints_training_starts_at_the_beginning(tmp_path: Path) -> None:
    assert newest_verified(tmp_path / "absent", tmp_path / "damaged") == (None, [])


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.integers(1, 2000), st.booleans(), max_size=5))
def test_the_newest_whole_one_is_taken_and_only_damaged_newer_ones_are_moved(
    tmp_path_factory: pytest.TempPathFactory, checkpoints: dict[int, bool]
) -> None:
    root = tmp_path_factory.mktemp("checkpoints")
    for step, whole in checkpoints.items():
        _checkpoint(root / "out", step, whole=whole)
    found, damaged = newest_verified(root / "out", root / "damaged")
    whole_steps = [step for step, whole in checkpoints.items() if whole]
    assert (found.step if found else None) == max(whole_steps, default=None)
    newer = {step for step in checkpoints if step > max(whole_steps, default=0)}
    assert {each.folder.name for each in damaged} == {f"checkpoint-{step}" for step in newer}
    assert {each.step for each in list_checkpoints(root / "out")} == set(checkpoints) - newer


def test_a_second_damaged_checkpoint_of_the_same_step_does_not_overwrite_the_first(tmp_path: Path) -> None:
    for _ in range(2):
        _checkpoint(tmp_path / "out", 5, whole=False)
        newest_verified(tmp_path / "out", tmp_path / "damaged")
    assert sorted(each.name for each in (tmp_path / "damaged").iterdir()) == ["checkpoint-5", "checkpoint-5.2"]


def test_steps_are_ordered_as_numbers(tmp_path: Path) -> None:
    for step in (9, 10, 100):
        _checkpoint(tmp_path, step)
    (tmp_path / "checkpoint-final").mkdir()
    assert [each.step for each in list_checkpoints(tmp_path)] == [100, 10, 9]
