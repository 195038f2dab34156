from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from workloads.ci.changes import changes, configs
from workloads.ci.repository import Repository

BOTH = {"configs/runs/one.yaml", "configs/runs/two.yaml"}
TRAINING = "configs/training/tiny.yaml"


def changed(project: Any, base: str = "HEAD") -> dict[str, tuple[str, ...]]:
    repository = Repository.around(project.root)
    found = changes(repository, list(configs(repository.root)), repository.commit(base))
    return {change.config.place: change.what for change in found}


def touch(project: Any) -> None:
    for path in project.root.rglob("*.yaml"):
        os.utime(path, (1, 1))


def comment(project: Any) -> None:
    path = project.root / TRAINING
    path.write_text(f"# a comment\n\n{path.read_text()}")


def reorder(project: Any) -> None:
    path = project.root / TRAINING
    items = list(yaml.safe_load(path.read_text()).items())
    project.write(TRAINING, dict(reversed(items)))


def as_json(project: Any) -> None:
    path = project.root / "configs/runs/one.yaml"
    path.write_text(json.dumps(yaml.safe_load(path.read_text()), indent=3))


def unrelated(project: Any) -> None:
    project.write("README.md", "words")
    project.write("data/others.json", "[]")


@pytest.mark.parametrize("change", [touch, comment, reorder, as_json, unrelated])
def test_what_decides_nothing_is_no_change(project: Any, change: Callable[[Any], None]) -> None:
    change(project)
    assert changed(project) == {}
    project.commit()
    assert changed(project, "HEAD^") == {}


def a_value(project: Any) -> None:
    project.edit(TRAINING, learning_rate=0.002)


def data(project: Any) -> None:
    rows = json.loads((project.root / "data/numbers.json").read_text())
    project.write("data/numbers.json", json.dumps(rows[:-1]))


def questions(project: Any) -> None:
    project.write("data/questions.jsonl", json.dumps({"question": "Say 2.", "answer": "It is 2."}))


@pytest.mark.parametrize(
    ("change", "what", "trainings"),
    [(a_value, "training config", 1), (data, "data", 1), (questions, "questions", 0)],
)
def test_what_several_specs_share_changes_them_all(
    project: Any, change: Callable[[Any], None], what: str, trainings: int
) -> None:
    change(project)
    expected = BOTH | ({TRAINING} if trainings else set())
    assert changed(project) == dict.fromkeys(expected, (what,))


@pytest.mark.parametrize(
    ("edit", "what"),
    [
        ({"name": "other"}, ("name", "run spec")),
        ({"resources": {"max_hours": 2}}, ("run spec",)),
        ({"base": {"model": "tiny", "revision": "v1"}}, ("base model",)),
        ({"overrides": {"learning_rate": 0.5}}, ("training config",)),
        ({"resources": {"max_hours": -1}}, ("wrong now",)),
        ({"training": "../training/none.yaml"}, ("wrong now",)),
    ],
)
def test_a_spec_changes_alone(project: Any, edit: dict[str, Any], what: tuple[str, ...]) -> None:
    project.edit("configs/runs/one.yaml", **edit)
    assert changed(project) == {"configs/runs/one.yaml": what}


def test_a_file_that_a_training_config_names_counts_by_its_content(project: Any) -> None:
    project.write("configs/deepspeed/z.json", json.dumps({"zero_optimization": {"stage": 2}}))
    project.edit(TRAINING, deepspeed="../deepspeed/z.json")
    project.commit()
    assert changed(project) == {}
    project.write("configs/deepspeed/z.json", json.dumps({"zero_optimization": {"stage": 1}}))
    assert set(changed(project)) == BOTH | {TRAINING}


def test_a_new_spec_is_new_and_one_that_is_gone_is_nothing(project: Any) -> None:
    project.git("mv", "configs/runs/one.yaml", "configs/runs/three.yaml")
    assert changed(project) == {"configs/runs/three.yaml": ("new",)}


def test_a_mistake_of_before_is_not_this_push_s_doing(project: Any) -> None:
    project.edit("configs/runs/one.yaml", resources={"max_hours": -1})
    project.edit(TRAINING, lora_rank="abc")
    project.commit()
    assert changed(project) == {}
    project.edit("configs/runs/one.yaml", resources={"max_hours": -1}, name="still-wrong")
    assert set(changed(project)) == {"configs/runs/one.yaml"}
    project.edit(TRAINING, lora_rank=None)
    assert changed(project)[TRAINING] == ("wrong before",)


def test_a_push_of_the_same_from_another_folder(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    project.edit(TRAINING, lora_rank="abc")
    project.commit()
    monkeypatch.chdir(project.root / "configs")
    assert changed(project) == {}
