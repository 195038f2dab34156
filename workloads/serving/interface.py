"""What the API and the terminal need of an engine, whatever generates the text."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

Message = Mapping[str, str]
"""``role`` (system, user or assistant) and ``content``."""


@dataclass(frozen=True, slots=True)
class Completion:
    """One finished answer.

    Attributes:
        prompt_tokens: length of the conversation as the model read it.
        completion_tokens: tokens generated, the one that ends the answer included.
        finish_reason: ``stop`` when the model or a stop text ended it, ``length`` at the limit.
    """

    text: str
    prompt_tokens: int
    completion_tokens: int
    finish_reason: Literal["stop", "length", "cancelled"]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How an answer is drawn, and when it ends.

    Attributes:
        max_new_tokens: the limit; None, or more than fits, means as many as the model's context holds.
        temperature: 0 takes the likeliest token each time.
        top_p: share of the probability mass that is drawn from.
        stop: texts that end the answer and are left out of it.
        seed: the same seed gives the same answer.
    """

    max_new_tokens: int | None = None
    temperature: float = 0.0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    seed: int | None = None


GREEDY = Sampling()
"""The likeliest token each time, up to the model's own end."""


class Engine(Protocol):
    """Answers conversations. Safe to call from several threads at once."""

    def complete(
        self,
        messages: Sequence[Message],
        sampling: Sampling = GREEDY,
        *,
        on_text: Callable[[str], None] | None = None,
        cancelled: threading.Event | None = None,
    ) -> Completion:
        """One answer to a conversation that ends with a user's message.

        Args:
            messages: at most one system message, first; then user and assistant in turn.
            on_text: hears the answer piece by piece; the pieces joined are the answer.
            cancelled: generation ends soon after it is set.

        Raises:
            InputError: the conversation does not fit the model's context.
        """
        ...
