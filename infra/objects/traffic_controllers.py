"""NetworkPolicies of the controllers' namespaces: they talk to the API server, and it to their webhooks."""

from __future__ import annotations

from infra.objects.manifest import Object, controller_namespaces
from infra.objects.traffic import (
    HTTPS,
    PROMETHEUS,
    api_server_reached,
    blocks,
    everything_denied,
    google_reached,
    in_namespace,
    names_resolved,
    policy,
    tcp,
)
from infra.settings import Environment

WEBHOOKS: dict[str, tuple[int, ...]] = {"jobset": (9443,), "kueue": (9443, 8082), "keda": (9443, 6443)}
"""Where the API server reaches a controller: admission webhooks, Kueue's visibility API, KEDA's metrics API."""

ASKS_GOOGLE = ("keda",)
"""KEDA scales by what Managed Service for Prometheus and Pub/Sub say."""

ASKS_GIT = ("argo-cd",)


def objects(environment: Environment) -> list[Object]:
    """The policies of every controller's namespace."""
    return [
        item
        for controller, namespace in controller_namespaces(environment).items()
        for item in _controller(environment, controller, namespace)
    ]


def _controller(environment: Environment, controller: str, namespace: str) -> list[Object]:
    network = environment.network
    policies = [
        everything_denied(namespace),
        names_resolved(namespace),
        api_server_reached(environment, namespace, {}),
        policy(
            "inside",
            namespace,
            {},
            ingress=[{"from": [{"podSelector": {}}, in_namespace(PROMETHEUS)]}],
            egress=[{"to": [{"podSelector": {}}]}],
        ),
    ]
    if controller in WEBHOOKS:
        # The API server comes from its own range, or through the konnectivity agents in kube-system.
        callers = [*blocks(network.control_plane, network.nodes), in_namespace("kube-system")]
        policies.append(
            policy("webhooks", namespace, {}, ingress=[{"from": callers, "ports": tcp(*WEBHOOKS[controller])}])
        )
    if controller in ASKS_GOOGLE:
        policies.append(google_reached(namespace))
    if controller in ASKS_GIT:
        policies.append(policy("git", namespace, {}, egress=[{"to": blocks("0.0.0.0/0"), "ports": tcp(HTTPS, 22)}]))
    return policies
