"""NetworkPolicies of team namespaces: nothing in or out but what a stage needs.

Google's addresses come from "Restrict traffic with network policies" and "Workload Identity Federation for GKE" in
Google Cloud's documentation: with Dataplane V2 a pod reaches the metadata server at 169.254.169.254:80, and its
credentials at 169.254.169.252:988.
"""

from __future__ import annotations

from ipaddress import IPv4Network
from urllib.parse import urlsplit

from infra import names as n
from infra.addresses import GOOGLE_APIS, PRIVATE_RANGES
from infra.objects.manifest import Object, manifest, team_namespaces
from infra.settings import Environment

API = "networking.k8s.io/v1"
HTTPS = 443
METADATA = "169.254.169.254/32"
CREDENTIALS = "169.254.169.252/32"
NODE_DNS = "169.254.20.10/32"
"""NodeLocal DNSCache."""
LINK_LOCAL = "169.254.0.0/16"
LOAD_BALANCERS = ("130.211.0.0/22", "35.191.0.0/16")
"""Health checks and proxies of Google's load balancers. Source: Google Cloud, Health checks overview."""
PROMETHEUS = "gmp-system"
"""The namespace of Managed Service for Prometheus' collectors."""
ARGO_LABEL = "workflows.argoproj.io/workflow"
"""Argo puts it on every pod of a workflow: their executor reports to the API server."""


def everything_denied(namespace: str) -> Object:
    """No pod of the namespace receives or opens a connection; further policies add what may."""
    return manifest(
        API, "NetworkPolicy", "deny", namespace, spec={"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    )


def policy(
    name: str,
    namespace: str,
    pods: Object,
    *,
    ingress: list[Object] | None = None,
    egress: list[Object] | None = None,
) -> Object:
    """What the pods that a selector names may receive and open."""
    spec: Object = {"podSelector": pods, "policyTypes": []}
    for kind, rules in (("Ingress", ingress), ("Egress", egress)):
        if rules is not None:
            spec["policyTypes"].append(kind)
            spec[kind.lower()] = rules
    return manifest(API, "NetworkPolicy", name, namespace, spec=spec)


def tcp(*ports: int) -> list[Object]:
    """Ports of a rule."""
    return [{"protocol": "TCP", "port": port} for port in ports]


def blocks(*ranges: object) -> list[Object]:
    """Peers of a rule, by address."""
    return [{"ipBlock": {"cidr": str(cidr)}} for cidr in ranges]


def in_namespace(name: str) -> Object:
    """A peer: every pod of a namespace."""
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}


def names_resolved(namespace: str) -> Object:
    """Any pod may ask for a name."""
    servers = {
        **in_namespace("kube-system"),
        "podSelector": {
            "matchExpressions": [{"key": "k8s-app", "operator": "In", "values": ["kube-dns", "node-local-dns"]}]
        },
    }
    return policy(
        "dns",
        namespace,
        {},
        egress=[
            {
                "to": [servers, *blocks(NODE_DNS, METADATA)],
                "ports": [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")],
            }
        ],
    )


def google_reached(namespace: str) -> Object:
    """Any pod may reach Google's APIs at their private addresses, with the identity of its service account."""
    return policy(
        "google",
        namespace,
        {},
        egress=[
            {"to": blocks(GOOGLE_APIS), "ports": tcp(HTTPS)},
            {"to": blocks(METADATA), "ports": tcp(80)},
            {"to": blocks(CREDENTIALS), "ports": tcp(988)},
        ],
    )


def api_server_reached(environment: Environment, namespace: str, pods: Object) -> Object:
    """The pods may reach Kubernetes: the control plane's own range, or its endpoint in the range of the nodes."""
    return policy(
        "kubernetes",
        namespace,
        pods,
        egress=[
            {"to": blocks(environment.network.control_plane, environment.network.nodes), "ports": tcp(HTTPS)},
        ],
    )


def objects(environment: Environment) -> list[Object]:
    """The policies of every team's namespace."""
    return [item for namespace in team_namespaces(environment).values() for item in _team(environment, namespace)]


def _team(environment: Environment, namespace: str) -> list[Object]:
    gang = _stages("train")
    endpoints = _stages("serve")
    return [
        everything_denied(namespace),
        names_resolved(namespace),
        google_reached(namespace),
        api_server_reached(environment, namespace, {"matchExpressions": [{"key": ARGO_LABEL, "operator": "Exists"}]}),
        # NCCL opens ports of its own choosing between the pods of a training.
        policy(
            "gang",
            namespace,
            gang,
            ingress=[{"from": [{"podSelector": gang}]}],
            egress=[{"to": [{"podSelector": gang}]}],
        ),
        policy(
            "endpoints",
            namespace,
            endpoints,
            ingress=[{"from": [{"podSelector": {}}, in_namespace(PROMETHEUS), *blocks(*LOAD_BALANCERS)]}],
        ),
        policy("outside", namespace, _outside(environment), egress=[_hub(environment)]),
    ]


def _stages(*stages: str) -> Object:
    return {"matchExpressions": [{"key": n.STAGE_LABEL, "operator": "In", "values": list(stages)}]}


def _outside(environment: Environment) -> Object:
    """Stages whose role holds a token for something outside: the hub, and where there is egress a tracker."""
    secrets = ["artifactory-token", "hf-token", *(["wandb-key"] if environment.network.egress else [])]
    roles = {role for secret in secrets for role in n.SECRETS[secret]}
    return _stages(*(stage for stage, role in n.STAGE_ROLES.items() if role in roles))


def _hub(environment: Environment) -> Object:
    """HTTPS to anywhere outside the cluster; without egress, to private addresses only.

    Artifactory's addresses change, and a NetworkPolicy cannot name a host.
    """
    network = environment.network
    port = urlsplit(environment.artifactory.url).port or HTTPS
    own = [str(cidr) for cidr in (network.pods, network.services, network.nodes, network.control_plane)]
    ranges = ("0.0.0.0/0",) if network.egress else PRIVATE_RANGES
    return {
        "to": [
            {"ipBlock": {"cidr": cidr, "except": [part for part in (*own, LINK_LOCAL) if _inside(part, cidr)]}}
            for cidr in ranges
        ],
        "ports": tcp(*sorted({HTTPS, port})),
    }


def _inside(part: str, whole: str) -> bool:
    return IPv4Network(part).subnet_of(IPv4Network(whole))
