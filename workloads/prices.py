"""The price list: what a node, a disk or a key costs, with the source and date of every price.

Prices are data (``configs/prices.json``), in one currency, without taxes, credits and negotiated discounts. A price
that nobody has checked against its source is marked, and the mark follows it into every sum.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, NonNegativeFloat, ValidationError, model_validator

from workloads.errors import InputError, Problem
from workloads.platform import Capacity, Pool, System
from workloads.runtime import price_list

_RESERVED: frozenset[Capacity] = frozenset({"on-demand", "reservation"})
"""A reservation is billed at the on-demand price of its machines, used or not."""


@dataclass(frozen=True, slots=True)
class Cost:
    """An amount in the list's currency; it varies from ``low`` to ``high`` where spot or flex-start is part of it."""

    low: float
    expected: float
    high: float
    sources: frozenset[str] = frozenset()
    verified: bool = True

    @classmethod
    def zero(cls) -> Cost:
        """Nothing."""
        return cls(0.0, 0.0, 0.0)

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.low + other.low,
            self.expected + other.expected,
            self.high + other.high,
            self.sources | other.sources,
            self.verified and other.verified,
        )

    def __mul__(self, count: float) -> Cost:
        return Cost(self.low * count, self.expected * count, self.high * count, self.sources, self.verified)

    def as_dict(self) -> dict[str, float | bool]:
        """The amounts, rounded to a hundredth of a cent."""
        return {
            "low": round(self.low, 4),
            "expected": round(self.expected, 4),
            "high": round(self.high, 4),
            "verified": self.verified,
        }


class Entry(BaseModel):
    """A frozen model that knows all its keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Source(Entry):
    """Where prices were read."""

    name: str
    date: date
    """When the source was written; the day on which it was read where it does not say."""


class Sourced(Entry):
    """Something with a source."""

    source: str
    verified: bool


class Span(Entry):
    """A value that varies."""

    low: NonNegativeFloat
    expected: NonNegativeFloat
    high: NonNegativeFloat

    @model_validator(mode="after")
    def _in_order(self) -> Span:
        if not self.low <= self.expected <= self.high:
            raise ValueError("low <= expected <= high does not hold")
        return self


class Price(Sourced):
    """What one unit costs."""

    price: NonNegativeFloat
    unit: Literal["hour", "month", "GiB", "GiB-month"]

    def cost(self) -> Cost:
        """The price of one unit."""
        return Cost(self.price, self.price, self.price, frozenset({self.source}), self.verified)


class HourPrice(Sourced):
    """One hour of a vCPU with the memory that its machine type gives it, or of an accelerator."""

    on_demand: NonNegativeFloat
    spot: Span


class Discount(Span, Sourced):
    """The share of the on-demand price that is paid."""


class Everywhere(Entry):
    """Prices that are the same in every region."""

    cluster: Price
    """GKE's management fee of a regional cluster."""
    nat_vm: Price
    """Cloud NAT, for each node that uses it."""
    nat_most: Price
    """Cloud NAT, the most that nodes together cost."""
    nat_address: Price
    """The address that Cloud NAT uses."""
    nat_gb: Price
    """What passes Cloud NAT."""
    egress_gb: Price
    """What leaves for the internet, the first TiB of a month."""
    key_version: Price
    """An active version of a software key in Cloud KMS."""
    secret_version: Price
    """An active version of a secret, in one place."""
    log_gb: Price
    """Logs that are taken in."""
    log_retention_gb: Price
    """Logs that are kept beyond 30 days."""
    image_gb: Price
    """Images in Artifact Registry."""


class Region(Entry):
    """Prices of one region."""

    machines: dict[str, HourPrice]
    """Family and kind, such as g2-standard -> one vCPU with its memory."""
    accelerators: dict[str, HourPrice]
    disk_gb: Price
    """A balanced persistent disk."""
    local_ssd_gb: Price
    local_ssd_spot_gb: Price
    object_gb: Price
    """Cloud Storage, standard class."""


class PriceList(Entry):
    """All prices."""

    version: Literal[1]
    currency: str
    hours_per_month: NonNegativeFloat
    note: str
    sources: dict[str, Source]
    flex_start: Discount
    everywhere: Everywhere
    regions: dict[str, Region]

    def node_hour(self, node: Pool | System, region: str, capacity: Capacity) -> Cost | None:
        """One hour of a node with its boot disk and local SSD; None when the list has no price of its parts."""
        prices = self.regions.get(region)
        if prices is None:
            return None
        machine = prices.machines.get(node.machine.rpartition("-")[0])
        if machine is None:
            return None
        cost = self._hour(machine, capacity) * node.cpus + self.month(prices.disk_gb, node.disk_gb)
        if isinstance(node, Pool):
            ssd = prices.local_ssd_spot_gb if capacity == "spot" else prices.local_ssd_gb
            cost += self.month(ssd, node.scratch_gb)
            if node.accelerator is not None:
                accelerator = prices.accelerators.get(node.accelerator)
                if accelerator is None:
                    return None
                cost += self._hour(accelerator, capacity) * node.gpus
        return cost

    def month(self, price: Price, count: float) -> Cost:
        """One hour of ``count`` units that are priced by the month."""
        return price.cost() * (count / self.hours_per_month)

    def _hour(self, price: HourPrice, capacity: Capacity) -> Cost:
        sources, verified = frozenset({price.source}), price.verified
        if capacity in _RESERVED:
            return Cost(price.on_demand, price.on_demand, price.on_demand, sources, verified)
        if capacity == "spot":
            return Cost(price.spot.low, price.spot.expected, price.spot.high, sources, verified)
        share, full = self.flex_start, price.on_demand
        return Cost(
            full * share.low,
            full * share.expected,
            full * share.high,
            sources | {share.source},
            verified and share.verified,
        )


def load(path: Path | None = None) -> PriceList:
    """Reads the price list.

    Raises:
        InputError: when it is missing or wrong, with every problem.
    """
    path = path or price_list()
    fix = "take configs/prices.json of the repository, or correct the entry"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError.of(f"The price list is no readable JSON: {error}.", fix, file=path) from error
    try:
        return PriceList.model_validate(values)
    except ValidationError as error:
        raise InputError(
            [
                Problem(f"{detail['msg']}.", fix, file=str(path), key=".".join(str(part) for part in detail["loc"]))
                for detail in error.errors()
            ]
        ) from None
