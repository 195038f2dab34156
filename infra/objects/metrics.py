"""What Google Cloud Managed Service for Prometheus scrapes beside what GKE reports itself."""

from __future__ import annotations

from infra import names as n
from infra.objects.manifest import Object, manifest
from infra.settings import Environment

ARGO_METRICS_PORT = 9090
KEDA_METRICS_PORT = 8080


def objects(environment: Environment) -> list[Object]:
    """A PodMonitoring each for Argo and KEDA.

    JobSet and Kueue serve theirs only to callers whose token Kubernetes accepts, which the collector has none of.
    """
    scraped = {"argo-workflows": ("argo-workflows-workflow-controller", ARGO_METRICS_PORT)}
    if environment.controllers.keda:
        scraped["keda"] = ("keda-operator", KEDA_METRICS_PORT)
    return [
        manifest(
            "monitoring.googleapis.com/v1",
            "PodMonitoring",
            application,
            n.CONTROLLER_NAMESPACES[controller],
            spec={
                "selector": {"matchLabels": {"app.kubernetes.io/name": application}},
                "endpoints": [{"port": port, "interval": "30s"}],
            },
        )
        for controller, (application, port) in scraped.items()
    ]
