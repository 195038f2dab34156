"""The VPC of an environment: one subnet for nodes and pods, and how they leave it.

Google APIs are reached by the private address range of ``private.googleapis.com`` whether or not there is egress, so
what works in ``dev`` works where there is none, and no image or checkpoint crosses Cloud NAT. The network has no
default route: ``network.egress`` adds one with the NAT, and switching it off removes both without touching the VPC.

Without egress nodes talk to one another, to Google APIs, and by HTTPS to private addresses: that is how Artifactory
is reached then, through the company's VPN, Interconnect or Private Service Connect, with its name resolved by the
company's own forwarding zone.

No rule opens nodes to load balancers or to SSH: GKE's Gateway controller opens exactly the ports it balances, and
nobody logs in to a node.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from infra.addresses import GOOGLE_APIS, GOOGLE_APIS_ADDRESSES, PRIVATE_RANGES
from infra.bindings import google
from infra.scope import Scope
from infra.settings import Environment

PODS = "pods"
SERVICES = "services"

GOOGLE_DOMAINS: dict[str, str] = {
    "googleapis.com": "private.googleapis.com",
    "pkg.dev": "pkg.dev",
    "gcr.io": "gcr.io",
    "gke.goog": "gke.goog",
}
"""Domain -> the name in it that holds the addresses. Artifact Registry is pkg.dev, GKE's own images come from gcr.io,
and gke.goog is the control plane's DNS endpoint."""

WEBHOOK_PORTS = ("6443", "8082", "9443")
"""Where controllers listen for the API server: KEDA's metrics, Kueue's visibility, admission webhooks. GKE itself
opens only 443 and 10250 from the control plane to nodes."""

ALLOWED = 1000
DENIED = 65534
"""Just before the rules that every VPC implies, which cannot be logged."""


@dataclass(frozen=True)
class Network:
    """``network`` and ``subnet`` are resources; the ranges are names of the subnet's secondary ranges.

    ``ready`` is what has to exist before a node starts: routes, DNS and firewall rules that nothing refers to.
    """

    network: Any
    subnet: Any
    pods_range: str
    services_range: str
    ready: Sequence[Any]


def add(scope: Scope) -> Network:
    """Adds the VPC, its subnet, Google's private DNS zones, firewall rules, and Cloud NAT where there is egress."""
    network = google.compute_network.ComputeNetwork(
        scope.stack,
        "network",
        name=scope.names.prefix,
        auto_create_subnetworks=False,
        # Always, and not only without egress: changing it later would destroy the network.
        delete_default_routes_on_create=True,
        routing_mode="REGIONAL",
        depends_on=list(scope.apis),
    )
    subnet = _subnet(scope, network)
    ready = [*_routes(scope, network), *_dns(scope, network), *_ingress(scope, network)]
    ready += [_nat(scope, network, subnet)] if scope.environment.network.egress else _egress(scope, network)
    return Network(network, subnet, PODS, SERVICES, tuple(ready))


def _subnet(scope: Scope, network: Any) -> Any:
    ranges = scope.environment.network
    return google.compute_subnetwork.ComputeSubnetwork(
        scope.stack,
        "subnet",
        name=f"{scope.names.prefix}-nodes",
        network=network.id,
        region=scope.environment.region,
        ip_cidr_range=str(ranges.nodes),
        stack_type="IPV4_ONLY",
        secondary_ip_range=[
            {"range_name": PODS, "ip_cidr_range": str(ranges.pods)},
            {"range_name": SERVICES, "ip_cidr_range": str(ranges.services)},
        ],
        private_ip_google_access=True,
        # Half of the packets in five minutes show who talks to whom; all of them in five seconds cost more than NAT.
        log_config={
            "aggregation_interval": "INTERVAL_5_MIN",
            "flow_sampling": 0.5,
            "metadata": "INCLUDE_ALL_METADATA",
        },
    )


def _routes(scope: Scope, network: Any) -> list[Any]:
    destinations = {"google-apis": GOOGLE_APIS}
    if scope.environment.network.egress:
        destinations["internet"] = "0.0.0.0/0"
    return [
        google.compute_route.ComputeRoute(
            scope.stack,
            f"route-{name}",
            name=f"{scope.names.prefix}-{name}",
            network=network.id,
            dest_range=destination,
            # For Google's own addresses this gateway does not leave Google's network.
            next_hop_gateway="default-internet-gateway",
        )
        for name, destination in destinations.items()
    ]


