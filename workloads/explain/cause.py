"""What a cause is: one sentence of what it means, who has to act, the next step, and how it is recognized."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from workloads.explain.evidence import Evidence


class Act(StrEnum):
    """Who has to do something."""

    DEVELOPER = "developer"
    OPERATIONS = "operations"
    NOBODY = "nobody"
    """It goes on by itself."""


@dataclass(frozen=True, slots=True)
class Found:
    """A cause that was recognized.

    Attributes:
        what: what happened, in one sentence with the names of those concerned.
        evidence: the lines that show it, as their source wrote them.
    """

    what: str
    evidence: tuple[str, ...]


Look = Callable[[Evidence], Found | None]


@dataclass(frozen=True, slots=True)
class Cause:
    """One cause.

    Attributes:
        id: its name for programs and documents.
        meaning: what it means, for any run.
        next: what to do; ``{run}``, ``{environment}``, ``{team}``, ``{stage}``, ``{namespace}`` and ``{again}`` (the
            command that lets the run go on) stand for this run's.
        look: finds it in the evidence, or returns None.
    """

    id: str
    meaning: str
    act: Act
    next: str
    look: Look


def cause(id_: str, meaning: str, act: Act, next_: str) -> Callable[[Look], Cause]:
    """Makes a cause of the function that recognizes it."""

    def make(look: Look) -> Cause:
        return Cause(id_, meaning, act, next_, look)

    return make


def found(what: str, *evidence: str | None) -> Found:
    """A recognized cause; evidence that is not there is left out."""
    return Found(what, tuple(line for line in evidence if line))
