import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from workloads.engines.create import create, describe, git_commit, plan
from workloads.errors import InputError, UnavailableError
from workloads.run_spec_loader import load_run_spec
from workloads.runtime import RunPaths, runs_dir

MakeRun = Callable[..., RunPaths]


def _spec(paths: RunPaths) -> Path:
    """The spec file that ``make_run`` wrote for this run."""
    return Path(json.loads(paths.record.read_text())["spec_dir"]) / "run.yaml"


def _id(spec: Path, *overrides: str) -> str:
    return plan(load_run_spec(spec, overrides)).id


def test_the_id_is_made_of_what_decides_the_result(make_run: MakeRun) -> None:
    spec = _spec(make_run())
    same = _id(spec)
    assert same == _id(spec)
    assert same != _id(spec, "learning_rate=5e-4")
    assert same != _id(spec, "seed=7")
    rows = json.loads((spec.parent / "numbers.json").read_text())
    (spec.parent / "numbers.json").write_text(json.dumps(rows[:-1]))
    assert same != _id(spec)


def test_where_a_model_lies_does_not_change_the_id_but_its_content_does(make_run: MakeRun, tiny_model: Path) -> None:
    spec = _spec(make_run())
    same = _id(spec)
    assert _id(spec, f"model_name_or_path={tiny_model}") == same
    (tiny_model / "generation_config.json").write_text("{}")
    assert _id(spec, f"model_name_or_path={tiny_model}") != same


def test_creating_twice_leaves_the_first(make_run: MakeRun) -> None:
    paths = make_run()
    written = paths.record.read_text()
    record = plan(load_run_spec(_spec(paths)), now=datetime(2030, 1, 1, tzinfo=UTC))
    assert create(record, runs_dir()).root == paths.root
    assert paths.record.read_text() == written


def test_a_dry_run_tells_everything_and_writes_nothing(make_run: MakeRun) -> None:
    paths = make_run()
    before = set(runs_dir().iterdir())
    told = describe(plan(load_run_spec(_spec(paths), ["max_steps=99"])))
    assert told["training_config"]["max_steps"] == 99
    assert told["datasets"][0]["name"] == "numbers"
    assert set(runs_dir().iterdir()) == before


@pytest.mark.parametrize(
    ("overrides", "where", "what"),
    [
        (["model_name_or_path=./nowhere"], "model_name_or_path", "no model in './nowhere'"),
        (["model_name_or_path=tunery/absent"], "model_name_or_path", "tunery/absent"),
        (["base.model=absent"], "base.model", "absent"),
        (["dataset=nubmers"], "dataset", "nubmers"),
    ],
)
def test_what_cannot_be_resolved_is_named(make_run: MakeRun, overrides: list[str], where: str, what: str) -> None:
    with pytest.raises(InputError) as caught:
        plan(load_run_spec(_spec(make_run()), overrides))
    assert [(problem.key, what in problem.message) for problem in caught.value.problems] == [(where, True)]


def test_all_mistakes_come_at_once(make_run: MakeRun) -> None:
    with pytest.raises(InputError) as caught:
        plan(load_run_spec(_spec(make_run()), ["lora_rnak=8", "model_name_or_path=./nowhere", "dataset=nubmers"]))
    assert len(caught.value.problems) == 3


def test_a_read_only_place_is_explained(make_run: MakeRun, tmp_path: Path) -> None:
    record = plan(load_run_spec(_spec(make_run())))
    (tmp_path / "file").write_text("")
    with pytest.raises(UnavailableError, match="run directory cannot be made"):
        create(record, tmp_path / "file")


def test_the_git_commit_is_recorded(repository: Path, tmp_path: Path) -> None:
    commit = git_commit(repository)
    assert commit is not None
    assert len(commit.removesuffix("-dirty")) == 40
    assert git_commit(tmp_path) is None


def test_plan_records_packages_and_seed(make_run: MakeRun) -> None:
    record: Any = json.loads(make_run().record.read_text())
    assert record["versions"]["llamafactory"] == "0.9.5"
    assert record["seed"] == 42
