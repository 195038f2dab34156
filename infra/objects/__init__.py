"""Kubernetes objects of an environment, as plain dicts: what there is beside the controllers' charts.

They are carried by three Helm releases, in the order in which their kinds come to exist: ``foundation`` needs
nothing but Kubernetes, ``gke`` needs kinds that GKE serves, ``queues`` needs Kueue.
"""

from __future__ import annotations

from infra import compute_class
from infra.objects import (
    access,
    admission,
    controllers,
    limits,
    metrics,
    namespaces,
    queues,
    secret_classes,
    traffic,
    traffic_controllers,
)
from infra.objects.manifest import Object
from infra.settings import Environment


def foundation(environment: Environment) -> list[Object]:
    """Namespaces, and who and what may do something in them."""
    return [
        *namespaces.objects(environment),
        *limits.objects(environment),
        *access.objects(environment),
        *controllers.objects(environment),
        *traffic.objects(environment),
        *traffic_controllers.objects(environment),
        *admission.objects(environment),
    ]


def gke(environment: Environment) -> list[Object]:
    """Kinds that GKE and its add-ons serve: capacity, secrets and the scraping of metrics."""
    return [
        *compute_class.objects(environment),
        *secret_classes.objects(environment),
        *metrics.objects(environment),
    ]


__all__ = ["foundation", "gke", "queues"]
