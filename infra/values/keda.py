"""KEDA. Chart keys: kedacore/charts, keda/README.md."""

from __future__ import annotations

from typing import Any

from infra import names as n
from infra.charts import CHARTS
from infra.objects.manifest import team_namespaces
from infra.objects.metrics import KEDA_METRICS_PORT
from infra.settings import Environment
from infra.values.placement import CONTAINER_SECURITY, NODES, POD_SECURITY, replicas, resources, spread

PARTS = {
    "operator": "keda-operator",
    "metricServer": "keda-operator-metrics-apiserver",
    "webhooks": "keda-admission-webhooks",
}
"""A part's name in the chart's values, and the label ``app.kubernetes.io/name`` of its pods."""


def values(environment: Environment) -> dict[str, Any]:
    """Values of the chart ``keda``."""
    names = n.Names(environment)
    count = replicas(environment)
    available = environment.cluster.high_availability
    budgets = {part: {"maxUnavailable": 1} for part in PARTS} if available else {}
    return {
        "global": {"image": {"registry": names.image_host("ghcr")}},
        "image": {
            "pullPolicy": "IfNotPresent",
            **{part: {"tag": CHARTS["keda"].app} for part in ("keda", "metricsApiServer", "webhooks")},
        },
        # Only the teams' endpoints, and only what has a Deployment: the chart's default is every kind there is.
        "watchNamespace": ",".join(team_namespaces(environment).values()),
        "rbac": {"create": True, "enabledCustomScaledRefKinds": False, "aggregateToDefaultRoles": False},
        "permissions": {
            "operator": {"restrict": {"secret": True}},
            "metricServer": {"restrict": {"secret": True}},
        },
        "operator": {"replicaCount": count},
        "metricsServer": {"replicaCount": count},
        "webhooks": {"enabled": True, "replicaCount": count},
        "nodeSelector": NODES,
        "priorityClassName": names.priority_class("controllers"),
        "podSecurityContext": {part: {**POD_SECURITY, "runAsUser": 1000} for part in PARTS},
        "securityContext": dict.fromkeys(PARTS, CONTAINER_SECURITY),
        "resources": {
            "operator": resources("100m", "128Mi", "1000Mi"),
            "metricServer": resources("100m", "128Mi", "1000Mi"),
            "webhooks": resources("50m", "64Mi", "256Mi"),
        },
        "topologySpreadConstraints": {
            "operator": spread({"app.kubernetes.io/name": PARTS["operator"]}),
            "metricsServer": spread({"app.kubernetes.io/name": PARTS["metricServer"]}),
            "webhooks": spread({"app.kubernetes.io/name": PARTS["webhooks"]}),
        },
        "podDisruptionBudget": budgets,
        "prometheus": {"operator": {"enabled": True, "port": KEDA_METRICS_PORT}, "metricServer": {"enabled": True}},
        "crds": {"install": True},
    }
