"""The platform contract: every name that the workloads must agree on, as JSON.

``configs/platform/<env>.json`` is written by ``make goldens``, committed, and compared in CI.
"""

from __future__ import annotations

import json
from typing import Any

from infra import names as n
from infra.machines import MACHINES
from infra.settings import Environment

VERSION = 1
LOCAL_SSD_GB = 375


def contract(environment: Environment) -> dict[str, Any]:
    """The contract of one environment: plain JSON values, in a fixed order."""
    names = n.Names(environment)
    artifactory = environment.artifactory
    return {
        "version": VERSION,
        "environment": environment.name,
        "project": environment.project,
        "region": environment.region,
        "zones": list(environment.zones),
        "cluster": names.cluster,
        "registry": names.registry,
        "buckets": {kind: names.bucket(kind) for kind in n.BUCKETS},
        "artifactory": {
            "url": artifactory.url,
            "models": artifactory.models,
            "published": artifactory.published,
        },
        "labels": {
            "pool": n.POOL_LABEL,
            "capacity": n.CAPACITY_LABEL,
            "compute_class": n.COMPUTE_CLASS_LABEL,
            "team": n.TEAM_LABEL,
            "run": n.RUN_LABEL,
            "stage": n.STAGE_LABEL,
        },
        "taints": {"spot": n.SPOT_TAINT, "gpu": n.GPU_TAINT, "compute_class": n.COMPUTE_CLASS_LABEL},
        "service_accounts": list(n.ROLES),
        "stages": dict(n.STAGE_ROLES),
        "secrets": {name: {"secret": names.secret(name), "roles": list(roles)} for name, roles in n.SECRETS.items()},
        "secret_classes": {
            role: names.secret_class(role) for role in n.ROLES if any(role in readers for readers in n.SECRETS.values())
        },
        "local_queue": names.local_queue,
        "priorities": dict(n.PRIORITIES),
        "controllers": {
            name: namespace for name, namespace in n.CONTROLLER_NAMESPACES.items() if _is_on(name, environment)
        },
        "egress": environment.network.egress,
        "grace_seconds": {"spot": spot_grace_seconds(environment), "on-demand": 600},
        "pools": {name: _pool(environment, name) for name in environment.pools},
        "teams": {
            name: {
                "namespace": names.team_namespace(name),
                "cluster_queue": names.cluster_queue(name),
                "gpus": team.gpus,
                "budget": team.budget,
            }
            for name, team in environment.teams.items()
        },
    }


def render(environment: Environment) -> str:
    """The contract as the text of its file."""
    return json.dumps(contract(environment), indent=2) + "\n"


def spot_grace_seconds(environment: Environment) -> int:
    """How long a pod on a spot node has after SIGTERM.

    GKE gives 15 s; from 1.35 a node pool can ask for up to 120 s (kubeletConfig.shutdownGracePeriodSeconds).
    """
    version = environment.cluster.min_version
    return 120 if version is not None and int(version.split(".")[1]) >= 35 else 15


def _is_on(controller: str, environment: Environment) -> bool:
    optional = {"keda": environment.controllers.keda, "argo-cd": environment.controllers.argo_cd}
    return optional.get(controller, True)


def _pool(environment: Environment, name: str) -> dict[str, Any]:
    pool = environment.pools[name]
    machine = MACHINES[pool.machine]
    return {
        "machine": pool.machine,
        "cpus": machine.cpus,
        "memory_gb": machine.memory_gb,
        "gpus": machine.gpus,
        "accelerator": machine.accelerator,
        "scratch_gb": machine.local_ssds * LOCAL_SSD_GB,
        "capacity": list(pool.capacity),
        "min": pool.min,
        "max": pool.max,
        "zones": list(pool.zones or environment.zones),
        "compute_class": name,
    }
