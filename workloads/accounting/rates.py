"""The price of an hour of a run's nodes.

How the node of a pod was bought is decided by the autoscaler and not recorded by the run: the price is a span over
the ways in which its pool may be bought, with the preferred way as the expected one.
"""

from __future__ import annotations

from dataclasses import dataclass

from workloads.platform import Capacity, Platform, Pool
from workloads.prices import Cost, PriceList
from workloads.render.run import CPU_POOL, choose_pool
from workloads.run_spec import RunSpec


@dataclass(frozen=True, slots=True)
class Rates:
    """Prices of an hour.

    Attributes:
        gpu: of all nodes of the training, or of the part that it asks for; None when the price list has none.
        cpu: of the node of a stage without a GPU, counted whole.
        pool: the training's pool.
        currency: of all amounts.
    """

    gpu: Cost | None
    cpu: Cost | None
    pool: str
    currency: str


def rates(spec: RunSpec, platform: Platform, prices: PriceList) -> Rates:
    """The rates of a run.

    Raises:
        InputError: the environment has no pool for it.
    """
    name = choose_pool(spec, platform)
    pool = platform.pools[name]
    share = min(spec.resources.count, pool.gpus) / pool.gpus if pool.gpus else 1.0
    node = _hour(pool, platform.region, _bought(spec, pool), prices)
    cpu = platform.pools.get(CPU_POOL)
    return Rates(
        gpu=None if node is None else node * (share * spec.resources.nodes),
        cpu=None if cpu is None else _hour(cpu, platform.region, cpu.capacity, prices),
        pool=name,
        currency=prices.currency,
    )


def _bought(spec: RunSpec, pool: Pool) -> tuple[Capacity, ...]:
    wanted = spec.resources.capacity
    return pool.capacity if wanted == "any" else ("on-demand",)


def _hour(pool: Pool, region: str, capacities: tuple[Capacity, ...], prices: PriceList) -> Cost | None:
    found = [prices.node_hour(pool, region, capacity) for capacity in capacities]
    known = [cost for cost in found if cost is not None]
    if len(known) < len(found):
        return None
    return Cost(
        min(cost.low for cost in known),
        known[0].expected,
        max(cost.high for cost in known),
        frozenset().union(*(cost.sources for cost in known)),
        all(cost.verified for cost in known),
    )
