"""The report as one HTML file that needs nothing but itself: no script, no font, no picture from elsewhere."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from workloads.errors import UnavailableError
from workloads.report import formats
from workloads.report.bars import draw_time_bar
from workloads.report.chart import Chart, draw
from workloads.report.costs import Kind, read_costs
from workloads.report.curves import Series, read_series
from workloads.report.evaluation import Evaluation, read_evaluation
from workloads.report.history import read_history, steps_of
from workloads.report.lineage import read_lineage, read_versions
from workloads.report.source import RunSource, read_run, text
from workloads.report.sweep import read_sweep, training_of
from workloads.report.tally import read_tally
from workloads.report.timeline import read_state, read_timeline
from workloads.storage.atomic import write_bytes

_MOST_SMALL_CHARTS = 12
_MOST_TABLE_ROWS = 60
_LABELS = {
    "loss": "Training loss",
    "eval_loss": "Held-out loss",
    "learning_rate": "Learning rate",
    "grad_norm": "Gradient norm",
    "tokens_per_second": "Tokens per second",
}


def write_report(run_dir: Path) -> Path:
    """Writes ``report.html`` of a run, finished or not, and returns where it is.

    Equal run directories give equal bytes.

    Raises:
        UnavailableError: the run directory may not be read or written.
    """
    try:
        source = read_run(run_dir)
        write_bytes(source.paths.report, render(source).encode())
    except OSError as error:
        raise UnavailableError.of(
            f"The report cannot be written: {error.strerror or error}.",
            "make the run directory readable and writable for you, and free some disk space if there is none",
            file=error.filename or run_dir,
        ) from error
    return source.paths.report


def render(source: RunSource) -> str:
    """The page as HTML text."""
    environment = Environment(
        loader=PackageLoader("workloads.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"duration": formats.duration, "moment": formats.moment}
    return environment.get_template("report.html").render(_content(source))


def _content(source: RunSource) -> dict[str, Any]:
    timeline = read_timeline(source)
    training = training_of(source)
    series = read_series(training.events)
    evaluation = read_evaluation(source)
    record = source.record
    run_id = text(record.get("id")) or source.paths.root.resolve().name
    return {
        "id": run_id,
        "name": text(record.get("name")) or run_id,
        "state": read_state(source, timeline),
        "timeline": timeline,
        "headlines": _headlines(evaluation, series),
        "published": text(source.outputs("publish").get("reference")),
        "charts": _main_charts(training, series),
        "small_charts": _small_charts(training, series),
        "sweep": read_sweep(source),
        "table": _table(series),
        "bar": draw_time_bar(source, timeline),
        "evaluation": evaluation,
        "history": read_history(source, timeline),
        "costs": read_costs(source, timeline),
        "tally": read_tally(training.events),
        "Kind": Kind,
        "lineage": read_lineage(source),
        "versions": read_versions(source),
        "lineage_json": _lineage_json(source),
        "configs": [(title, _as_yaml(value)) for title, value in _configs(source) if value],
    }


def _headlines(evaluation: Evaluation, series: dict[str, Series]) -> list[tuple[str, str | None, str]]:
    """At most two results as label, value before and value after; without an evaluation the training loss."""
    chosen = ("Loss", "Exact match", "Preference accuracy")
    found = [(row.label, row.before, row.after) for row in evaluation.metrics if row.label in chosen and row.after]
    points = series["loss"].drawable if "loss" in series else []
    if not found and points:
        first = formats.figure(points[0][1]) if len(points) > 1 else None
        return [("Training loss", first, formats.figure(points[-1][1]))]
    return [(label, before, after) for label, before, after in found[:2] if after is not None]


def _main_charts(source: RunSource, series: dict[str, Series]) -> list[Chart]:
    groups = [("Loss", ("loss", "eval_loss")), ("Learning rate", ("learning_rate",))]
    return [chart for title, names in groups if (chart := _chart(source, title, names, series))]


def _small_charts(source: RunSource, series: dict[str, Series]) -> list[Chart]:
    """Everything else that was logged, with its value on held-out data in the same chart."""
    shown = {"loss", "eval_loss", "learning_rate"}
    charts: list[Chart] = []
    for name in series:
        plain = name.removeprefix("eval_")
        if plain in shown or name in shown:
            continue
        shown |= {plain, f"eval_{plain}"}
        if chart := _chart(source, _LABELS.get(plain, plain), (plain, f"eval_{plain}"), series):
            charts.append(chart)
    return charts[:_MOST_SMALL_CHARTS]


def _chart(source: RunSource, title: str, names: tuple[str, ...], series: dict[str, Series]) -> Chart | None:
    drawn = [(_label(name, title), series[name]) for name in names if name in series]
    if not any(each.drawable for _, each in drawn):
        return None
    resumes, saves = steps_of(source.events, "resumed"), steps_of(source.events, "checkpoint_saved")
    return draw(title, drawn, resumes, saves)


def _label(name: str, title: str) -> str:
    held_out = name.startswith("eval_")
    return _LABELS.get(name) or (f"{title} on held-out data" if held_out else title)


@dataclass(frozen=True, slots=True)
class Numbers:
    """The logged numbers themselves; ``caption`` says how many of the steps are in ``rows``."""

    caption: str
    columns: list[str]
    rows: list[list[str]]


def _table(series: dict[str, Series]) -> Numbers | None:
    columns = [name for name in _LABELS if name in series]
    steps = sorted({step for name in columns for step, _ in series[name].points})
    if not steps:
        return None
    shown = steps[:: math.ceil(len(steps) / _MOST_TABLE_ROWS)]
    values = {name: dict(series[name].points) for name in columns}
    rows = [[formats.figure(step), *(_cell(values[name].get(step)) for name in columns)] for step in shown]
    caption = f"{len(shown):,} of {len(steps):,} logged steps"
    return Numbers(caption, ["Step", *(_LABELS[name] for name in columns)], rows)


def _cell(value: float | None) -> str:
    return "" if value is None else formats.figure(value)


def _configs(source: RunSource) -> list[tuple[str, dict[str, Any]]]:
    return [("Training config, after overrides", source.config), ("Run spec", source.spec)]


def _as_yaml(value: dict[str, Any]) -> str:
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=100)


def _lineage_json(source: RunSource) -> str:
    """What was published about the model's origin, less the configs, which have a place of their own."""
    kept = {key: value for key, value in source.record.items() if key not in ("spec", "training_config")}
    metrics = {key: source.evaluation.get(key) for key in ("before", "after", "baseline")}
    whole = {**kept, "metrics": metrics, "published": source.outputs("publish")}
    return json.dumps(whole, indent=2, ensure_ascii=False)
