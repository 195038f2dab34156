"""Address ranges: private, apart from one another, and large enough for all nodes and their pods.

Source: Google Cloud's pages "VPC-native clusters" and "About IP address management in GKE".
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network
from itertools import combinations

from infra.checks.finding import Finding
from infra.settings import Environment

PRIVATE = tuple(
    IPv4Network(cidr) for cidr in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")
)  # RFC 1918 and RFC 6598
DOCKER_BRIDGE = IPv4Network("172.17.0.0/16")
NODE_PODS_PREFIX = 24
"""GKE gives a node with up to 110 pods a /24."""
RESERVED_ADDRESSES = 4
"""Compute Engine keeps four addresses of each subnet."""


def _ranges(environment: Environment) -> dict[str, IPv4Network]:
    network = environment.network
    return {
        "nodes": network.nodes,
        "pods": network.pods,
        "services": network.services,
        "control_plane": network.control_plane,
    }


def addresses(environment: Environment) -> Iterator[Finding]:
    """Ranges: private, apart from one another, of a size that GKE takes."""
    ranges = _ranges(environment)
    for name, cidr in ranges.items():
        key = ("network", name)
        if not any(cidr.subnet_of(private) for private in PRIVATE):
            yield Finding(key, f"{cidr} is not private.", "use a part of " + ", ".join(map(str, PRIVATE)))
        elif cidr.overlaps(DOCKER_BRIDGE):
            yield Finding(key, f"{cidr} overlaps {DOCKER_BRIDGE}, the Docker bridge's range.", "use another range")
    for (one, first), (other, second) in combinations(ranges.items(), 2):
        if first.overlaps(second):
            message = f"{second} overlaps {first}, the range of {one}."
            yield Finding(("network", other), message, f"move network.{one} or network.{other}")
    for name, (widest, narrowest) in {"services": (16, 27), "control_plane": (28, 28)}.items():
        size = ranges[name].prefixlen
        if not widest <= size <= narrowest:
            wanted = f"/{widest}" if widest == narrowest else f"between /{widest} and /{narrowest}"
            yield Finding(("network", name), f"/{size} is a size that GKE does not take here.", f"make it {wanted}")


def sizes(environment: Environment) -> Iterator[Finding]:
    """Ranges: large enough for every node that there can be."""
    node_pools = 1 + sum(len(pool.capacity) for pool in environment.pools.values())
    # An upgrade adds a node to a pool before it removes one.
    nodes = (
        environment.system.max + sum(len(pool.capacity) * pool.max for pool in environment.pools.values()) + node_pools
    )
    network = environment.network
    for name, cidr, room in (
        ("nodes", network.nodes, network.nodes.num_addresses - RESERVED_ADDRESSES),
        ("pods", network.pods, network.pods.num_addresses >> (32 - NODE_PODS_PREFIX)),
    ):
        if room < nodes:
            yield Finding(
                ("network", name),
                f"{cidr} has room for {max(room, 0)} nodes; all pools at their maximum, in the middle of an upgrade, "
                f"are {nodes}.",
                "use a larger range or lower max of the pools",
            )


def authorized(environment: Environment) -> Iterator[Finding]:
    """Who may reach the control plane: each network once, and never everybody."""
    seen: dict[IPv4Network, int] = {}
    for number, each in enumerate(environment.network.authorized):
        key = ("network", "authorized", number, "cidr")
        if each.cidr.prefixlen < 8:
            yield Finding(key, f"{each.cidr} is (nearly) everybody.", "write the ranges of the company's own networks")
        elif each.cidr in seen:
            yield Finding(key, f"{each.cidr} is item {seen[each.cidr]} already.", "remove one of the two")
        seen.setdefault(each.cidr, number)
