"""What a run has cost so far, from what its stages wrote into the event log."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from workloads.accounting.rates import Rates
from workloads.prices import Cost
from workloads.render.steps import STEPS
from workloads.report.costs import Kind, read_costs
from workloads.report.source import RunSource, number
from workloads.report.timeline import read_timeline

_HOUR = 3600.0
_MOVES = ("inputs_ready", "outputs_stored")


class Use(StrEnum):
    """What time on nodes was good for."""

    USEFUL = "useful"
    LOST = "lost"
    """Steps that had to be done again, and loading for that."""
    MOVING = "moving"
    """Inputs brought to the node and results taken from it."""


@dataclass(frozen=True, slots=True)
class Part:
    """Time on nodes of one kind for one use.

    Attributes:
        on_gpu: whether it was on the training's nodes; else on a node without GPUs.
        seconds: of the run, whatever the number of its nodes.
        cost: None when the price list has no price of the node.
    """

    use: Use
    on_gpu: bool
    seconds: float
    cost: Cost | None

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        cost = None if self.cost is None else self.cost.as_dict()
        return {"use": str(self.use), "gpu": self.on_gpu, "seconds": round(self.seconds, 1), "cost": cost}


@dataclass(frozen=True, slots=True)
class Actual:
    """The bill of a run, or of several.

    Attributes:
        waiting: seconds in which nothing was held, for quota, a node or a person; they cost nothing.
        unpriced: whether a part has no price, and the sum lacks it.
    """

    parts: tuple[Part, ...]
    waiting: float
    currency: str

    @property
    def unpriced(self) -> bool:
        return any(part.cost is None for part in self.parts)

    def cost(self, use: Use | None = None) -> Cost:
        """The sum of one use, or of all."""
        known = (part.cost for part in self.parts if part.cost is not None and use in (None, part.use))
        return sum(known, Cost.zero())

    def seconds(self, use: Use) -> float:
        """Time for one use, on whatever nodes."""
        return sum(part.seconds for part in self.parts if part.use is use)

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "total": self.cost().as_dict(),
            **{str(use): self.cost(use).as_dict() for use in Use},
            "waiting_seconds": round(self.waiting, 1),
            "parts": [part.as_dict() for part in self.parts],
            "complete": not self.unpriced,
            "currency": self.currency,
        }


def actual(source: RunSource, rates: Rates) -> Actual:
    """The bill of a run: what its stages took, times the price of their nodes."""
    timeline = read_timeline(source)
    seconds: dict[tuple[Use, bool], float] = {}

    def add(use: Use, on_gpu: bool, more: float) -> None:
        if more > 0:
            seconds[use, on_gpu] = seconds.get((use, on_gpu), 0.0) + more

    parts = read_costs(source, timeline).parts
    for part in parts:
        # Between two stages there is no pod: what is moved then is in the events below.
        if part.kind is not Kind.STOPPED and part.label != "between stages":
            add(Use.LOST if part.kind is Kind.LOST else Use.USEFUL, part.on_device, part.seconds)
    for event in source.events:
        if event.kind in _MOVES and event.stage in STEPS:
            add(Use.MOVING, STEPS[event.stage].device == "gpu", number(event.fields.get("seconds")) or 0.0)
    moved = sum(more for (use, _), more in seconds.items() if use is Use.MOVING)
    idle = sum(part.seconds for part in parts if part.kind is Kind.STOPPED or part.label == "between stages")
    return Actual(
        tuple(_part(use, on_gpu, more, rates) for (use, on_gpu), more in sorted(seconds.items())),
        max(0.0, idle - moved),
        rates.currency,
    )


def total(bills: Iterable[Actual], currency: str) -> Actual:
    """Several bills as one."""
    merged: dict[tuple[Use, bool, bool], Part] = {}
    waiting = 0.0
    for bill in bills:
        waiting += bill.waiting
        for part in bill.parts:
            key = (part.use, part.on_gpu, part.cost is None)
            before = merged.get(key)
            if before is None:
                merged[key] = part
                continue
            cost = None if part.cost is None or before.cost is None else before.cost + part.cost
            merged[key] = replace(part, seconds=before.seconds + part.seconds, cost=cost)
    return Actual(tuple(part for _, part in sorted(merged.items())), waiting, currency)


def training_hours(source: RunSource) -> float | None:
    """How long an earlier run's training took on its nodes, all of its tries together; None before its end."""
    spans = [span for span in read_timeline(source).spans if span.stage == "train"]
    finished = any(span.outcome == "finished" for span in spans)
    return sum(span.seconds for span in spans) / _HOUR if finished else None


def _part(use: Use, on_gpu: bool, seconds: float, rates: Rates) -> Part:
    rate = rates.gpu if on_gpu else rates.cpu
    return Part(use, on_gpu, seconds, None if rate is None else rate * (seconds / _HOUR))
