"""The errors a person or Kubernetes sees, and the exit codes they become.

::

    TuneryError                70  a fault of tunery itself
    ├── InputError             64  what the user gave is wrong: never retried
    ├── UnavailableError       69  a service or resource is not there now: retried
    └── Preempted              75  stopped after a committed checkpoint: restarted free

Codes 64, 69, 70 and 75 have the meaning that BSD's sysexits.h gives them (usage, unavailable, software, tempfail).
This module imports nothing heavy: every verb pays for it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from enum import IntEnum
from pathlib import Path


class ExitCode(IntEnum):
    """The protocol between a stage and whatever started it, a person's shell or a Kubernetes controller."""

    OK = 0
    INPUT = 64
    UNAVAILABLE = 69
    INTERNAL = 70
    PREEMPTED = 75


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: what, where and how to fix it.

    ``line`` and ``row`` count from 1; ``row`` is a record of a data file, ``line`` a line of a text file.
    """

    message: str
    fix: str
    file: str | None = None
    key: str | None = None
    line: int | None = None
    row: int | None = None
    suggestion: str | None = None
    code: str = "invalid"

    @property
    def where(self) -> str:
        """``file:line:key`` with the parts that are known; empty when none is."""
        place = self.file or ""
        if self.line is not None:
            place += f":{self.line}"
        if self.row is not None:
            place += f" row {self.row}"
        if self.key is not None:
            place += f":{self.key}" if place else self.key
        return place

    @property
    def is_warning(self) -> bool:
        """Whether it is worth saying and stops nothing."""
        return self.code.startswith("warn-")

    def as_dict(self) -> dict[str, str | int]:
        """The fields that are set, for ``--json``."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def __str__(self) -> str:
        text = f"{self.where}: {self.message}" if self.where else self.message
        if self.suggestion:
            text += f" Did you mean {self.suggestion!r}?"
        return f"{text} Fix: {self.fix}" if self.fix else text


class TuneryError(Exception):
    """A failure with an exit code and one or more problems to show."""

    exit_code: ExitCode = ExitCode.INTERNAL

    def __init__(self, problems: Problem | Sequence[Problem]) -> None:
        self.problems: tuple[Problem, ...] = (problems,) if isinstance(problems, Problem) else tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class InputError(TuneryError):
    """What the user gave is wrong; trying again changes nothing."""

    exit_code = ExitCode.INPUT

    @classmethod
    def of(
        cls,
        message: str,
        fix: str,
        *,
        file: str | Path | None = None,
        key: str | None = None,
        suggestion: str | None = None,
    ) -> InputError:
        """An error with one problem."""
        return cls(Problem(message, fix, file=None if file is None else str(file), key=key, suggestion=suggestion))


class UnavailableError(TuneryError):
    """Something outside is missing now (hub, disk space, a lock); trying again later may work."""

    exit_code = ExitCode.UNAVAILABLE

    @classmethod
    def of(cls, message: str, fix: str, *, file: str | Path | None = None) -> UnavailableError:
        """An error with one problem."""
        return cls(Problem(message, fix, file=None if file is None else str(file)))


class Preempted(TuneryError):  # noqa: N818 it is a state, not a mistake
    """The run was told to stop and everything it had done is safe on disk."""

    exit_code = ExitCode.PREEMPTED

    @classmethod
    def of(cls, message: str, fix: str) -> Preempted:
        """An error with one problem."""
        return cls(Problem(message, fix))


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """The known word nearest to ``word``, or None when nothing is near."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return near[0] if near else None