def _dns(scope: Scope, network: Any) -> list[Any]:
    """Names of Google APIs resolve to their private addresses; every query of the network is logged."""
    prefix = scope.names.prefix
    added: list[Any] = [
        google.dns_policy.DnsPolicy(
            scope.stack,
            "dns-policy",
            name=prefix,
            enable_logging=True,
            networks=[{"network_url": network.id}],
        )
    ]
    for domain, holder in GOOGLE_DOMAINS.items():
        label = domain.replace(".", "-")
        zone = google.dns_managed_zone.DnsManagedZone(
            scope.stack,
            f"zone-{label}",
            name=f"{prefix}-{label}",
            dns_name=f"{domain}.",
            description="Google APIs by private addresses",
            visibility="private",
            private_visibility_config={"networks": [{"network_url": network.id}]},
            labels=scope.names.labels(),
        )
        records = {
            "addresses": (f"{holder}.", "A", list(GOOGLE_APIS_ADDRESSES)),
            "wildcard": (f"*.{domain}.", "CNAME", [f"{holder}."]),
        }
        added += [
            google.dns_record_set.DnsRecordSet(
                scope.stack,
                f"record-{label}-{record}",
                managed_zone=zone.name,
                name=name,
                type=kind,
                rrdatas=data,
                ttl=300,
            )
            for record, (name, kind, data) in records.items()
        ]
    return added


def _ingress(scope: Scope, network: Any) -> list[Any]:
    return [
        _rule(
            scope,
            network,
            "webhooks",
            direction="INGRESS",
            source_ranges=[str(scope.environment.network.control_plane)],
            target_tags=[scope.names.node_tag],
            allow=[{"protocol": "tcp", "ports": list(WEBHOOK_PORTS)}],
        ),
        _rule(
            scope,
            network,
            "deny-ingress",
            direction="INGRESS",
            priority=DENIED,
            source_ranges=["0.0.0.0/0"],
            deny=[{"protocol": "all"}],
        ),
    ]


def _egress(scope: Scope, network: Any) -> list[Any]:
    """The ways out of a network without egress; everything else is refused and logged."""
    ranges = scope.environment.network
    inside = [str(ranges.nodes), str(ranges.pods), str(ranges.control_plane)]
    ports = sorted({"443", artifactory_port(scope.environment)})
    return [
        _rule(
            scope,
            network,
            "egress-inside",
            direction="EGRESS",
            destination_ranges=inside,
            allow=[{"protocol": "all"}],
        ),
        _rule(
            scope,
            network,
            "egress-google-apis",
            direction="EGRESS",
            destination_ranges=[GOOGLE_APIS],
            allow=[{"protocol": "tcp", "ports": ["443"]}],
        ),
        _rule(
            scope,
            network,
            "egress-private",
            direction="EGRESS",
            destination_ranges=list(PRIVATE_RANGES),
            allow=[{"protocol": "tcp", "ports": ports}],
        ),
        _rule(
            scope,
            network,
            "deny-egress",
            direction="EGRESS",
            priority=DENIED,
            destination_ranges=["0.0.0.0/0"],
            deny=[{"protocol": "all"}],
        ),
    ]


def artifactory_port(environment: Environment) -> str:
    """The TCP port of the company's Artifactory."""
    return str(urlsplit(environment.artifactory.url).port or 443)


def _rule(scope: Scope, network: Any, name: str, *, priority: int = ALLOWED, **rule: Any) -> Any:
    return google.compute_firewall.ComputeFirewall(
        scope.stack,
        f"firewall-{name}",
        name=f"{scope.names.prefix}-{name}",
        network=network.id,
        priority=priority,
        log_config={"metadata": "INCLUDE_ALL_METADATA"},
        **rule,
    )


def _nat(scope: Scope, network: Any, subnet: Any) -> Any:
    region = scope.environment.region
    router = google.compute_router.ComputeRouter(
        scope.stack, "router", name=scope.names.prefix, network=network.id, region=region
    )
    return google.compute_router_nat.ComputeRouterNat(
        scope.stack,
        "nat",
        name=scope.names.prefix,
        router=router.name,
        region=region,
        nat_ip_allocate_option="AUTO_ONLY",
        source_subnetwork_ip_ranges_to_nat="LIST_OF_SUBNETWORKS",
        subnetwork=[{"name": subnet.id, "source_ip_ranges_to_nat": ["ALL_IP_RANGES"]}],
        # A fetch opens many connections to one host: a node takes ports as it needs them, which Cloud NAT allows
        # only without endpoint-independent mapping.
        enable_dynamic_port_allocation=True,
        enable_endpoint_independent_mapping=False,
        min_ports_per_vm=64,
        max_ports_per_vm=4096,
        log_config={"enable": True, "filter": "ERRORS_ONLY"},
    )
