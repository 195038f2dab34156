"""Lines over steps as geometry: positions in percent for the page, paths for its SVG.

The SVG is stretched to whatever room there is while labels are HTML, so text keeps its size on a phone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from workloads.report.curves import MOST_POINTS, Point, Series, thin
from workloads.report.formats import figure

WIDTH, HEIGHT = 1000.0, 300.0
_MOST_READOUTS = 120
_MOST_MARKS = 60


@dataclass(frozen=True, slots=True)
class Tick:
    """A label on an axis; ``position`` in percent from the left or from the top."""

    position: float
    label: str


@dataclass(frozen=True, slots=True)
class Line:
    """One line; ``path`` and ``dots`` are SVG path data, dots for points that no line reaches."""

    label: str
    color: int
    path: str
    dots: str
    repeated: str


@dataclass(frozen=True, slots=True)
class Readout:
    """What the page shows while the pointer is over one step; all numbers in percent."""

    left: float
    width: float
    x: float
    text: str


@dataclass(frozen=True, slots=True)
class Chart:
    """Everything that the template needs to draw one chart."""

    title: str
    summary: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    lines: tuple[Line, ...]
    resumes: tuple[Tick, ...]
    checkpoints: tuple[Tick, ...]
    readouts: tuple[Readout, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Scale:
    """Maps values from ``low`` to ``high`` onto 0 to 1."""

    low: float
    high: float

    def __call__(self, value: float) -> float:
        return (value - self.low) / (self.high - self.low)


def nice_scale(values: Sequence[float], count: int = 5) -> tuple[Scale, list[float]]:
    """A scale around ``values`` that begins and ends on a round number, and about ``count`` round ticks on it."""
    low, high = min(values), max(values)
    middle = max(abs(low), abs(high))
    if high - low <= middle * 1e-9:  # all the same: some room around it
        room = middle * 0.5 or 1.0
        low, high = low - room, high + room
    if 0 < low < 0.4 * high:  # near enough to zero to show it
        low = 0.0
    step = nice_step((high - low) / count)
    first, last = math.floor(low / step), math.ceil(high / step)
    ticks = [index * step for index in range(first, last + 1)]
    return Scale(ticks[0], ticks[-1]), ticks


def nice_step(rough: float) -> float:
    """The 1, 2 or 5 times a power of ten that is next above ``rough``."""
    power = 10.0 ** math.floor(math.log10(max(rough, 1e-300)))
    return next(factor * power for factor in (1.0, 2.0, 5.0, 10.0) if factor * power >= rough * (1 - 1e-9))


def draw(title: str, series: Sequence[tuple[str, Series]], resumes: Iterable[float], saves: Iterable[float]) -> Chart:
    """Draws lines into one chart.

    Args:
        series: the lines with their labels; at least one of them has a value.
        resumes: steps at which the training continued after an interruption.
        saves: steps at which a checkpoint was saved.
    """
    every = [point for _, each in series for point in (*each.points, *(p for part in each.repeated for p in part))]
    y_scale, y_values = nice_scale([value for _, value in every if value is not None])
    saved = list(saves)
    steps = [*(step for step, _ in every), *saved]  # the last checkpoint often comes after the last log
    first, last = min(steps), max(steps)
    x_scale = Scale(first, last) if last > first else Scale(first - 1, last + 1)
    return Chart(
        title=title,
        summary=". ".join(_summary(label, each) for label, each in series),
        x_ticks=_x_ticks(x_scale),
        y_ticks=tuple(Tick(_percent(1 - y_scale(value)), figure(_rounded(value, y_values))) for value in y_values),
        lines=tuple(_line(number, label, each, x_scale, y_scale) for number, (label, each) in enumerate(series)),
        resumes=_marks(resumes, x_scale, "resumed from step"),
        checkpoints=_marks(saved, x_scale, "checkpoint at step"),
        readouts=_readouts(series, x_scale),
        notes=tuple(
            f"{label}: {each.gaps:,} of {len(each.points):,} logged values were not finite numbers."
            for label, each in series
            if each.gaps
        ),
    )


def _x_ticks(scale: Scale) -> tuple[Tick, ...]:
    step = max(1.0, nice_step((scale.high - scale.low) / 6))
    begin = math.ceil(scale.low / step - 1e-9)
    marks = [(begin + index) * step for index in range(8)]
    return tuple(Tick(_percent(scale(mark)), figure(mark)) for mark in marks if mark <= scale.high)


def _marks(steps: Iterable[float], scale: Scale, words: str) -> tuple[Tick, ...]:
    inside = sorted({step for step in steps if scale.low <= step <= scale.high})
    every = math.ceil(len(inside) / _MOST_MARKS) or 1
    return tuple(Tick(_percent(scale(step)), f"{words} {figure(step)}") for step in inside[::every])


def _line(number: int, label: str, series: Series, x_scale: Scale, y_scale: Scale) -> Line:
    path, dots = _path(thin(series.points), x_scale, y_scale)
    repeated = "".join(_path(thin(part, MOST_POINTS // 3), x_scale, y_scale)[0] for part in series.repeated[-10:])
    return Line(label, number, path, dots, repeated)


def _path(points: Sequence[Point], x_scale: Scale, y_scale: Scale) -> tuple[str, str]:
    """Path data of the line, and of dots (lines of no length with round ends) where a point stands alone."""
    lines: list[str] = []
    dots: list[str] = []
    piece: list[str] = []
    for step, value in [*points, (0.0, None)]:
        if value is not None:
            piece.append(f"{x_scale(step) * WIDTH:.1f} {(1 - y_scale(value)) * HEIGHT:.1f}")
            continue
        if len(piece) > 1:
            lines.append("M" + "L".join(piece))
        elif piece:
            dots.append(f"M{piece[0]}h0")
        piece = []
    return "".join(lines), "".join(dots)


def _readouts(series: Sequence[tuple[str, Series]], scale: Scale) -> tuple[Readout, ...]:
    """One area a logged step, each reaching half way to its neighbours, with the values at that step."""
    said: dict[float, list[str]] = {}
    for label, each in series:
        for step, value in each.points:
            said.setdefault(step, []).append(f"{label} {'not finite' if value is None else figure(value)}")
    steps = sorted(said)
    steps = steps[:: math.ceil(len(steps) / _MOST_READOUTS) or 1]
    at = [_percent(scale(step)) for step in steps]
    borders = [0.0, *((a + b) / 2 for a, b in pairwise(at)), 100.0]
    return tuple(
        Readout(left, right - left, x, f"step {figure(step)}: " + ", ".join(said[step]))
        for step, x, (left, right) in zip(steps, at, pairwise(borders), strict=True)
    )


def _summary(label: str, series: Series) -> str:
    """The line in words, for those who do not see it."""
    points = series.drawable
    if not points:
        return f"{label}: no finite value"
    (first_step, first), (last_step, last) = points[0], points[-1]
    if len(points) == 1:
        return f"{label}: {figure(first)} at step {figure(first_step)}"
    low, high = min(value for _, value in points), max(value for _, value in points)
    return (
        f"{label}: {figure(first)} at step {figure(first_step)}, {figure(last)} at step {figure(last_step)}, "
        f"lowest {figure(low)}, highest {figure(high)}"
    )


def _rounded(value: float, ticks: Sequence[float]) -> float:
    """Without the last bits that make 0.30000000000000004 of 3 x 0.1."""
    step = ticks[1] - ticks[0]
    return round(value, 1 - math.floor(math.log10(step)))


def _percent(fraction: float) -> float:
    return round(fraction * 100, 2)
