from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from ci.conftest import LLAMA_8B
from hypothesis import given
from hypothesis import strategies as st

from workloads.ci import comment
from workloads.hub.interface import Hub

Tunery = Callable[..., str]


def planned(tunery: Tunery, *more: str, code: int = 0) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(tunery("ci", "plan", "--base", "HEAD", "--json", *more, code=code))
    return answer


def rows(markdown: str) -> list[list[str]]:
    """The cells of every line of a table."""
    return [
        [cell.strip() for cell in line.strip("|").split(" | ")] for line in markdown.splitlines() if line[:1] == "|"
    ]


def test_nothing_changed(project: Any, tunery: Tunery) -> None:
    said = tunery("ci", "plan", "--base", "HEAD", "--on", "prod", "--no-hub")
    assert said.startswith(comment.MARK)
    assert "no run changed" in said
    assert "3 configs without a change" in said


def test_a_changed_spec_is_checked_estimated_and_costed(project: Any, tunery: Tunery) -> None:
    project.write("configs/models/tiny/config.json", json.dumps(LLAMA_8B))
    project.edit("configs/runs/one.yaml", resources={"max_hours": 10, "pool": "l4x1"})
    answer = planned(tunery, "--on", "prod", "--no-hub")
    (one,) = answer["configs"]
    assert (one["file"], one["team"], one["pool"], one["gpus"]) == ("configs/runs/one.yaml", "research", "l4x1", 1)
    assert 15e9 < one["memory"]["needs"] < one["memory"]["has"]
    alone = json.loads(tunery("cost", "configs/runs/one.yaml", "--on", "prod", "--json"))
    assert one["cost"]["high"] == alone["high"] > 0
    (row,) = [cells for cells in rows(answer["markdown"]) if cells[0] == "`configs/runs/one.yaml`"]
    assert row[2:5] == ["research", "l4x1", "1"]
    assert re.fullmatch(r"\d\d\.\d of 24\.2 GB", row[5])
    assert f"at most {alone['high']:,.2f} of 4,000.00 a month" in row[6]


def test_the_hub_knows_the_base_model(project: Any, tiny_in_hub: None, tunery: Tunery) -> None:
    project.edit("configs/runs/one.yaml", resources={"max_hours": 1})
    (one,) = planned(tunery, "--on", "prod")["configs"]
    assert 0 < one["memory"]["needs"] < 5e9


def test_a_base_model_that_the_hub_does_not_have(project: Any, tunery: Tunery) -> None:
    project.edit("configs/runs/one.yaml", resources={"max_hours": 1})
    answer = planned(tunery, "--on", "prod", code=64)
    (problem,) = answer["configs"][0]["problems"]
    local = json.loads(tunery("run", "configs/runs/one.yaml", "--dry-run", "--json", code=64))["problems"]
    assert [problem["message"]] == [each["message"] for each in local]
    assert (problem["file"], problem["line"], problem["key"]) == ("configs/runs/one.yaml", 3, "base.model")


def test_a_hub_that_is_away_is_a_note(project: Any, tunery: Tunery, monkeypatch: pytest.MonkeyPatch) -> None:
    from workloads.errors import UnavailableError

    def away() -> Hub:
        raise UnavailableError.of("The hub does not answer.", "try again")

    monkeypatch.setattr("workloads.engines.create.open_hub", away)
    project.edit("configs/runs/one.yaml", resources={"max_hours": 1})
    answer = planned(tunery, "--on", "prod")
    assert answer["configs"][0]["notes"] == ["The base model was not looked up: The hub does not answer."]
    assert "The hub does not answer" in answer["markdown"]


@pytest.mark.parametrize(
    ("edit", "line", "key", "words"),
    [
        ({"resources": {"max_hours": -1}}, 9, "resources.max_hours", "greater than 0"),
        ({"teem": "x"}, 9, "teem", "not a key of a run spec"),
        ({"team": "reserch"}, 5, "team", "has no team 'reserch'"),
        ({"resources": {"pool": "l4x9"}}, 9, "resources.pool", "no pool 'l4x9'"),
        ({"resources": {"nodes": 60, "pool": "l4x1"}}, 9, "resources", "asks for 60 GPUs"),
        (
            {"team": "support", "resources": {"nodes": 8, "pool": "l4x1", "max_hours": 720, "capacity": "on-demand"}},
            9,
            "resources.max_hours",
            "the budget of team support is 1,500.00 a month",
        ),
        ({"gate": {"rules": [{"metric": "rouge1", "min": 1}]}}, 9, "gate.rules.0.metric", "needs questions and ROUGE"),
    ],
)
def test_what_is_refused_says_where(
    project: Any, tunery: Tunery, edit: dict[str, Any], line: int, key: str, words: str
) -> None:
    project.edit("configs/runs/one.yaml", **edit)
    answer = planned(tunery, "--on", "prod", "--no-hub", code=64)
    (one,) = answer["configs"]
    (problem,) = one["problems"]
    assert (problem["file"], problem["line"], problem["key"]) == ("configs/runs/one.yaml", line, key)
    assert words in problem["message"]
    assert (answer["ok"], one["refused"]) == (False, True)
    (row,) = [cells for cells in rows(answer["markdown"]) if cells[1] == str(line)]
    assert row[:3] == ["`configs/runs/one.yaml`", str(line), f"`{key}`"]
    assert "1 of 1 changed configs refused" in answer["markdown"]


def test_the_messages_are_those_of_tunery_check(project: Any, tunery: Tunery) -> None:
    project.edit("configs/training/tiny.yaml", lora_rank="abc", learning_rte=1)
    local = json.loads(tunery("check", "configs/training/tiny.yaml", "--json", code=64))["problems"]
    found = planned(tunery, "--no-hub", code=64)["configs"]
    assert {each["file"]: each["refused"] for each in found} == {
        "configs/runs/one.yaml": True,
        "configs/runs/two.yaml": True,
        "configs/training/tiny.yaml": True,
    }
    assert found[2]["problems"] == local
    assert {each["line"] for each in local} == {14, 15}


def test_a_row_of_the_data_is_named(project: Any, tunery: Tunery) -> None:
    rows_ = [{"instruction": "a", "input": "", "output": "b"}] * 3 + [{"instruction": "a"}]
    project.write("data/numbers.json", json.dumps(rows_))
    answer = planned(tunery, "--no-hub", code=64)
    assert {each["problems"][0]["row"] for each in answer["configs"]} == {4}
    assert "row 4" in answer["markdown"]


def test_the_comment_goes_to_a_file_too(project: Any, tunery: Tunery) -> None:
    project.edit("configs/runs/one.yaml", teem=1)
    said = tunery("ci", "plan", "--base", "HEAD", "--comment", "out/plan.md", code=64)
    assert (project.root / "out" / "plan.md").read_text() == said


def test_a_base_that_is_not_there(project: Any, tunery: Tunery) -> None:
    assert "has no commit 'origin/main'" in tunery("ci", "plan", code=64)


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=60))
def test_no_text_breaks_out_of_its_cell(text: str) -> None:
    for cell in (comment._text(text), comment._code(text)):
        assert "\n" not in cell
        assert "|" not in cell
    assert not set("<@`[") & set(comment._text(text))
    assert comment._code(text).count("`") == 2
