"""Whether one row of data has the form that dataset_info.json says it has.

The rules are those of llamafactory/data/converter.py and its processors, which drop a malformed row with a warning
that nobody reads, or fail on it after the model has loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

FORMATS = ("alpaca", "sharegpt", "openai")

COLUMNS = (
    "prompt",
    "query",
    "response",
    "history",
    "messages",
    "system",
    "tools",
    "images",
    "videos",
    "audios",
    "chosen",
    "rejected",
    "kto_tag",
)
TAGS = ("role_tag", "content_tag", "user_tag", "assistant_tag", "observation_tag", "function_tag", "system_tag")

_DEFAULT_COLUMNS = {"prompt": "instruction", "query": "input", "response": "output", "messages": "conversations"}
_DEFAULT_TAGS = dict(
    zip(TAGS, ("from", "value", "human", "gpt", "observation", "function_call", "system"), strict=True)
)
_MEDIA = ("images", "videos", "audios")


@dataclass(frozen=True)
class Shape:
    """What a row must look like.

    Attributes:
        formatting: one of `FORMATS`.
        ranking: whether each row has a better and a worse answer.
        columns: role of a column to its name in the file; None where there is none.
        tags: names inside a message.
        stage: LLaMA-Factory's training stage.
        answered: whether each row needs an expected answer.
    """

    formatting: str
    ranking: bool
    columns: Mapping[str, str | None]
    tags: Mapping[str, str | None]
    stage: str
    answered: bool = True

    @classmethod
    def of(cls, entry: Mapping[str, Any], stage: str, *, answered: bool = True) -> Shape:
        """The shape that an entry of dataset_info.json describes; naming one column or tag resets the others."""
        columns, tags = entry.get("columns", _DEFAULT_COLUMNS), entry.get("tags", _DEFAULT_TAGS)
        return cls(
            entry.get("formatting", "alpaca"),
            bool(entry.get("ranking", False)),
            {name: columns.get(name) for name in COLUMNS},
            {name: tags.get(name) for name in TAGS},
            stage,
            answered,
        )

    @property
    def required(self) -> dict[str, str]:
        """Role to name of the columns that LLaMA-Factory reads from every row, so that the file must have them."""
        roles = ["messages", "chosen", "rejected", "kto_tag", *_MEDIA]
        if self.formatting == "alpaca":
            roles += ["prompt", "query", "history"]
            roles += [] if self.ranking else ["response"]
        if self.formatting != "openai":
            roles += ["system", "tools"]
        unused = "messages" if self.formatting == "alpaca" else None
        found = {role: self.columns[role] for role in roles if role != unused}
        if not self.ranking:
            found = {role: name for role, name in found.items() if role not in ("chosen", "rejected")}
        return {role: name for role, name in found.items() if name is not None}


@dataclass(frozen=True)
class Flaw:
    """What is wrong with a row: the column, what, and how to fix it."""

    column: str | None
    message: str
    fix: str


def check_row(row: Any, shape: Shape) -> Flaw | None:
    """The first thing that is wrong with a row, or None."""
    if not isinstance(row, dict):
        return Flaw(None, f"The row is a {type(row).__name__}, not an object.", "write {column: value}")
    flaw = _check_extras(row, shape)
    if flaw is not None:
        return flaw
    return _check_alpaca(row, shape) if shape.formatting == "alpaca" else _check_messages(row, shape)


def _check_extras(row: Mapping[str, Any], shape: Shape) -> Flaw | None:
    system = shape.columns["system"]
    if system is not None and not isinstance(row.get(system), (str, type(None))):
        return Flaw(system, "The system message is not text.", "write text, or leave it out")
    tools = shape.columns["tools"]
    allowed = (str, list, dict, type(None)) if shape.formatting == "openai" else (str, type(None))
    if tools is not None and not isinstance(row.get(tools), allowed):
        return Flaw(tools, "The tools are not text.", "write the JSON of the tools as text")
    tag = shape.columns["kto_tag"]
    if shape.stage == "kto" and tag is not None and not isinstance(row.get(tag), bool):
        return Flaw(tag, "The mark of a good or bad answer is not true or false.", "write true or false")
    return None


def _check_alpaca(row: Mapping[str, Any], shape: Shape) -> Flaw | None:
    asked = False
    for role in ("prompt", "query"):
        name = shape.columns[role]
        value = None if name is None else row.get(name)
        if not isinstance(value, (str, type(None))):
            return Flaw(name, f"{name!r} is not text.", "write text")
        asked = asked or bool(value) or (shape.stage == "pt" and value is not None)
    if not asked:
        return Flaw(shape.columns["prompt"], "The row has no instruction.", "write text, or remove the row")
    history = shape.columns["history"]
    if history is not None and not _is_history(row.get(history)):
        return Flaw(history, "The history is not a list of pairs of texts.", 'write [["question", "answer"], ...]')
    if shape.stage == "pt" or not (shape.answered or shape.ranking):
        return None
    for role in ("chosen", "rejected") if shape.ranking else ("response",):
        name = shape.columns[role]
        value = None if name is None else row.get(name)
        if not isinstance(value, str):
            return Flaw(name or role, f"{name or role!r} is missing or is not text.", "write the answer as text")
        if shape.stage == "kto" and not value:
            return Flaw(name, "The answer is empty.", "write the answer, or remove the row")
    return None


def _is_history(value: Any) -> bool:
    return value is None or (
        isinstance(value, list)
        and all(
            isinstance(turn, list) and len(turn) == 2 and all(isinstance(part, str) for part in turn) for turn in value
        )
    )


def _check_messages(row: Mapping[str, Any], shape: Shape) -> Flaw | None:
    name, tags = shape.columns["messages"], shape.tags
    messages = row.get(name) if name else None
    if not isinstance(messages, list) or not messages:
        return Flaw(name, "The messages are missing or are no list.", "write a list of messages")
    roles = []
    for number, message in enumerate(messages, start=1):
        flaw = _check_message(message, shape, name, f"Message {number}")
        if flaw is not None:
            return flaw
        role = message[tags["role_tag"]]
        if shape.formatting == "openai" and role == tags["assistant_tag"] and message.get("tool_calls"):
            role = tags["function_tag"]
        roles.append(role)
    if tags["system_tag"] is not None and roles[0] == tags["system_tag"]:
        del roles[0]
    if shape.formatting == "openai":
        roles = [role for index, role in enumerate(roles) if not _repeats_tool_answer(roles, index, tags)]
    return _check_order(roles, shape, name) or _check_pair(row, shape)


def _repeats_tool_answer(roles: list[Any], index: int, tags: Mapping[str, str | None]) -> bool:
    """Tool answers that follow one another count as one message."""
    return bool(index and roles[index] == roles[index - 1] == tags["observation_tag"])


def _check_message(message: Any, shape: Shape, column: str | None, which: str) -> Flaw | None:
    role, content = shape.tags["role_tag"], shape.tags["content_tag"]
    if not isinstance(message, dict) or role not in message or content not in message:
        return Flaw(column, f"{which} has no {role!r} or no {content!r}.", f"write {{{role!r}: ..., {content!r}: ...}}")
    known = [tag for name, tag in shape.tags.items() if tag is not None and name not in ("role_tag", "content_tag")]
    if message[role] not in known:
        return Flaw(column, f"{which} is from {message[role]!r}, which is no role.", f"write one of {', '.join(known)}")
    calls = shape.formatting == "openai" and message.get("tool_calls")
    if not isinstance(message[content], str) and not calls:
        return Flaw(column, f"The content of message {which.split()[-1]} is not text.", "write text")
    return None


def _check_order(roles: list[Any], shape: Shape, column: str | None) -> Flaw | None:
    """Questions and answers take turns; the last is an answer, or a question where two answers are ranked."""
    tags = shape.tags
    turns = ((tags["user_tag"], tags["observation_tag"]), (tags["assistant_tag"], tags["function_tag"]))
    for index, role in enumerate(roles):
        if role not in turns[index % 2]:
            wanted = " or ".join(repr(tag) for tag in turns[index % 2] if tag is not None)
            return Flaw(
                column, f"Turn {index + 1} is from {role!r}.", f"let it be from {wanted}: the two sides take turns"
            )
    if shape.ranking and len(roles) % 2 == 0:
        return Flaw(
            column, "The messages must end with a question, which the two answers follow.", "remove the last one"
        )
    if not shape.ranking and (len(roles) % 2 or not roles):
        return Flaw(column, "The messages must end with an answer.", f"add a message from {tags['assistant_tag']!r}")
    return None


def _check_pair(row: Mapping[str, Any], shape: Shape) -> Flaw | None:
    if not shape.ranking:
        return None
    answers = (shape.tags["assistant_tag"], shape.tags["function_tag"])
    for role in ("chosen", "rejected"):
        name = shape.columns[role]
        flaw = _check_message(row.get(name) if name else None, shape, name or role, f"The answer {role}")
        if flaw is not None:
            return flaw
        if name is not None and row[name][shape.tags["role_tag"]] not in answers:
            return Flaw(name, f"The answer {role} is not from {answers[0]!r}.", f"let it be from {answers[0]!r}")
    return None
