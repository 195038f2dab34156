"""JobSet. Chart keys: registry.k8s.io/jobset/charts/jobset 0.12.0."""

from __future__ import annotations

from typing import Any

from infra import names as n
from infra.charts import CHARTS
from infra.settings import Environment
from infra.values.placement import CONTAINER_SECURITY, NODES, POD_SECURITY, replicas, resources


def values(environment: Environment) -> dict[str, Any]:
    """Values of the chart ``jobset``; it knows no priority class and no topology spread."""
    available = environment.cluster.high_availability
    return {
        "image": {
            "repository": f"{n.Names(environment).image_host('k8s')}/jobset/jobset",
            "tag": CHARTS["jobset"].app,
            "pullPolicy": "IfNotPresent",
        },
        "controller": {
            "replicas": replicas(environment),
            "leaderElection": {"enable": True},
            "resources": resources("200m", "256Mi", "1Gi"),
            "securityContext": CONTAINER_SECURITY,
            "podSecurityContext": POD_SECURITY,
            "nodeSelector": NODES,
            "affinity": _apart() if available else {},
            "podDisruptionBudget": {"enabled": available, "maxUnavailable": 1},
        },
        "certManager": {"enable": False},
        # It would need the Prometheus operator's kinds, which GKE has not.
        "prometheus": {"enable": False},
    }


def _apart() -> dict[str, Any]:
    """Not two replicas on one node, if another has room."""
    return {
        "podAntiAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {
                    "weight": 100,
                    "podAffinityTerm": {
                        "topologyKey": "kubernetes.io/hostname",
                        "labelSelector": {"matchLabels": {"app.kubernetes.io/name": "jobset"}},
                    },
                }
            ]
        }
    }
