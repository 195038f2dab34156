"""Before a gang trains: is every node there, and can all ranks talk to one another?

A collective that one rank does not join hangs all the others without a word, for half an hour by default. So nodes and
ranks first sign in at rank 0's key-value store, and then sum a number with a short timeout. Whoever is missing is
named.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from workloads.errors import UnavailableError
from workloads.training.world import World

NODES_SECONDS = 600.0
"""How long nodes are waited for: they fetch an image and the base model first, and not all are equally fast."""
RANKS_SECONDS = 180.0
"""How long ranks are waited for when the nodes are there: they only import the training stack."""
SUM_SECONDS = 30.0
"""How long summing one number over all ranks may take."""
_POLL_SECONDS = 0.1
_DONE = "done"
_HOSTS = "hosts"
_DECISION = "members"
_MEMBERS = f"{_DECISION}/0"


@dataclass(frozen=True, slots=True)
class SignIn:
    """Who has arrived at a place of the store.

    Attributes:
        store: a torch.distributed store.
        place: a name of this gathering.
        count: how many are expected, numbered from 0.
    """

    store: Any
    place: str
    count: int
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def arrive(self, number: int, text: str) -> None:
        """Says that ``number`` is here."""
        self.store.set(f"{self.place}/{number}", text or "-")

    def missing(self, seconds: float, enough: int | None = None, last_call: float = 0.0) -> list[int]:
        """The numbers that have not arrived after ``seconds``; returns at once when all have.

        When ``enough`` have, it waits ``last_call`` seconds more and no longer.
        """
        deadline = self.clock() + seconds
        keys = [f"{self.place}/{number}" for number in range(self.count)]
        while not self.store.check(keys):
            absent = [number for number, key in enumerate(keys) if not self.store.check([key])]
            if enough is not None and self.count - len(absent) >= enough:
                deadline, enough = min(deadline, self.clock() + last_call), None
            if self.clock() >= deadline:
                return absent
            self.sleep(_POLL_SECONDS)
        return []

    def said(self, number: int) -> str | None:
        """What ``number`` said when it arrived."""
        key = f"{self.place}/{number}"
        return self.store.get(key).decode() if self.store.check([key]) else None


def open_store(world: World, seconds: float) -> Any:
    """Rank 0's store: node 0 opens it, the others connect; torchrun then uses the same one.

    Raises:
        UnavailableError: node 0 was not found in time.
    """
    import torch.distributed as dist

    try:
        return dist.TCPStore(
            world.address,
            world.port,
            is_master=world.node_rank == 0,
            timeout=timedelta(seconds=seconds),
            wait_for_workers=False,
            multi_tenant=True,
        )
    except (dist.DistError, RuntimeError, ValueError) as error:
        what = "could not open" if world.node_rank == 0 else "did not reach node 0 at"
        raise UnavailableError.of(
            f"Node {world.node_rank} ({socket.gethostname()}) {what} {world.address}:{world.port}: "
            f"{str(error).strip().splitlines()[0][:200]}",
            "see whether node 0 runs, and whether another process has the port",
        ) from error


def gathered(store: Any, world: World, seconds: float = NODES_SECONDS) -> World:
    """The world of the nodes that came, as this node sees it: all of them, or enough.

    Raises:
        UnavailableError: naming those that did not come; or the others began without this one.
    """
    nodes = SignIn(store, "nodes", world.nodes)
    nodes.arrive(world.node_rank, socket.gethostname())
    if world.node_rank == 0:
        absent = nodes.missing(seconds, world.least_nodes, world.last_call)
        here = [number for number in range(world.nodes) if number not in absent]
        if len(here) < (world.least_nodes or world.nodes):
            raise _missing(nodes, absent, seconds)
        store.set(_MEMBERS, json.dumps(here))
    elif SignIn(store, _DECISION, 1).missing(seconds + world.last_call):
        raise _missing(nodes, nodes.missing(0), seconds)
    members: list[int] = json.loads(store.get(_MEMBERS))
    if world.node_rank not in members:
        raise UnavailableError.of(
            f"The training has begun without node {world.node_rank} ({socket.gethostname()}), which came too late.",
            "start it again: it takes part when the nodes gather the next time",
        )
    place = members.index(world.node_rank)
    SignIn(store, _HOSTS, len(members)).arrive(place, socket.gethostname())
    return replace(world, nodes=len(members), node_rank=place, least_nodes=None)


def _missing(nodes: SignIn, absent: list[int], seconds: float) -> UnavailableError:
    there = ", ".join(f"{number} ({nodes.said(number)})" for number in range(nodes.count) if number not in absent)
    return UnavailableError.of(
        f"Of {nodes.count} nodes, {_numbers('node', absent)} did not arrive within {seconds:.0f} s; there are {there}.",
        "see why it has not started: its pod's events, or its log",
    )


def join(store: Any, rank: int, size: int, nodes: int, timeout: timedelta) -> None:
    """Initializes this rank's process group, and proves that all ranks can sum.

    Args:
        timeout: of the training's own collectives, later.

    Raises:
        UnavailableError: naming the ranks, and their nodes, that did not take part.
    """
    import torch
    import torch.distributed as dist

    per_node = size // nodes
    ranks = SignIn(store, "ranks", size)
    ranks.arrive(rank, socket.gethostname())
    if absent := ranks.missing(RANKS_SECONDS):
        raise _absent("did not start", absent, RANKS_SECONDS, SignIn(store, _HOSTS, nodes), per_node)
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    elif nodes == 1 and os.path.exists("/sys/class/net/lo"):  # noqa: PTH110
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # the name of this machine may lead anywhere
    sums = SignIn(store, "sums", size)
    backend = "cpu:gloo,cuda:nccl" if on_gpu else "gloo"
    problem = _try_sum(dist.PrefixStore("preflight", store), rank, size, backend)
    sums.arrive(rank, problem or _DONE)
    if problem is None:
        group = dist.PrefixStore("training", store)
        dist.init_process_group(backend, store=group, rank=rank, world_size=size, timeout=timeout)
        return
    silent = sums.missing(SUM_SECONDS / 3)  # the others find out a little later
    hosts = SignIn(store, _HOSTS, nodes)
    if silent:
        raise _absent("took no part in a sum over all ranks", silent, SUM_SECONDS, hosts, per_node)
    raise UnavailableError.of(
        f"Rank {rank} on {socket.gethostname()} could not sum a number with the other {size - 1} ranks: {problem}",
        "see whether the nodes reach one another over the network (NCCL_SOCKET_IFNAME and GLOO_SOCKET_IFNAME)",
    )


def _try_sum(store: Any, rank: int, size: int, backend: str) -> str | None:
    """Why a sum over a group of its own, with a short timeout, failed; or None."""
    import torch
    import torch.distributed as dist

    try:
        patience = timedelta(seconds=SUM_SECONDS)
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=patience)
        for device in ("cpu", "cuda") if "nccl" in backend else ("cpu",):
            value = torch.ones(1, device=device)
            work = dist.all_reduce(value, async_op=True)
            deadline = time.monotonic() + SUM_SECONDS
            while not work.is_completed():
                if time.monotonic() > deadline:
                    return f"no answer within {SUM_SECONDS:.0f} s"
                time.sleep(0.001)
            work.wait()
            if int(value.item()) != size:
                return f"the sum of {size} ones came out as {value.item():g}"
        dist.destroy_process_group()
    except (dist.DistError, RuntimeError) as error:
        return str(error).strip().splitlines()[0][:300]
    return None


def _absent(what: str, ranks: list[int], seconds: float, hosts: SignIn, per_node: int) -> UnavailableError:
    places = sorted({rank // per_node for rank in ranks})
    named = ", ".join(f"node {place} ({hosts.said(place) or 'unknown'})" for place in places)
    return UnavailableError.of(
        f"{_numbers('rank', ranks).capitalize()} on {named} {what} within {seconds:.0f} s.",
        "see the log of that rank and the health of its node; a node that fails twice should be drained",
    )


def _numbers(noun: str, numbers: list[int]) -> str:
    text = ", ".join(str(number) for number in numbers)
    return f"{noun} {text}" if len(numbers) == 1 else f"{noun}s {text}"
