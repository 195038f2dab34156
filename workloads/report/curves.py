"""The numbers that a training logged, as lines over its steps."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from workloads.report.source import Event, number

Point = tuple[float, float | None]
"""A step and a value; None where a number was logged that is not finite."""

MOST_POINTS = 300
_NOT_SERIES = {"time", "step", "max_steps", "epoch"}
_NOT_SERIES_SUFFIXES = ("_runtime", "_per_second", "_seconds")


@dataclass(slots=True)
class Series:
    """One logged number.

    Attributes:
        name: the key it was logged under.
        points: the line that counts, by step.
        repeated: pieces that a later attempt did again; each begins at the point that it leaves the line.
    """

    name: str
    points: list[Point] = field(default_factory=list)
    repeated: list[list[Point]] = field(default_factory=list)

    @property
    def drawable(self) -> list[tuple[float, float]]:
        """The points of the line that have a value."""
        return [(step, value) for step, value in self.points if value is not None]

    @property
    def gaps(self) -> int:
        """How often a number that is not finite was logged."""
        return sum(value is None for _, value in self.points)

    def rewind(self, step: float) -> None:
        """Takes everything after ``step`` off the line: training went back there."""
        keep = sum(at <= step for at, _ in self.points)
        if keep < len(self.points):
            self.repeated.append(self.points[max(0, keep - 1) :])
            del self.points[keep:]


def read_series(events: Iterable[Event]) -> dict[str, Series]:
    """Every number that the training logged, by name, in the order they first appeared."""
    found: dict[str, Series] = {}
    for event in events:
        step = event.step
        if step is None:
            continue
        if event.kind in ("train_started", "resumed"):
            for series in found.values():
                series.rewind(step)
        elif event.kind == "log":
            _add(found, step, event)
    return found


def _add(found: dict[str, Series], step: float, event: Event) -> None:
    for name, value in event.fields.items():
        if name in _NOT_SERIES or (name.endswith(_NOT_SERIES_SUFFIXES) and name != "tokens_per_second"):
            continue
        numeric = number(value)
        if numeric is None and not (value is None or isinstance(value, float)):
            continue
        series = found.setdefault(name, Series(name))
        if series.points and series.points[-1][0] > step:  # a second attempt in one log, without a word about it
            series.rewind(math.nextafter(step, -math.inf))
        series.points.append((step, numeric))


def thin(points: Sequence[Point], most: int = MOST_POINTS) -> list[Point]:
    """At most about ``most`` points with the same outline: of each bucket the lowest and the highest stay."""
    if len(points) <= most:
        return list(points)
    bucket = math.ceil(len(points) / (most // 2))
    kept: list[Point] = [points[0]]
    for start in range(0, len(points), bucket):
        piece = list(enumerate(points[start : start + bucket], start))
        real = [(value, index) for index, (_, value) in piece if value is not None]
        chosen = {min(real)[1], max(real)[1]} if real else {start}
        kept += [points[index] for index in sorted(chosen) if 0 < index < len(points) - 1]
    return [*kept, points[-1]]
