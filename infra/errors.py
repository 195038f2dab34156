"""What is wrong with an environment: all of it at once, and exit code 64 (usage, as in BSD's sysexits.h)."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

EXIT_INPUT = 64


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: what, where and how to fix it. ``line`` counts from 1."""

    message: str
    fix: str
    file: str
    key: str | None = None
    line: int | None = None

    def __str__(self) -> str:
        place = self.file
        if self.line is not None:
            place += f":{self.line}"
        if self.key is not None:
            place += f":{self.key}"
        return f"{place}: {self.message} Fix: {self.fix}"


class SettingsError(Exception):
    """One or more environments are wrong; nothing was synthesized."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``did you mean 'x'? `` with a space behind it, or nothing when no known word is near."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"did you mean {near[0]!r}? " if near else ""
