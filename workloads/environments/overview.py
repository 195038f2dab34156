"""Everything that ``tunery env show`` tells, as plain JSON values."""

from __future__ import annotations

from typing import Any

from workloads.environments import costs
from workloads.platform import Platform
from workloads.prices import PriceList


def as_dict(platform: Platform, prices: PriceList) -> dict[str, Any]:
    """The contract, who reads which secret, and costs with the source and date of each price used."""
    idle, limits = costs.idle(platform, prices), costs.at_limits(platform, prices)
    by_use = costs.by_use(platform, prices)
    pools = {name: costs.capacities(platform, prices, name) for name in platform.pools}
    used = idle.hour.sources | limits.hour.sources | {price.source for price in by_use.values()}
    return {
        "contract": platform.model_dump(mode="json"),
        "identities": {
            role: {
                "stages": [stage for stage, works_as in platform.stages.items() if works_as == role],
                "secrets": list(platform.secrets_of(role)),
            }
            for role in platform.service_accounts
        },
        "costs": {
            "currency": prices.currency,
            "node_hour": {
                name: {capacity: None if cost is None else cost.as_dict() for capacity, cost in found.items()}
                for name, found in pools.items()
            },
            "idle": idle.as_dict(prices.hours_per_month),
            "at_limits": limits.as_dict(prices.hours_per_month),
            "by_use": {what: price.model_dump(mode="json") for what, price in by_use.items()},
            "note": prices.note,
            "sources": {name: prices.sources[name].model_dump(mode="json") for name in sorted(used)},
        },
    }
