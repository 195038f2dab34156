"""What the cost in a sweep's budget buys on an environment, in hours of trials."""

from __future__ import annotations

from workloads.errors import InputError
from workloads.render.run import ClusterRun


def trial_hours(run: ClusterRun) -> float | None:
    """Hours of all trials together; None when the sweep has no budget for its cost.

    Raises:
        InputError: the price list has no price of the pool, or there is none.
    """
    sweep = run.spec.sweep
    if sweep is None or sweep.budget is None or sweep.budget.cost is None:
        return None
    from workloads import prices

    listed = prices.load()
    capacity = "on-demand" if run.spec.resources.capacity == "on-demand" else run.pool.capacity[0]
    hour = listed.node_hour(run.pool, run.platform.region, capacity)
    if hour is None or not hour.expected:
        raise InputError.of(
            f"The price list has no price of pool {run.pool_name}, so nobody knows what trials cost.",
            "limit the sweep by sweep.budget.hours, or add the price to configs/prices.json",
            key="sweep.budget.cost",
        )
    share = run.gpus / run.pool.gpus if run.pool.gpus else 1.0
    return sweep.budget.cost / (hour.expected * share)
