"""Argo Workflows. Chart keys: argo-helm's README, values and templates of the versions around 1.0.14.

The chart itself could not be rendered where this was written: `helm show values` of the pinned version settles a doubt.
"""

from __future__ import annotations

from typing import Any

from infra import names as n
from infra.charts import CHARTS
from infra.objects.controllers import ARGO_CONTROLLER, ARGO_SERVER
from infra.objects.manifest import team_namespaces
from infra.objects.metrics import ARGO_METRICS_PORT
from infra.settings import Environment
from infra.values.placement import CONTAINER_SECURITY, NODES, POD_SECURITY, replicas, resources, spread

DAY = 24 * 60 * 60
WORKFLOWS = 200
WORKFLOWS_A_TEAM = 50
LONGEST_DAYS = 14
"""Far above any run: a workflow that hangs must end some day."""


def values(environment: Environment) -> dict[str, Any]:
    """Values of the chart ``argo-workflows``."""
    names = n.Names(environment)
    registry = {"registry": names.image_host("quay")}
    available = environment.cluster.high_availability
    common = {
        "replicas": replicas(environment),
        "pdb": {"enabled": available, "maxUnavailable": 1} if available else {"enabled": False},
        "nodeSelector": NODES,
        "priorityClassName": names.priority_class("controllers"),
        "podSecurityContext": POD_SECURITY,
        # The chart grants its accounts the whole cluster; objects/controllers.py grants the teams' namespaces.
        "rbac": {"create": False},
        "clusterWorkflowTemplates": {"enabled": False},
    }
    return {
        "images": {"tag": CHARTS["argo-workflows"].app, "pullPolicy": "IfNotPresent"},
        # `full` runs a Job that fetches the definitions from GitHub, where a cluster without egress cannot go.
        "crds": {"install": True, "keep": True, "full": False},
        "createAggregateRoles": False,
        "workflow": {"serviceAccount": {"create": False}, "rbac": {"create": False}},
        "controller": {
            **common,
            "image": registry,
            "serviceAccount": {"create": True, "name": ARGO_CONTROLLER},
            "workflowNamespaces": list(team_namespaces(environment).values()),
            "parallelism": WORKFLOWS,
            "namespaceParallelism": WORKFLOWS_A_TEAM,
            "resourceRateLimit": {"limit": 20, "burst": 10},
            # Argo would serve them by a certificate of its own, which the collector has no reason to trust; the
            # network policy admits nobody else.
            "metricsConfig": {"enabled": True, "port": ARGO_METRICS_PORT, "secure": False},
            "logging": {"level": "info", "format": "json"},
            "resources": resources("200m", "512Mi", "2Gi"),
            "topologySpreadConstraints": spread({"app.kubernetes.io/name": "argo-workflows-workflow-controller"}),
            "securityContext": CONTAINER_SECURITY,
            "workflowDefaults": {"spec": _workflow_defaults()},
            # Node events fill etcd; a stage writes its own.
            "nodeEvents": {"enabled": False},
        },
        "mainContainer": {"imagePullPolicy": "IfNotPresent"},
        "executor": {
            "image": registry,
            "resources": resources("50m", "64Mi", "256Mi"),
            "securityContext": CONTAINER_SECURITY,
        },
        "server": {
            **common,
            "image": registry,
            "serviceAccount": {"create": True, "name": ARGO_SERVER},
            # Each caller shows a Kubernetes token of their own; the server lends nobody its rights.
            "authModes": ["client"],
            "sso": {"enabled": False},
            "ingress": {"enabled": False},
            "logging": {"level": "info", "format": "json"},
            "resources": resources("100m", "128Mi", "512Mi"),
            "topologySpreadConstraints": spread({"app.kubernetes.io/name": "argo-workflows-server"}),
            "securityContext": CONTAINER_SECURITY,
        },
        "useStaticCredentials": False,
        # Stages pass paths and manifests; their bytes go to Cloud Storage themselves.
        "artifactRepository": {"archiveLogs": False},
    }


def _workflow_defaults() -> dict[str, Any]:
    return {
        "serviceAccountName": "runner",
        "activeDeadlineSeconds": LONGEST_DAYS * DAY,
        "ttlStrategy": {"secondsAfterSuccess": 7 * DAY, "secondsAfterFailure": 30 * DAY},
        "podGC": {"strategy": "OnPodSuccess", "deleteDelayDuration": "600s"},
        "archiveLogs": False,
        "securityContext": POD_SECURITY,
    }
