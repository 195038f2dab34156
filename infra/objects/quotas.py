"""How a team's GPUs are spread over the pools that have them.

A team is given a number of GPUs, Kueue wants a number for each pool. GPUs are dealt in whole nodes, since a node's
GPUs cannot be split between teams without leaving some of them unreachable for a training that wants all: one node
of each pool in turn, the largest nodes first. What the pools have beyond all teams' shares belongs to the cohort.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from infra import names as n
from infra.machines import MACHINES
from infra.settings import Environment


@dataclass(frozen=True, slots=True)
class Amount:
    """CPU cores, GiB of memory and GPUs."""

    cpus: int = 0
    memory_gb: int = 0
    gpus: int = 0

    def minus(self, other: Amount) -> Amount:
        """What is left, at least nothing."""
        return Amount(
            max(0, self.cpus - other.cpus), max(0, self.memory_gb - other.memory_gb), max(0, self.gpus - other.gpus)
        )

    def plus(self, other: Amount) -> Amount:
        """Both together."""
        return Amount(self.cpus + other.cpus, self.memory_gb + other.memory_gb, self.gpus + other.gpus)


def capacity(environment: Environment, pool: str) -> Amount:
    """What a pool has when each of its capacities is at its maximum."""
    settings = environment.pools[pool]
    nodes = settings.max * len(settings.capacity)
    machine = MACHINES[settings.machine]
    return Amount(nodes * machine.cpus, nodes * machine.memory_gb, nodes * machine.gpus)


def deal(gpus: int, nodes: Mapping[str, int]) -> dict[str, int]:
    """GPUs for each pool, of ``gpus`` in all; ``nodes`` says how many GPUs a node of each pool has.

    What is less than the smallest node goes to the pool with the smallest nodes. Empty when no pool has GPUs.
    """
    order = sorted((pool for pool, size in nodes.items() if size), key=lambda pool: (-nodes[pool], pool))
    shares = dict.fromkeys(order, 0)
    while order and gpus:
        fitting = [pool for pool in order if nodes[pool] <= gpus]
        if not fitting:
            shares[order[-1]] += gpus
            break
        for pool in fitting:
            if nodes[pool] <= gpus:
                shares[pool] += nodes[pool]
                gpus -= nodes[pool]
    return shares


def shares(environment: Environment, gpus: int) -> dict[str, int]:
    """``gpus`` dealt over the pools of the environment."""
    return deal(gpus, {pool: MACHINES[settings.machine].gpus for pool, settings in environment.pools.items()})


def nominal(environment: Environment, team: str) -> dict[str, Amount]:
    """What is a team's own in each pool. With its GPUs go their nodes' CPU cores and memory."""
    settings = environment.teams[team]
    gpus = shares(environment, settings.gpus)
    amounts = {}
    for pool, pool_settings in environment.pools.items():
        machine = MACHINES[pool_settings.machine]
        if machine.gpus:
            own = gpus[pool]
            amounts[pool] = Amount(own * machine.cpus // machine.gpus, own * machine.memory_gb // machine.gpus, own)
        elif pool == n.CPU_POOL:
            amounts[pool] = Amount(settings.cpus, settings.memory_gb)
        else:
            amounts[pool] = Amount()
    return amounts


def shared(environment: Environment) -> dict[str, Amount]:
    """What no team owns in each pool, for all to borrow."""
    left = {}
    for pool in environment.pools:
        owned = Amount()
        for team in environment.teams:
            owned = owned.plus(nominal(environment, team)[pool])
        left[pool] = capacity(environment, pool).minus(owned)
    return left


def most_gpus(environment: Environment, team: str) -> int:
    """The most GPUs that a team can ever hold: its own and what it may borrow."""
    settings = environment.teams[team]
    everything = sum(capacity(environment, pool).gpus for pool in environment.pools)
    return everything if settings.borrow is None else settings.gpus + settings.borrow
