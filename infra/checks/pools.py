"""Pools: machines that exist, in zones that offer their GPUs, bought as Google sells them; and teams that fit them.

Source: Google Cloud's pages on GPU machine types, flex-start and consuming reservations in GKE.
"""

from __future__ import annotations

from collections.abc import Iterator

from infra.checks.finding import Finding, known_machine, repeated
from infra.errors import did_you_mean
from infra.machines import L4_ZONES, MACHINES, l4_zones
from infra.names import CPU_POOL, SYSTEM_POOL
from infra.settings import Environment, Pool
from infra.settings_yaml import Location


def zones(environment: Environment) -> Iterator[Finding]:
    """Zones: once each, and of the region."""
    yield from repeated(("zones",), environment.zones)
    for number, zone in enumerate(environment.zones):
        if zone.rpartition("-")[0] != environment.region:
            fix = f"write zones such as {environment.region}-a, or change region"
            yield Finding(("zones", number), f"{zone} is not in {environment.region}.", fix)


def pool_zones(environment: Environment) -> Iterator[Finding]:
    """A pool's zones: the environment's, and with its GPUs."""
    offered = l4_zones(environment.region)
    for name, pool in environment.pools.items():
        key = ("pools", name, "zones")
        yield from repeated(key, pool.zones)
        for number, zone in enumerate(pool.zones):
            if zone not in environment.zones:
                fix = f"{did_you_mean(zone, environment.zones)}choose from " + ", ".join(environment.zones)
                yield Finding((*key, number), f"{zone} is not a zone of the environment.", fix)
        machine = MACHINES.get(pool.machine)
        if machine is None or machine.accelerator != "nvidia-l4":
            continue
        if not offered:
            fix = f"{did_you_mean(environment.region, L4_ZONES)}regions with L4: " + ", ".join(L4_ZONES)
            yield Finding(("region",), f"{environment.region} has no L4 GPUs.", fix)
            return
        without = [zone for zone in pool.zones or environment.zones if zone not in offered]
        if without:
            message = f"There are no L4 GPUs in {', '.join(without)}."
            yield Finding(key if pool.zones else ("pools", name), message, "its zones can be " + ", ".join(offered))


def pools(environment: Environment) -> Iterator[Finding]:
    """A pool's machine, GPUs and capacity."""
    for name, pool in environment.pools.items():
        key = ("pools", name)
        if name == SYSTEM_POOL:
            yield Finding(key, "This name is taken by the nodes of the controllers.", "rename it; see the key `system`")
        yield from known_machine((*key, "machine"), pool.machine)
        machine = MACHINES.get(pool.machine)
        if machine is not None and machine.gpus != pool.gpus:
            message = f"{pool.machine} has {machine.gpus} GPUs, not {pool.gpus}."
            yield Finding((*key, "gpus"), message, f"write {machine.gpus}, or choose another machine")
        yield from _capacity(key, pool)


def _capacity(key: Location, pool: Pool) -> Iterator[Finding]:
    yield from repeated((*key, "capacity"), pool.capacity)
    if pool.min > pool.max:
        yield Finding((*key, "min"), f"min ({pool.min}) is more than max ({pool.max}).", "lower min or raise max")
    if ("reservation" in pool.capacity) != (pool.reservation is not None):
        yield Finding(
            (*key, "reservation"),
            "A reservation needs its name and the word `reservation` in capacity; one of them is missing.",
            "write both or neither",
        )
    if "flex-start" in pool.capacity and pool.gpus == 0:
        yield Finding((*key, "capacity"), "flex-start is for nodes with GPUs.", "remove flex-start")
    if pool.min > 0 and "flex-start" in pool.capacity:
        fix = "set min to 0 or remove flex-start"
        yield Finding((*key, "min"), "flex-start nodes live seven days at most and cannot always run.", fix)
    elif pool.min > 0 and not {"on-demand", "reservation"}.intersection(pool.capacity):
        yield Finding((*key, "min"), "Spot nodes cannot always run.", "set min to 0 or add on-demand to capacity")


def cpu_pool(environment: Environment) -> Iterator[Finding]:
    """The pool that every environment has."""
    cpu = environment.pools.get(CPU_POOL)
    if cpu is None:
        fix = f"add `{CPU_POOL}: {{machine: e2-standard-8}}`"
        yield Finding(("pools",), f"There is no pool {CPU_POOL!r}, which the stages without a GPU need.", fix)
    elif cpu.gpus > 0:
        message = "This pool is for the stages without a GPU."
        yield Finding(
            ("pools", CPU_POOL, "gpus"), message, "use a machine without GPUs here and name this pool otherwise"
        )


def teams(environment: Environment) -> Iterator[Finding]:
    """The teams' own GPUs: no more than there are."""
    owned = sum(team.gpus for team in environment.teams.values())
    there = sum(pool.gpus * pool.max * len(pool.capacity) for pool in environment.pools.values())
    if owned > there:
        message = f"The teams' own GPUs are {owned}; the pools have {there} at most."
        yield Finding(("teams",), message, "lower gpus of the teams or raise max of the pools")
