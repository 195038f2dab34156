"""The conversation in the terminal: what is said, what is remembered, how it ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from workloads.cli.chat import Session, converse, write
from workloads.errors import InputError
from workloads.serving.interface import Completion, Message, Sampling


class Scripted:
    """Answers with the next of ``answers``; an exception is raised after its first half is said."""

    def __init__(self, *answers: str | BaseException) -> None:
        self._answers = iter(answers)
        self.heard: list[list[Message]] = []

    def complete(
        self,
        messages: Sequence[Message],
        _sampling: Sampling,
        *,
        on_text: Callable[[str], None] | None = None,
        **_: Any,
    ) -> Completion:
        self.heard.append(list(messages))
        answer = next(self._answers)
        assert on_text is not None
        if isinstance(answer, BaseException):
            on_text("half an ")
            raise answer
        for piece in answer.partition(" "):
            on_text(piece)
        return Completion(answer, 1, 2, "stop")


def typed(monkeypatch: pytest.MonkeyPatch, *lines: str | type[BaseException]) -> None:
    script: Iterator[str | type[BaseException]] = iter(lines)

    def read(_prompt: str) -> str:
        line = next(script)
        if isinstance(line, str):
            return line
        raise line

    monkeypatch.setattr("builtins.input", read)


def test_a_conversation_is_remembered_until_it_is_cleared(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    engine = Scripted("first answer", "second answer", "third answer")
    typed(monkeypatch, "one", "", "two", "/clear", "three", "/exit", "never read")
    converse(Session(engine, "Be brief.", Sampling(10, 0.0)))
    assert capsys.readouterr().out == "first answer\nsecond answer\nthird answer\n"
    assert [[message["content"] for message in heard] for heard in engine.heard] == [
        ["Be brief.", "one"],
        ["Be brief.", "one", "first answer", "two"],
        ["Be brief.", "three"],
    ]


def test_ctrl_c_stops_the_answer_and_the_conversation_goes_on(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    engine = Scripted(KeyboardInterrupt(), "go on")
    typed(monkeypatch, "one", "two", EOFError)
    converse(Session(engine, None, Sampling(10, 0.0)))
    assert capsys.readouterr().out == "half an \ngo on\n\n"
    assert [message["content"] for message in engine.heard[1]] == ["one", "half an ", "two"]


def test_ctrl_c_at_the_prompt_gives_a_new_one_and_ctrl_d_leaves(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    engine = Scripted("answer")
    typed(monkeypatch, KeyboardInterrupt, "/help", "one", EOFError)
    converse(Session(engine, None, Sampling(10, 0.0)))
    out = capsys.readouterr().out
    assert "/clear begins a new conversation" in out
    assert "answer" in out


def test_a_conversation_that_no_longer_fits_is_said_and_can_be_cleared(
    monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    engine = Scripted(InputError.of("The conversation has 9 tokens.", "begin a new one"), "answer")
    typed(monkeypatch, "one", "/clear", "two", EOFError)
    converse(Session(engine, None, Sampling(10, 0.0)))
    captured = capsys.readouterr()
    assert "The conversation has 9 tokens." in captured.err
    assert [message["content"] for message in engine.heard[1]] == ["two"]


def test_ctrl_c_without_a_conversation_ends_the_command() -> None:
    with pytest.raises(KeyboardInterrupt):
        Session(Scripted(KeyboardInterrupt()), None, Sampling(10, 0.0)).ask("one", show=False)


def test_text_can_not_command_the_terminal(capsys: Any) -> None:
    write("plain\x1b[2J\x07\x9b1m \N{WOMAN}\N{ZERO WIDTH JOINER}\N{PERSONAL COMPUTER}\tend\n")
    assert capsys.readouterr().out == "plain[2J1m \N{WOMAN}\N{ZERO WIDTH JOINER}\N{PERSONAL COMPUTER}\tend\n"
