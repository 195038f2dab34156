"""What the real provider refuses beyond types: the kinds of rule, and how each is checked. Unknown values pass."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from terraform_provider.values import UNKNOWN, find

Place = tuple[str | int, ...]
Refusal = tuple[Place, str]


class Rule(Protocol):
    """Something that a resource's configuration must fulfil."""

    def check(self, values: dict[str, Any]) -> Iterator[Refusal]:
        """The places that break the rule, and how."""


@dataclass(frozen=True)
class OneOf:
    """An enum: the attribute (or each of a list's elements) is one of the words, or empty."""

    path: str
    words: str

    def check(self, values: dict[str, Any]) -> Iterator[Refusal]:
        """See ``Rule``."""
        allowed = self.words.split()
        for place, found in find(values, self.path):
            for each in found if isinstance(found, list) else [found]:
                if each is not UNKNOWN and each not in ("", *allowed):
                    yield place, f"expected {self.path} to be one of {allowed}, got {each}"


@dataclass(frozen=True)
class Matches:
    """The attribute matches a regular expression as a whole; ``form`` says in words what that is."""

    path: str
    pattern: str
    form: str

    def check(self, values: dict[str, Any]) -> Iterator[Refusal]:
        """See ``Rule``."""
        for place, found in find(values, self.path):
            if found is not UNKNOWN and not re.fullmatch(self.pattern, found):
                yield place, f"{self.path} must be {self.form}, got {found!r}"


@dataclass(frozen=True)
class Between:
    """The number is in a range, both ends included, or one of ``other``."""

    path: str
    low: float
    high: float
    other: Sequence[float] = ()

    def check(self, values: dict[str, Any]) -> Iterator[Refusal]:
        """See ``Rule``."""
        for place, found in find(values, self.path):
            if found is not UNKNOWN and found not in self.other and not self.low <= found <= self.high:
                yield place, f"expected {self.path} to be in the range ({self.low} - {self.high}), got {found}"


@dataclass(frozen=True)
class AtMostOneOf:
    """Attributes that conflict: of each ``within``, one at most is set. False and 0 count as not set."""

    names: str
    within: str = ""
    exactly: bool = False

    def check(self, values: dict[str, Any]) -> Iterator[Refusal]:
        """See ``Rule``."""
        for place, found in [((), values)] if not self.within else _objects(values, self.within):
            present = [name for name in self.names.split() if any(value for _, value in find(found, name))]
            if len(present) > 1:
                yield (*place, present[1].split(".")[0]), f"{present[1]}: conflicts with {present[0]}"
            if self.exactly and not present:
                yield place, f"one of `{self.names.replace(' ', ',')}` must be specified"


@dataclass(frozen=True)
class When:
    """With the attribute at a value, others are required, or not allowed."""

    path: str
    value: Any
    requires: str = ""
    forbids: str = ""
    within: str = ""

    def check(self, values: dict[str, Any]) -> Iterator[Refusal]:
        """See ``Rule``."""
        for place, found in [((), values)] if not self.within else _objects(values, self.within):
            if not any(item == self.value for _, item in find(found, self.path)):
                continue
            for name in self.requires.split():
                if not any(value for _, value in find(found, name)):
                    yield place, f"{name} is required when {self.path} is {self.value}"
            for name in self.forbids.split():
                if any(value for _, value in find(found, name)):
                    yield (*place, name.split(".")[0]), f"{name} is not allowed when {self.path} is {self.value}"


def _objects(values: dict[str, Any], path: str) -> Iterator[tuple[Place, dict[str, Any]]]:
    """The blocks at a path, each on its own."""
    for place, found in find(values, path):
        for index, item in enumerate(found) if isinstance(found, list) else [(None, found)]:
            if isinstance(item, dict):
                yield (place if index is None else (*place, index)), item
