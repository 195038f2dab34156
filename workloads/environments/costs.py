"""What an environment costs by the hour: when nothing runs, and when every pool is as large as it may become."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from workloads.platform import Capacity, Platform
from workloads.prices import Cost, Price, PriceList


@dataclass(frozen=True, slots=True)
class Line:
    """One thing on a bill. ``each`` is one hour of one of them; None when the price list has no price of it."""

    what: str
    count: int
    each: Cost | None

    @property
    def hour(self) -> Cost | None:
        """One hour of all of them."""
        return None if self.each is None else self.each * self.count


@dataclass(frozen=True, slots=True)
class Bill:
    """Lines by the hour, and their sum."""

    lines: tuple[Line, ...]

    @property
    def hour(self) -> Cost:
        """One hour of everything that has a price."""
        return sum((line.hour for line in self.lines if line.hour is not None), Cost.zero())

    @property
    def without_price(self) -> tuple[str, ...]:
        """What is not in the sum, because the price list does not have it."""
        return tuple(line.what for line in self.lines if line.each is None)

    def as_dict(self, hours_per_month: float) -> dict[str, Any]:
        """The bill for ``--json``."""
        return {
            "hour": self.hour.as_dict(),
            "month": (self.hour * hours_per_month).as_dict(),
            "lines": [
                {
                    "what": line.what,
                    "count": line.count,
                    "hour": None if line.hour is None else line.hour.as_dict(),
                }
                for line in self.lines
            ],
            "without_price": list(self.without_price),
        }


def idle(platform: Platform, prices: PriceList) -> Bill:
    """The bill when nothing runs: what is always there, and the least number of nodes of each pool."""
    nodes = [
        Line(f"nodes of {name}, {capacity}", pool.min, prices.node_hour(pool, platform.region, capacity))
        for name, pool in platform.pools.items()
        if pool.min
        for capacity in pool.capacity[:1]
    ]
    count = platform.system.min + sum(line.count for line in nodes)
    return Bill((*_always(platform, prices, platform.system.min), *nodes, *_nat(platform, prices, count)))


def at_limits(platform: Platform, prices: PriceList) -> Bill:
    """The bill when every capacity of every pool has all the nodes that it may have."""
    nodes = [
        Line(f"nodes of {name}, {capacity}", pool.max, prices.node_hour(pool, platform.region, capacity))
        for name, pool in platform.pools.items()
        for capacity in pool.capacity
    ]
    count = platform.system.max + sum(line.count for line in nodes)
    return Bill((*_always(platform, prices, platform.system.max), *nodes, *_nat(platform, prices, count)))


def by_use(platform: Platform, prices: PriceList) -> dict[str, Price]:
    """Prices of what is charged by use, which no contract can know."""
    everywhere, region = prices.everywhere, prices.regions.get(platform.region)
    found = {"objects in Cloud Storage": region.object_gb} if region is not None else {}
    found |= {
        "images in Artifact Registry": everywhere.image_gb,
        "logs taken in": everywhere.log_gb,
        "logs kept beyond 30 days": everywhere.log_retention_gb,
        "sent to the internet": everywhere.egress_gb,
    }
    return found | ({"through Cloud NAT": everywhere.nat_gb} if platform.egress else {})


def capacities(platform: Platform, prices: PriceList, pool: str) -> dict[Capacity, Cost | None]:
    """One hour of a node of a pool, by how it is bought."""
    node = platform.pools[pool]
    return {capacity: prices.node_hour(node, platform.region, capacity) for capacity in node.capacity}


def _always(platform: Platform, prices: PriceList, system_nodes: int) -> Iterator[Line]:
    everywhere = prices.everywhere
    yield Line("GKE's management fee", 1, everywhere.cluster.cost())
    yield Line("system nodes", system_nodes, prices.node_hour(platform.system, platform.region, "on-demand"))
    # each rotation adds a version that stays active: this is the first quarter's price
    yield Line("KMS keys, one version each", len(platform.keys), prices.month(everywhere.key_version, 1))
    yield Line("secrets, one version each", len(platform.secrets), prices.month(everywhere.secret_version, 1))


def _nat(platform: Platform, prices: PriceList, nodes: int) -> Iterator[Line]:
    if platform.egress:
        everywhere = prices.everywhere
        gateway = min(everywhere.nat_vm.cost() * nodes, everywhere.nat_most.cost(), key=lambda cost: cost.expected)
        yield Line("Cloud NAT and its address", 1, gateway + everywhere.nat_address.cost())
