"""An engine that answers at once with what it was told, and stops on command."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import pytest

from workloads.errors import InputError
from workloads.serving.interface import GREEDY, Completion, Message, Sampling


class EchoEngine:
    """Says the last message back, a word a token; ``hold`` the gate and it waits before its second word."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self.begun, self.gate, self.cancelled = threading.Event(), threading.Event(), threading.Event()
        self.gate.set()

    def hold(self) -> None:
        """From now on answers wait for ``gate``, or to be cancelled."""
        self.gate.clear()

    def complete(
        self,
        messages: Sequence[Message],
        sampling: Sampling = GREEDY,
        *,
        on_text: Callable[[str], None] | None = None,
        cancelled: threading.Event | None = None,
    ) -> Completion:
        self.calls.append({"messages": list(messages), **asdict(sampling)})
        question = messages[-1]["content"]
        if question == "too long":
            raise InputError.of("The conversation has 9 tokens, and the model's context holds 8.", "shorten it")
        if question.endswith("explode at once"):
            raise RuntimeError("a secret of the inside")
        words = question.split()
        said = words[: sampling.max_new_tokens]
        for at, word in enumerate(said):
            if on_text is not None:
                on_text(word if at == 0 else f" {word}")
            self.begun.set()
            while not self.gate.wait(0.005):
                if cancelled is not None and cancelled.is_set():
                    self.cancelled.set()
                    return Completion(" ".join(said), len(messages), at + 1, "cancelled")
            if word == "explode":
                raise RuntimeError("a secret of the inside")
        return Completion(" ".join(said), len(messages), len(said), "length" if len(said) < len(words) else "stop")


@pytest.fixture
def engine() -> EchoEngine:
    return EchoEngine()
