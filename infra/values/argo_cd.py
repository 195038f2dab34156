"""Argo CD, for teams that deliver runs from git. Chart keys: argo-helm, charts/argo-cd/values.yaml of 9.5.14."""

from __future__ import annotations

from typing import Any

from infra import names as n
from infra.objects.manifest import team_namespaces
from infra.settings import Environment
from infra.values.placement import NODES, POD_SECURITY, replicas, resources, spread

REDIS = "8.2.3-alpine"
"""The chart's own default, written down so that a mirror knows what to bring."""


def values(environment: Environment) -> dict[str, Any]:
    """Values of the chart ``argo-cd``."""
    names = n.Names(environment)
    count = replicas(environment)
    available = {"enabled": environment.cluster.high_availability, "maxUnavailable": 1}
    return {
        "crds": {"install": True, "keep": True},
        # With its cluster roles Argo CD may do anything in the cluster; objects/controllers.py grants what it delivers.
        "createClusterRoles": False,
        "createAggregateRoles": False,
        "global": {
            "image": {"repository": f"{names.image_host('quay')}/argoproj/argocd", "imagePullPolicy": "IfNotPresent"},
            "nodeSelector": NODES,
            "priorityClassName": names.priority_class("controllers"),
            "securityContext": POD_SECURITY,
            "logging": {"format": "json"},
        },
        "configs": {
            # The chart's own key for a cluster that is limited to some namespaces.
            "clusterCredentials": {
                "in-cluster": {
                    "server": "https://kubernetes.default.svc",
                    "namespaces": ",".join(team_namespaces(environment).values()),
                    "clusterResources": False,
                    "config": {"tlsClientConfig": {"insecure": False}},
                }
            },
            # No local password: what it shows, kubectl shows as well.
            "cm": {"admin.enabled": "false", "exec.enabled": "false"},
        },
        "controller": {"replicas": 1, "resources": resources("250m", "512Mi", "2Gi")},
        "server": {
            "replicas": count,
            "pdb": available,
            "resources": resources("50m", "128Mi", "512Mi"),
            "topologySpreadConstraints": spread({"app.kubernetes.io/name": "argocd-server"}),
        },
        "repoServer": {
            "replicas": count,
            "pdb": available,
            "resources": resources("100m", "256Mi", "1Gi"),
            "topologySpreadConstraints": spread({"app.kubernetes.io/name": "argocd-repo-server"}),
        },
        "redis": {
            "image": {"repository": f"{names.image_host('dockerhub')}/library/redis", "tag": REDIS},
            "resources": resources("50m", "64Mi", "256Mi"),
        },
        "applicationSet": {"replicas": 0},
        "dex": {"enabled": False},
        "notifications": {"enabled": False},
    }
