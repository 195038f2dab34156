"""The trials of a sweep: a table, and the metric against each parameter as dots."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from workloads.report.chart import Scale, Tick, nice_scale
from workloads.report.formats import duration, figure, metric_label, metric_value
from workloads.report.source import RunSource, mapping, number, objects, read_run, text

_WORDS = {
    "finished": "trained to its end",
    "pruned": "stopped early",
    "failed": "failed",
    "skipped": "not started",
    "waiting": "waiting",
}
_MOST_ROWS = 200
_MOST_PLOTS = 8
_LABEL_ROOM = 36  # characters under a small plot
_LOG_FROM = 50.0  # values that span this factor are drawn over powers of ten


@dataclass(frozen=True, slots=True)
class Trial:
    """One trial as sweep.json has it, with what cannot be shown left out."""

    number: int
    state: str
    parameters: dict[str, Any]
    metric: float | None
    steps: float | None
    seconds: float
    problem: str


@dataclass(frozen=True, slots=True)
class Row:
    """One trial in the table."""

    number: int
    cells: tuple[str, ...]
    metric: str
    steps: str
    state: str
    state_words: str
    seconds: str
    is_best: bool


@dataclass(frozen=True, slots=True)
class Dot:
    """One trial in a plot; positions in percent from the left and from the top."""

    x: float
    y: float
    kind: str
    label: str


@dataclass(frozen=True, slots=True)
class Plot:
    """The metric against one parameter."""

    parameter: str
    metric: str
    summary: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    dots: tuple[Dot, ...]


@dataclass(frozen=True, slots=True)
class SweepReport:
    """Everything that the template needs about a sweep."""

    sentence: str
    caption: str
    metric: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    plots: tuple[Plot, ...]


def training_of(source: RunSource) -> RunSource:
    """The run whose training the curves show: of a sweep its best trial, with that trial's events."""
    best = number(source.sweep.get("best"))
    if best is None or best < 0:
        return source
    return replace(source, events=read_run(source.paths.trial(int(best))).events)


def read_sweep(source: RunSource) -> SweepReport | None:
    """The sweep's trials, the best first; None for a run without a sweep."""
    trials = [trial for each in objects(source.sweep.get("trials")) if (trial := _trial(each)) is not None]
    if not trials:
        return None
    metric = text(source.sweep.get("metric"))
    sign = -1.0 if source.sweep.get("more_is_better") else 1.0
    best = number(source.sweep.get("best"))
    trials.sort(key=lambda each: _place(each, sign))
    columns = tuple(dict.fromkeys(name for each in trials for name in each.parameters))
    shown = trials[:_MOST_ROWS]
    return SweepReport(
        sentence=_sentence(trials, metric, best),
        caption=f"{len(shown):,} of {len(trials):,} trials, those that trained longest first",
        metric=metric_label(metric),
        columns=columns,
        rows=tuple(_row(each, columns, metric, best) for each in shown),
        plots=tuple(plot for name in columns[:_MOST_PLOTS] if (plot := _plot(trials, name, metric, best)) is not None),
    )


def _trial(value: dict[str, Any]) -> Trial | None:
    place = number(value.get("trial"))
    if place is None:
        return None
    problems = objects(value.get("problems"))
    return Trial(
        int(place),
        text(value.get("state")),
        mapping(value.get("parameters")),
        number(value.get("metric")),
        number(value.get("steps")),
        number(value.get("seconds")) or 0.0,
        text(problems[0].get("message")) if problems else "",
    )


def _place(trial: Trial, sign: float) -> tuple[bool, float, float, int]:
    measured = trial.metric is not None
    return (not measured, -(trial.steps or 0.0), sign * trial.metric if trial.metric is not None else 0.0, trial.number)


