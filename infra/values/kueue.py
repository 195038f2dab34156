"""Kueue. Chart keys: registry.k8s.io/kueue/charts/kueue 0.17.1; its configuration is config.kueue.x-k8s.io/v1beta2."""

from __future__ import annotations

from typing import Any

import yaml

from infra import names as n
from infra.charts import CHARTS
from infra.settings import Environment
from infra.values.placement import CONTAINER_SECURITY, NODES, POD_SECURITY, replicas, resources, spread

READY_MINUTES = 30
"""A node takes up to 10 minutes to come (3 priorities tried in turn), and an image of 15 GB as long to be pulled."""
FLEX_START_MINUTES = 120
"""Flex-start waits for capacity before the next priority is tried."""


def values(environment: Environment) -> dict[str, Any]:
    """Values of the chart ``kueue``."""
    names = n.Names(environment)
    return {
        "controllerManager": {
            "replicas": replicas(environment),
            "manager": {
                "image": {
                    "repository": f"{names.image_host('k8s')}/kueue/kueue",
                    "tag": CHARTS["kueue"].app,
                    "pullPolicy": "IfNotPresent",
                },
                "priorityClassName": names.priority_class("controllers"),
                "resources": resources("200m", "512Mi", "1Gi"),
                "podSecurityContext": POD_SECURITY,
                "containerSecurityContext": CONTAINER_SECURITY,
            },
            "nodeSelector": NODES,
            "topologySpreadConstraints": spread({"app.kubernetes.io/name": "kueue"}),
            "podDisruptionBudget": {"enabled": environment.cluster.high_availability, "minAvailable": 1},
        },
        "enablePrometheus": False,
        "enableCertManager": False,
        "enableKueueViz": False,
        "managerConfig": {"controllerManagerConfigYaml": yaml.safe_dump(configuration(environment), sort_keys=False)},
    }


def configuration(environment: Environment) -> dict[str, Any]:
    """The manager's configuration file."""
    return {
        "apiVersion": "config.kueue.x-k8s.io/v1beta2",
        "kind": "Configuration",
        "health": {"healthProbeBindAddress": ":8081"},
        "metrics": {"bindAddress": ":8443", "enableClusterQueueResources": True},
        "webhook": {"port": 9443},
        "leaderElection": {"leaderElect": True, "resourceName": "c1f6bfd2.kueue.x-k8s.io"},
        "controller": {
            "groupKindConcurrency": {"Job.batch": 5, "Workload.kueue.x-k8s.io": 5, "LocalQueue.kueue.x-k8s.io": 1}
        },
        "clientConnection": {"qps": 50, "burst": 100},
        # What names no queue is refused at the door (objects/admission.py) instead of held back in silence.
        "manageJobsWithoutQueueName": False,
        "managedJobsNamespaceSelector": {"matchExpressions": [{"key": n.TEAM_LABEL, "operator": "Exists"}]},
        # Scratch space comes with the node; a queue admits nothing that asks for what it has no quota of.
        "resources": {"excludeResourcePrefixes": ["ephemeral-storage"]},
        "waitForPodsReady": _patience(environment),
        "fairSharing": {"preemptionStrategies": ["LessThanOrEqualToFinalShare", "LessThanInitialShare"]},
        "integrations": {"frameworks": ["batch/job", "jobset.x-k8s.io/jobset"]},
        "objectRetentionPolicies": {"workloads": {"afterFinished": "168h"}},
    }


def _patience(environment: Environment) -> dict[str, Any]:
    """A gang that is not complete in time gives its quota back and queues again, five times."""
    flex = any("flex-start" in pool.capacity for pool in environment.pools.values())
    timeout = f"{FLEX_START_MINUTES if flex else READY_MINUTES}m"
    return {
        "timeout": timeout,
        # A preempted node is replaced the same way as a new one comes.
        "recoveryTimeout": timeout,
        "blockAdmission": False,
        "requeuingStrategy": {
            "timestamp": "Eviction",
            "backoffLimitCount": 5,
            "backoffBaseSeconds": 60,
            "backoffMaxSeconds": 1800,
        },
    }
