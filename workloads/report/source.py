"""Reads a run directory without believing anything about it: a report must also tell of runs that went wrong."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workloads.events import read_events
from workloads.report.secrets import without_secrets
from workloads.runtime import STAGES, RunPaths
from workloads.storage.atomic import read_json

_YEAR_9999 = 253_402_300_800.0
_MOST_STEPS = 1e12
_TOO_LARGE = 1e30  # as good as infinite for a reader, and differences of larger numbers overflow the scales
_NOT_IN_HTML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the event log; ``time`` is seconds since the epoch and never goes back."""

    time: float
    kind: str
    fields: Mapping[str, Any]

    @property
    def stage(self) -> str:
        """The stage that the event is about; empty when it names none."""
        return text(self.fields.get("stage"))

    @property
    def step(self) -> float | None:
        """The training step that the event is about; None when there is none that a training can reach."""
        step = number(self.fields.get("step"))
        return step if step is not None and 0 <= step < _MOST_STEPS else None


@dataclass(frozen=True, slots=True)
class RunSource:
    """What a run directory says; whatever is absent or of another kind than expected is empty."""

    paths: RunPaths
    record: dict[str, Any]
    evaluation: dict[str, Any]
    markers: dict[str, dict[str, Any]]
    events: tuple[Event, ...]
    sweep: dict[str, Any]

    @property
    def spec(self) -> dict[str, Any]:
        """The run spec."""
        return mapping(self.record.get("spec"))

    @property
    def config(self) -> dict[str, Any]:
        """The training config after overrides."""
        return mapping(self.record.get("training_config"))

    @property
    def planned(self) -> tuple[str, ...]:
        """The stages that the run spec asks for, in order."""
        optional = {"publish", "serve"}
        return tuple(stage for stage in STAGES if stage not in optional or self.spec.get(stage))

    def outputs(self, stage: str) -> dict[str, Any]:
        """What a finished stage recorded."""
        return mapping(self.markers.get(stage, {}).get("outputs"))


def read_run(run_dir: Path) -> RunSource:
    """Reads every part of the run that is there.

    Raises:
        OSError: a part is there but may not be read.
    """
    paths = RunPaths(run_dir)
    return RunSource(
        paths=paths,
        record=mapping(_safe(read_json(paths.record))),
        evaluation=mapping(_safe(read_json(paths.evaluation))),
        markers={stage: mapping(_safe(read_json(paths.marker(stage)))) for stage in STAGES},
        events=_events(paths.events),
        sweep=mapping(_safe(read_json(paths.sweep))),
    )


def _events(path: Path) -> tuple[Event, ...]:
    found: list[Event] = []
    now: float | None = None
    for each in _safe(read_events(path)[0]):
        time = number(each.get("time"))
        if time is not None and 0 <= time < _YEAR_9999:
            now = time if now is None else max(now, time)  # a clock that was set back must not make time negative
        if now is not None:
            found.append(Event(now, text(each["event"]), each))
    return tuple(found)


def _safe(value: Any) -> Any:
    """What may be shown: no secret, and no character that a page can't hold. Everything read goes through here."""
    return without_secrets(printable(value))


def printable(value: Any) -> Any:
    """The same JSON value with characters that no HTML page can hold replaced by U+FFFD."""
    if isinstance(value, str):
        return _NOT_IN_HTML.sub("\ufffd", value.replace("\r\n", "\n").replace("\r", "\n"))
    if isinstance(value, list):
        return [printable(each) for each in value]
    if isinstance(value, dict):
        return {printable(key): printable(each) for key, each in value.items()}
    return value


def mapping(value: Any) -> dict[str, Any]:
    """``value`` if it is a JSON object, else an empty one."""
    return value if isinstance(value, dict) else {}


def objects(value: Any) -> list[dict[str, Any]]:
    """The JSON objects in the list ``value``."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def number(value: Any) -> float | None:
    """``value`` if it is a number that can be drawn, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < _TOO_LARGE and math.isfinite(value) else None


def text(value: Any) -> str:
    """``value`` if it is text, else empty."""
    return value if isinstance(value, str) else ""