def _sentence(trials: Sequence[Trial], metric: str, best: float | None) -> str:
    counts = {state: sum(each.state == state for each in trials) for state in _WORDS}
    parts = [f"{count} {_WORDS[state]}" for state, count in counts.items() if count]
    time = duration(sum(each.seconds for each in trials))
    sentence = f"{len(trials):,} trials took {time} together: {', '.join(parts)}."
    winner = next((each for each in trials if each.number == best), None)
    if winner is None or winner.metric is None:
        return sentence
    chosen = ", ".join(f"{name} {_shown(value)}" for name, value in winner.parameters.items())
    value = metric_value(metric, winner.metric)
    return f"{sentence} The best is trial {winner.number} ({chosen}): {metric_label(metric).lower()} {value}."


def _shown(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return figure(value) if isinstance(value, int | float) and number(value) is not None else str(value)


def _row(trial: Trial, columns: Sequence[str], metric: str, best: float | None) -> Row:
    words = _WORDS.get(trial.state, trial.state)
    return Row(
        number=trial.number,
        cells=tuple(_shown(trial.parameters[name]) if name in trial.parameters else "" for name in columns),
        metric="" if trial.metric is None else metric_value(metric, trial.metric),
        steps="" if trial.steps is None else figure(trial.steps),
        state=trial.state,
        state_words=f"{words}: {trial.problem}" if trial.problem else words,
        seconds=duration(trial.seconds) if trial.seconds else "",
        is_best=trial.number == best,
    )


def _plot(trials: Sequence[Trial], name: str, metric: str, best: float | None) -> Plot | None:
    drawn = [(each, each.metric) for each in trials if each.metric is not None and name in each.parameters]
    if not drawn:
        return None
    values = [each.parameters[name] for each, _ in drawn]
    positions, x_ticks = _axis(values)
    y_scale, y_values = nice_scale([value for _, value in drawn])
    step = y_values[1] - y_values[0]
    digits = 1 - math.floor(math.log10(step))
    dots = [
        Dot(
            x=position,
            y=round((1 - y_scale(value)) * 100, 2),
            kind="best" if each.number == best else each.state,
            label=f"trial {each.number}: {name} {_shown(each.parameters[name])}, "
            f"{metric_label(metric).lower()} {metric_value(metric, value)} at step {figure(each.steps or 0)}",
        )
        for (each, value), position in zip(drawn, positions, strict=True)
    ]
    return Plot(
        parameter=name,
        metric=metric_label(metric),
        summary=f"{metric_label(metric)} against {name}, {len(dots)} trials",
        x_ticks=x_ticks,
        y_ticks=tuple(Tick(round((1 - y_scale(each)) * 100, 2), figure(round(each, digits))) for each in y_values),
        # the best one last, so that no other covers it
        dots=tuple(sorted(dots, key=lambda dot: dot.kind == "best")),
    )


def _axis(values: Sequence[Any]) -> tuple[list[float], tuple[Tick, ...]]:
    """Where each value is in percent, and the labels: of numbers a scale, of anything else a place for each."""
    numbers = [each for each in values if number(each) is not None]
    distinct = list(dict.fromkeys(_shown(each) for each in values))
    if len(numbers) < len(values) or len(distinct) < 2:
        order = sorted(distinct)
        places = {word: round((index + 0.5) / len(order) * 100, 2) for index, word in enumerate(order)}
        room = max(3, _LABEL_ROOM // len(order))
        ticks = tuple(
            Tick(place, word if len(word) <= room else f"{word[: room - 1]}\N{HORIZONTAL ELLIPSIS}")
            for word, place in places.items()
        )
        return [places[_shown(each)] for each in values], ticks
    low, high = min(numbers), max(numbers)
    if low > 0 and high / low >= _LOG_FROM:
        first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
        scale, every = Scale(first, last), math.ceil((last - first) / 6)
        ticks = tuple(
            Tick(round(scale(power) * 100, 2), figure(10.0**power)) for power in range(first, last + 1, every)
        )
        return [round(scale(math.log10(each)) * 100, 2) for each in numbers], ticks
    scale, marks = nice_scale(numbers)
    digits = 1 - math.floor(math.log10(marks[1] - marks[0]))
    ticks = tuple(Tick(round(scale(each) * 100, 2), figure(round(each, digits))) for each in marks)
    return [round(scale(each) * 100, 2) for each in numbers], ticks
