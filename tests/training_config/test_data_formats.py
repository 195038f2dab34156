from __future__ import annotations

from typing import Any

import pytest

from workloads.training_config.data_formats import Shape, check_row

ALPACA = Shape.of({}, "sft")
WITH_HISTORY = Shape.of(
    {"columns": {"prompt": "q", "response": "a", "history": "h", "system": "s", "tools": "t"}}, "sft"
)
RANKED = Shape.of({"ranking": True, "columns": {"prompt": "q", "chosen": "good", "rejected": "bad"}}, "dpo")
MARKED = Shape.of({"columns": {"prompt": "q", "response": "a", "kto_tag": "label"}}, "kto")
TEXT = Shape.of({"columns": {"prompt": "text"}}, "pt")
PREDICTED = Shape.of({}, "sft", answered=False)


@pytest.mark.parametrize(
    ("shape", "row", "column"),
    [
        (ALPACA, {"instruction": "a", "input": "b", "output": "c"}, None),
        (ALPACA, {"instruction": "a", "input": None, "output": ""}, None),
        (ALPACA, {"instruction": "", "input": "b", "output": "c"}, None),
        (ALPACA, {"instruction": "", "input": "", "output": "c"}, "instruction"),
        (ALPACA, {"instruction": 5, "output": "c"}, "instruction"),
        (ALPACA, {"instruction": "a", "input": ["b"], "output": "c"}, "input"),
        (ALPACA, {"instruction": "a", "output": 5}, "output"),
        (ALPACA, {"instruction": "a", "output": None}, "output"),
        (ALPACA, {"instruction": "a"}, "output"),
        (PREDICTED, {"instruction": "a"}, None),
        (WITH_HISTORY, {"q": "a", "a": "b", "h": [["c", "d"]], "s": "e", "t": "[]"}, None),
        (WITH_HISTORY, {"q": "a", "a": "b", "h": None}, None),
        (WITH_HISTORY, {"q": "a", "a": "b", "h": [["c"]]}, "h"),
        (WITH_HISTORY, {"q": "a", "a": "b", "h": "c"}, "h"),
        (WITH_HISTORY, {"q": "a", "a": "b", "s": ["c"]}, "s"),
        (WITH_HISTORY, {"q": "a", "a": "b", "t": [{}]}, "t"),
        (RANKED, {"q": "a", "good": "b", "bad": "c"}, None),
        (RANKED, {"q": "a", "good": "b"}, "bad"),
        (RANKED, {"q": "a", "good": {"b": 1}, "bad": "c"}, "good"),
        (MARKED, {"q": "a", "a": "b", "label": True}, None),
        (MARKED, {"q": "a", "a": "b", "label": "true"}, "label"),
        (MARKED, {"q": "a", "a": "b", "label": 1}, "label"),
        (MARKED, {"q": "a", "a": "", "label": False}, "a"),
        (TEXT, {"text": "a"}, None),
        (TEXT, {"text": ""}, None),
        (TEXT, {"text": None}, "text"),
        (TEXT, {"text": 5}, "text"),
    ],
)
def test_alpaca_rows(shape: Shape, row: dict[str, Any], column: str | None) -> None:
    flaw = check_row(row, shape)
    assert (flaw.column if flaw else None) == column


TAGS = {
    "role_tag": "role",
    "content_tag": "content",
    "user_tag": "user",
    "assistant_tag": "assistant",
    "observation_tag": "tool",
    "function_tag": "function",
    "system_tag": "system",
}
SHAREGPT = Shape.of({"formatting": "sharegpt"}, "sft")
OPENAI = Shape.of({"formatting": "openai", "columns": {"messages": "messages"}, "tags": TAGS}, "sft")
RANKED_TALK = Shape.of(
    {
        "formatting": "sharegpt",
        "ranking": True,
        "columns": {"messages": "messages", "chosen": "good", "rejected": "bad"},
        "tags": TAGS,
    },
    "dpo",
)


def talk(*roles: str) -> list[dict[str, str]]:
    return [{"from": role, "value": "words"} for role in roles]


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        (talk("human", "gpt"), None),
        (talk("system", "human", "gpt", "human", "gpt"), None),
        (talk("human", "function_call", "observation", "gpt"), None),
        (talk("gpt", "human"), "Turn 1 is from 'gpt'"),
        (talk("human", "human", "gpt"), "Turn 2 is from 'human'"),
        (talk("human"), "must end with an answer"),
        (talk("system"), "must end with an answer"),
        (talk("human", "gpt", "system"), "Turn 3"),
        (talk("user", "gpt"), "no role"),
        ([{"from": "human"}], "has no 'from' or no 'value'"),
        ([{"from": "human", "value": 5}], "is not text"),
        (["hello"], "has no 'from' or no 'value'"),
        ([], "missing"),
        ("hello", "missing"),
        (None, "missing"),
    ],
)
def test_sharegpt_rows(messages: Any, words: str | None) -> None:
    flaw = check_row({"conversations": messages}, SHAREGPT)
    assert (flaw is None) if words is None else (flaw is not None and words in flaw.message)


def said(*roles: str, **more: Any) -> list[dict[str, Any]]:
    return [{"role": role, "content": "words", **more} for role in roles]


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        (said("system", "user", "assistant"), None),
        (said("user", "function", "tool", "tool", "assistant"), None),
        ([*said("user"), {"role": "assistant", "content": None, "tool_calls": [{}]}, *said("tool", "assistant")], None),
        (said("user", "tool", "assistant"), "Turn 2"),
        (said("user", "assistant", "user"), "must end with an answer"),
        ([{"role": "user", "content": None}], "is not text"),
    ],
)
def test_openai_rows(messages: Any, words: str | None) -> None:
    flaw = check_row({"messages": messages}, OPENAI)
    assert (flaw is None) if words is None else (flaw is not None and words in flaw.message)


@pytest.mark.parametrize(
    ("row", "column"),
    [
        ({"messages": said("user"), "good": said("assistant")[0], "bad": said("assistant")[0]}, None),
        ({"messages": said("user", "assistant"), "good": {}, "bad": {}}, "messages"),
        ({"messages": said("user"), "good": said("user")[0], "bad": said("assistant")[0]}, "good"),
        ({"messages": said("user"), "good": said("assistant")[0], "bad": "words"}, "bad"),
        ({"messages": said("user"), "good": said("assistant")[0]}, "bad"),
    ],
)
def test_ranked_conversations(row: dict[str, Any], column: str | None) -> None:
    flaw = check_row(row, RANKED_TALK)
    assert (flaw.column if flaw else None) == column


def test_a_row_that_is_no_object() -> None:
    flaw = check_row(["a"], ALPACA)
    assert flaw is not None
    assert "list" in flaw.message


def test_naming_one_column_takes_away_the_default_names_of_the_others() -> None:
    assert Shape.of({"columns": {"prompt": "text"}}, "pt").required == {"prompt": "text"}
    assert ALPACA.required == {"prompt": "instruction", "query": "input", "response": "output"}
    assert SHAREGPT.required == {"messages": "conversations"}
    assert set(RANKED.required.values()) == {"q", "good", "bad"}
