from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

ONE = "configs/runs/one.yaml"
Tunery = Callable[..., str]


@pytest.fixture
def sends(project: Any, tiny_in_hub: None, api: Any, kubeconfig: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The project, able to send to the API server of this process."""
    monkeypatch.setattr("workloads.engines.cluster_preflight.check", lambda *_: _Nothing)
    kubeconfig(api.url)
    return project


class _Nothing:
    problems = warnings = unknown = ()


def submitted(tunery: Tunery, *more: str, code: int = 0) -> list[tuple[str, str]]:
    answer = json.loads(tunery("ci", "submit", "--on", "kit", "--json", *more, code=code))
    return [(each["file"], each["state"]) for each in answer["runs"]]


def workflows(api: Any) -> list[str]:
    return sorted(path.rpartition("/")[2] for path in api.objects if "/workflows/" in path)


def test_only_what_changed_is_sent_and_once(sends: Any, api: Any, tunery: Tunery) -> None:
    sends.edit(ONE, resources={"max_hours": 2})
    sends.commit()
    assert submitted(tunery, "--base", "HEAD^") == [(ONE, "started")]
    (run,) = workflows(api)
    assert run.startswith("one-")
    assert submitted(tunery, "--base", "HEAD^") == [(ONE, "there")]
    sends.commit("nothing at all")
    assert submitted(tunery) == []
    assert workflows(api) == [run]


def test_a_run_that_was_sent_is_not_sent_again_after_the_cluster_forgot_it(
    sends: Any, api: Any, tunery: Tunery
) -> None:
    sends.edit(ONE, resources={"max_hours": 2})
    sends.commit()
    submitted(tunery)
    api.objects.clear()
    assert submitted(tunery, "--base", "HEAD^") == [(ONE, "there")]
    assert workflows(api) == []


def test_a_push_of_several_commits_counts_all_of_them(sends: Any, api: Any, tunery: Tunery) -> None:
    sends.commit("handled")
    submitted(tunery)
    sends.edit(ONE, resources={"max_hours": 2})
    sends.commit()
    sends.edit("configs/runs/two.yaml", resources={"max_hours": 3})
    sends.commit()
    assert submitted(tunery) == [(ONE, "started"), ("configs/runs/two.yaml", "started")]


def test_a_build_that_failed_is_caught_up_with_by_the_next(sends: Any, api: Any, tunery: Tunery) -> None:
    sends.commit("handled")
    submitted(tunery)
    sends.edit(ONE, resources={"max_hours": 2})
    sends.commit()
    api.faults[:] = [403]
    assert submitted(tunery, code=64) == [(ONE, "refused")]
    assert workflows(api) == []
    sends.commit("something else")
    assert submitted(tunery) == [(ONE, "started")]


def test_one_that_is_refused_holds_no_other_back(sends: Any, api: Any, tunery: Tunery) -> None:
    sends.edit(ONE, resources={"max_hours": -1})
    sends.edit("configs/runs/two.yaml", resources={"max_hours": 3})
    sends.commit()
    assert submitted(tunery, "--base", "HEAD^", code=64) == [(ONE, "refused"), ("configs/runs/two.yaml", "started")]
    said = tunery("ci", "submit", "--on", "kit", "--base", "HEAD^", code=64)
    assert "configs/runs/one.yaml:9:resources.max_hours" in said


def test_the_first_commit_sends_everything(sends: Any, api: Any, tunery: Tunery) -> None:
    assert [state for _, state in submitted(tunery)] == ["started", "started"]


def test_a_run_knows_its_commit_and_its_inputs_are_in_the_store(
    sends: Any, api: Any, tunery: Tunery, tmp_path: Path
) -> None:
    sends.edit(ONE, resources={"max_hours": 2})
    head = sends.commit()
    submitted(tunery)
    (run,) = workflows(api)
    store = tmp_path / "store" / "research"
    assert json.loads((store / run / "run.json").read_text())["git_commit"] == head
    assert json.loads((store / run / ".sent.json").read_text()) == {"commit": head}
    assert json.loads((store / "ci" / ".last.json").read_text()) == {"commit": head}


def test_a_record_that_says_nothing_is_passed_over(sends: Any, api: Any, tunery: Tunery, tmp_path: Path) -> None:
    for content in ("no JSON", "[]", json.dumps({"commit": "f" * 40}), json.dumps({"commit": 3})):
        last = tmp_path / "store" / "research" / "ci" / ".last.json"
        last.parent.mkdir(parents=True, exist_ok=True)
        last.write_text(content)
        sends.commit()
        assert submitted(tunery) == []


def test_a_dry_run_writes_what_would_be_sent_and_asks_nobody(
    project: Any, tiny_in_hub: None, tunery: Tunery, tmp_path: Path
) -> None:
    project.edit(ONE, resources={"max_hours": 2})
    project.commit()
    tunery("ci", "submit", "--on", "kit", "--dry-run", "--to", str(tmp_path / "out"))
    (run,) = (tmp_path / "out").iterdir()
    assert {yaml.safe_load(path.read_text())["kind"] for path in run.iterdir()} == {"Workflow"}
    assert not (tmp_path / "store").exists()
    shown = list(yaml.safe_load_all(tunery("ci", "submit", "--on", "kit", "--dry-run")))
    assert [each["kind"] for each in shown] == ["Workflow"]


def test_a_dry_run_with_a_mistake_shows_it(project: Any, tunery: Tunery) -> None:
    project.edit(ONE, teem=1)
    project.commit()
    assert "configs/runs/one.yaml:9:teem" in tunery("ci", "submit", "--on", "kit", "--dry-run", code=64)
