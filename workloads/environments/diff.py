"""How two environments differ in what they mean, read from their contracts.

A name that only follows from the environment's own name, project or region (``tunery-dev`` and ``tunery-prod``) is no
difference.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from workloads.platform import Platform

_ABSENT = object()
_OWN = {"environment", "project", "version"}
"""What is another one in every environment, and what is the same in all."""

_TITLES = {
    "pools": "pool",
    "teams": "team",
    "buckets": "bucket",
    "secrets": "secret",
    "controllers": "controller",
    "priorities": "priority",
}
"""Parts of the contract that hold several things by name."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference; values are plain JSON.

    Attributes:
        area: what it is about, such as ``pool l4x1``.
        key: where it stands in the contract, such as ``pools.l4x1.max``.
        only_in: the environment that has it, when the other one has not; its value is then the only one.
    """

    area: str
    key: str
    first: Any
    second: Any
    only_in: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """The difference for ``--json``."""
        return asdict(self)


def diff(first: Platform, second: Platform) -> list[Difference]:
    """Every difference, in the order of the contract."""
    return list(_compare(_values(first), _values(second), (), (first, second)))


def _values(platform: Platform) -> dict[str, Any]:
    return platform.model_dump(mode="json", exclude=_OWN)


def _compare(first: Any, second: Any, path: tuple[str, ...], of: tuple[Platform, Platform]) -> Iterator[Difference]:
    if isinstance(first, dict) and isinstance(second, dict):
        for key in [*first, *(key for key in second if key not in first)]:
            yield from _compare(first.get(key, _ABSENT), second.get(key, _ABSENT), (*path, key), of)
    elif first is _ABSENT:
        yield Difference(_area(path), ".".join(path), None, second, of[1].environment)
    elif second is _ABSENT:
        yield Difference(_area(path), ".".join(path), first, None, of[0].environment)
    elif first != second and (path == ("region",) or _neutral(first, of[0]) != _neutral(second, of[1])):
        yield Difference(_area(path), ".".join(path), first, second)


def _neutral(value: Any, platform: Platform) -> Any:
    """The value with the environment's own project, region and name taken out of it."""
    if isinstance(value, list):
        return [_neutral(inner, platform) for inner in value]
    if not isinstance(value, str):
        return value
    for own, placeholder in ((platform.project, "PROJECT"), (platform.region, "REGION")):
        value = re.sub(rf"(?<![a-z0-9]){re.escape(own)}(?![a-z0-9])", placeholder, value)
    # last, since it is often a part of the project's; between hyphens only, since docker.pkg.dev is no environment
    return re.sub(rf"(?<![^-]){re.escape(platform.environment)}(?![^-])", "NAME", value)


def _area(path: tuple[str, ...]) -> str:
    title = _TITLES.get(path[0])
    return path[0].replace("_", " ") if title is None else f"{title} {path[1]}"
