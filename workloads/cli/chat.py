"""``tunery chat``: a conversation with a model in the terminal."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Iterator
from contextlib import suppress
from typing import Annotated

import typer

from workloads.serving.interface import Completion, Engine, Message, Sampling

_HELP = "/clear begins a new conversation, /exit or Ctrl-D leaves, Ctrl-C stops an answer."


def chat(
    model: Annotated[str, typer.Argument(help="NAME, NAME@VERSION, NAME@ALIAS or a model's folder.")],
    ask: Annotated[str | None, typer.Option(help="Ask this one question and leave.")] = None,
    system: Annotated[str | None, typer.Option(help="A system message: how the model should behave.")] = None,
    template: Annotated[str | None, typer.Option(help="LLaMA-Factory's chat template; default: the model's.")] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest answer, in tokens.")] = 512,
    temperature: Annotated[float, typer.Option(min=0.0, max=2.0, help="0 always gives the likeliest answer.")] = 0.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print each answer as one line of JSON.")] = False,
) -> None:
    """Talk to a model in the terminal.

    Questions on standard input, one a line, are each answered on their own.

    Example: tunery chat tunery/demo-assistant@production --ask "Which queue is full?"
    """
    from workloads.cli.output import console
    from workloads.serving.source import find_model

    served = find_model(model)
    interactive = ask is None and sys.stdin.isatty() and not as_json
    notes = console(stderr=True)
    if served.is_plain(template):
        notes.print("The model has no chat template: it reads bare text. Name one by --template.", style="yellow")
    with notes.status(f"Loading {served.name} ..."):
        from workloads.serving.quiet import quiet_libraries

        quiet_libraries()
        from workloads.serving.engine import load_engine

        engine = load_engine(served.folder, template, served.base, served.training_config)
    session = Session(engine, system, Sampling(max_tokens, temperature))
    if interactive:
        notes.print(f"{served.name}: {_HELP}", style="dim", markup=False)
        converse(session)
        return
    for question in [ask] if ask is not None else _lines():
        session.clear()
        if as_json:
            _print_line(served.name, question, session.ask(question, show=False))
        else:
            session.ask(question)


class Session:
    """One conversation: its turns so far, and how answers are generated."""

    def __init__(self, engine: Engine, system: str | None, sampling: Sampling) -> None:
        self._engine, self._sampling = engine, sampling
        self._start: list[Message] = [{"role": "system", "content": system}] if system else []
        self._turns: list[Message] = []

    def clear(self) -> None:
        """Forgets the turns; the system message stays."""
        self._turns = []

    def ask(self, question: str, *, show: bool = True) -> Completion | None:
        """Answers, writing the text as it comes; None when the person stopped it, which keeps what was said."""
        turns: list[Message] = [*self._turns, {"role": "user", "content": question}]
        said: list[str] = []

        def hear(text: str) -> None:
            said.append(text)
            if show:
                write(text)

        completion = None
        try:
            completion = self._engine.complete([*self._start, *turns], self._sampling, on_text=hear)
        except KeyboardInterrupt:
            if not show:
                raise
        if show:
            write("\n")
        self._turns = [*turns, {"role": "assistant", "content": "".join(said)}]
        return completion


def converse(session: Session) -> None:
    """Reads questions until the person leaves."""
    from workloads.cli.output import show_error
    from workloads.errors import InputError

    with suppress(ImportError):  # some builds of Python lack it, and the conversation works without
        import readline  # noqa: F401 - gives input() a history and editing
    while True:
        try:
            question = input("> ").strip()
        except KeyboardInterrupt:
            write("\n")
            continue
        except EOFError:
            write("\n")
            return
        if question == "/exit":
            return
        if question == "/clear":
            session.clear()
        elif question.startswith("/"):
            write(_HELP + "\n")
        elif question:
            try:
                session.ask(question)
            except InputError as error:
                show_error(error)


def write(text: str) -> None:
    """Shows a model's text at once, without the control characters by which text could command a terminal."""
    sys.stdout.write("".join(char for char in text if char in "\n\t" or unicodedata.category(char) != "Cc"))
    sys.stdout.flush()


def _lines() -> Iterator[str]:
    for line in sys.stdin:
        if question := line.strip():
            yield question


def _print_line(model: str, question: str, completion: Completion | None) -> None:
    import json
    from dataclasses import asdict

    if completion is not None:
        answer = {"model": model, "question": question} | asdict(completion)
        sys.stdout.write(json.dumps(answer, ensure_ascii=False) + "\n")
        sys.stdout.flush()
