"""What the verbs of ``tunery env`` print for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from workloads.cli.output import plain_table
from workloads.environments import costs
from workloads.environments.destroy_check import Loss, Report
from workloads.environments.diff import Difference
from workloads.platform import Platform
from workloads.prices import Cost, PriceList

UNVERIFIED = "~"
"""Marks an amount that a price which nobody could check is part of."""


def listing(out: Console, found: Iterable[Platform]) -> None:
    """One line an environment."""
    table = plain_table("environment", "project", "region", ">GPUs of teams", "teams")
    for platform in found:
        gpus = sum(team.gpus for team in platform.teams.values())
        table.add_row(platform.environment, platform.project, platform.region, str(gpus), ", ".join(platform.teams))
    out.print(table)


def overview(out: Console, platform: Platform, prices: PriceList) -> None:
    """An environment on one screen."""
    zones = ", ".join(zone.removeprefix(f"{platform.region}-") for zone in platform.zones)
    _heading(out, f"{platform.environment}: cluster {platform.cluster} in {platform.region} ({zones})")
    _print(out, f"project {platform.project}; {'; '.join(_facts(platform))}")
    _print(out, f"controllers: {', '.join(platform.controllers)}")
    for table in (_pools(platform, prices), _teams(platform), _identities(platform), _places(platform)):
        out.print()
        out.print(table)
    out.print()
    _costs(out, platform, prices)


def _facts(platform: Platform) -> Iterable[str]:
    yield "controllers in several replicas" if platform.high_availability else "one replica of each controller"
    yield f"deletion protection {'on' if platform.deletion_protection else 'OFF'}"
    yield "egress through Cloud NAT" if platform.egress else "no egress"
    if platform.budget is not None:
        yield f"alerts on a budget of {platform.budget.amount:,} {platform.budget.currency} a month"


def _pools(platform: Platform, prices: PriceList) -> Table:
    table = plain_table(
        "pool", "machine", ">vCPU", ">GiB", "GPUs", ">SSD GB", "bought as", "nodes", f">{prices.currency}/h a node"
    )
    system = platform.system
    cost = prices.node_hour(system, platform.region, "on-demand")
    nodes = f"{system.min}-{system.max}"
    table.add_row(
        "system", system.machine, str(system.cpus), str(system.memory_gb), "", "", "on-demand", nodes, _money(cost)
    )
    for name, pool in platform.pools.items():
        gpus = f"{pool.gpus} x {pool.accelerator}" if pool.accelerator else ""
        what = (name, pool.machine, str(pool.cpus), str(pool.memory_gb), gpus, str(pool.scratch_gb or ""))
        for capacity, cost in costs.capacities(platform, prices, name).items():
            reserved = f" {pool.reservation}" if capacity == "reservation" else ""
            table.add_row(*what, capacity + reserved, f"{pool.min}-{pool.max}", _money(cost))
            what = ("", "", "", "", "", "")
    return table


def _teams(platform: Platform) -> Table:
    table = plain_table("team", "namespace", "queues", ">GPUs", ">may borrow", ">weight", ">budget a month", "people")
    for name, team in platform.teams.items():
        table.add_row(
            name,
            team.namespace,
            ", ".join(team.cluster_queues.values()),
            str(team.gpus),
            "all" if team.borrow is None else str(team.borrow),
            f"{team.weight:g}",
            "none" if team.budget is None else f"{team.budget:,g}",
            team.group or "",
        )
    return table


def _identities(platform: Platform) -> Table:
    table = plain_table("service account", "works in", "reads the secrets")
    for role in platform.service_accounts:
        stages = ", ".join(stage for stage, works_as in platform.stages.items() if works_as == role)
        table.add_row(role, stages, ", ".join(platform.secrets_of(role)) or "none")
    return table


def _places(platform: Platform) -> Table:
    table = plain_table("place", "where")
    for kind, bucket in platform.buckets.items():
        table.add_row(kind, f"gs://{bucket}")
    table.add_row("Terraform's state", f"gs://{platform.state_bucket}")
    table.add_row("images", platform.registry)
    table.add_row("KMS keys", f"{platform.cluster}: {', '.join(platform.keys)}")
    artifactory = platform.artifactory
    table.add_row("Artifactory", f"{artifactory.url} (from {artifactory.models}, to {artifactory.published})")
    return table


def _costs(out: Console, platform: Platform, prices: PriceList) -> None:
    idle, limits = costs.idle(platform, prices), costs.at_limits(platform, prices)
    table = plain_table(
        "what it costs when nothing runs", ">count", f">{prices.currency}/h", f">{prices.currency}/month"
    )
    for line in idle.lines:
        table.add_row(line.what, str(line.count), _money(line.hour), _month(line.hour, prices))
    table.add_row("all of it", "", _money(idle.hour), _month(idle.hour, prices), style="bold")
    at_limits = "every pool at its limit, all month"
    table.add_row(at_limits, "", _money(limits.hour), _month(limits.hour, prices), style="bold")
    out.print(table)
    by_use = costs.by_use(platform, prices)
    used = ", ".join(f"{what} {_amount(price.cost())}/{price.unit}" for what, price in by_use.items())
    _print(out, f"by use, in {prices.currency}: {used}")
    for name, pool in platform.pools.items():
        if pool.reservation is not None:
            hour = _money(prices.node_hour(pool, platform.region, "reservation"))
            text = f"also paid for, used or not: reservation {pool.reservation}, {hour} an hour for each node of {name}"
            _print(out, text, style="yellow")
    for what in sorted({*idle.without_price, *limits.without_price}):
        _print(out, f"not in these sums, since the price list does not have it: {what}", style="yellow")
    dates = sorted(prices.sources[name].date for name in idle.hour.sources | limits.hour.sources)
    if dates:
        span = f"{dates[0]} to {dates[-1]}"
        _print(out, f"List prices of {span}, without taxes and discounts; --json has the source of each.", style="dim")
    if not all(cost.verified for cost in (idle.hour, limits.hour, *(price.cost() for price in by_use.values()))):
        _print(out, f"{UNVERIFIED} contains a price that could not be checked against its source.", style="dim")


def differences(out: Console, first: str, second: str, found: Sequence[Difference]) -> None:
    """What differs, a line each, under what it is about."""
    if not found:
        _print(out, f"{first} and {second} differ in nothing but their names.")
        return
    table = plain_table("what", "key", first, second)
    area = ""
    for each in found:
        key = each.key.split(".", 2)[-1] if each.area != each.key.replace("_", " ") else ""
        values = [_value(each.first), _value(each.second)]
        if each.only_in is not None:
            values = [
                value if each.only_in == name else "absent" for name, value in zip((first, second), values, strict=True)
            ]
        table.add_row("" if each.area == area else each.area, "" if key in each.area.split() else key, *values)
        area = each.area
    out.print(table)


def losses(out: Console, environment: str, report: Report, currency: str) -> None:
    """What a destroy would lose and interrupt, and what it would leave to be paid for."""
    if not report.resources:
        _print(out, f"Nothing of {environment} is in this state: a destroy would lose nothing.")
    if report.losses:
        _heading(out, f"Destroying {environment} would lose, for good:")
        _loss_table(out, report.losses)
    if report.interruptions:
        _heading(out, "and would interrupt:")
        _loss_table(out, report.interruptions)
    _heading(out, "What would still cost money:")
    table = plain_table("what", f">{currency} a month", "why")
    for each in report.remainders:
        price = "" if each.month is None else f"{_amount(each.month)} a {each.unit}"
        table.add_row(each.what, price, each.why)
    out.print(table)


def passed(out: Console, changes: int, interrupted: Sequence[Loss]) -> None:
    """What a plan does that loses no data."""
    _print(out, f"This plan loses no data: {changes} changes.", style="green")
    if interrupted:
        _heading(out, "It would interrupt:")
        _loss_table(out, interrupted)


def _loss_table(out: Console, found: Iterable[Loss]) -> None:
    table = plain_table("resource", "name", "what happens", "what would stop it")
    for loss in found:
        table.add_row(loss.address, loss.name, loss.what, loss.guard)
    out.print(table)


def _money(cost: Cost | None) -> str:
    """An amount by the hour, with its span where it varies."""
    if cost is None:
        return "no price"
    span = f" ({cost.low:.2f}-{cost.high:.2f})" if cost.high - cost.low >= 0.005 else ""
    digits = 3 if cost.expected >= 0.01 else 4
    return f"{'' if cost.verified else UNVERIFIED}{cost.expected:.{digits}f}{span}"


def _month(hour: Cost | None, prices: PriceList) -> str:
    if hour is None:
        return "no price"
    month = hour * prices.hours_per_month
    span = f" ({month.low:,.0f}-{month.high:,.0f})" if month.high - month.low >= 1 else ""
    return f"{'' if month.verified else UNVERIFIED}{month.expected:,.2f}{span}"


def _amount(cost: Cost) -> str:
    return f"{'' if cost.verified else UNVERIFIED}{cost.expected:g}"


def _value(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    if isinstance(value, list):
        return ", ".join(str(item) for item in value)
    if isinstance(value, dict):
        return ", ".join(f"{key} {_value(inner)}" for key, inner in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value)


def _heading(out: Console, text: str) -> None:
    _print(out, text, style="bold")


def _print(out: Console, text: str, style: str | None = None) -> None:
    out.print(text, style=style, markup=False)
