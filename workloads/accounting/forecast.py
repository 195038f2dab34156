"""What a run may cost, before it is sent. Only the training is counted: the other stages add minutes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from workloads.accounting.rates import Rates
from workloads.prices import Cost


@dataclass(frozen=True, slots=True)
class Forecast:
    """An amount in the price list's currency.

    Attributes:
        low, expected: None when nobody knows how long the training takes.
        high: at the end of ``max_hours``, all of it at the highest price.
        hours: what was taken as the training's time.
    """

    low: float | None
    expected: float | None
    high: float
    hours: float | None
    max_hours: float
    rate: Cost
    currency: str

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        rounded = {name: value and round(value, 2) for name, value in (("low", self.low), ("expected", self.expected))}
        return {
            **rounded,
            "high": round(self.high, 2),
            "hours": self.hours,
            "max_hours": self.max_hours,
            "hour": self.rate.as_dict(),
            "currency": self.currency,
        }


def forecast(rates: Rates, max_hours: float, hours: float | None = None) -> Forecast | None:
    """The forecast; None when the price list has no price of the nodes.

    Args:
        hours: how long the training takes, as somebody says or an earlier run took. A training is stopped at
            ``max_hours``, so more than that is not counted.
    """
    rate = rates.gpu
    if rate is None:
        return None
    likely = None if hours is None else min(hours, max_hours)
    return Forecast(
        low=None if likely is None else rate.low * likely,
        expected=None if likely is None else rate.expected * likely,
        high=rate.high * max_hours,
        hours=likely,
        max_hours=max_hours,
        rate=rate,
        currency=rates.currency,
    )
