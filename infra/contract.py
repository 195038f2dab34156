"""The platform contract: every name that the workloads must agree on, as JSON.

``configs/platform/<env>.json`` is written by ``make goldens``, committed, and compared in CI.
"""

from __future__ import annotations

import json
from typing import Any

from infra import names as n
from infra.machines import MACHINES
from infra.settings import Budget, Environment, SystemPool

VERSION = 1
LOCAL_SSD_GB = 375
SPOT_GRACE_SECONDS = 15
"""How long a pod on a spot node has after SIGTERM: half of GKE's 30 s, the rest is for system pods.

GKE 1.35 can give 120 s in all (kubeletConfig.shutdownGracePeriodSeconds), but the google provider's release 6.50.0,
the last with CDKTF bindings, has no field for it.
"""


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
        "state_bucket": environment.state_bucket,
        "buckets": {kind: names.bucket(kind) for kind in n.BUCKETS},
        "keys": list(n.KEYS),
        "artifactory": {
            "url": artifactory.url,
            "models": artifactory.models,
            "published": artifactory.published,
            "signing_keys": artifactory.signing_keys,
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
        "secrets": {
            name: {"secret": names.secret(name), "roles": list(roles), "optional": names.does_without(name)}
            for name, roles in n.SECRETS.items()
        },
        "secret_classes": {role: names.secret_class(role) for role in n.ROLES if names.mounted_secrets(role)},
        "priorities": dict(n.PRIORITIES),
        "controllers": {
            name: namespace for name, namespace in n.CONTROLLER_NAMESPACES.items() if _is_on(name, environment)
        },
        "egress": environment.network.egress,
        "high_availability": environment.cluster.high_availability,
        "deletion_protection": environment.cluster.deletion_protection,
        "retention_days": {
            "runs": environment.storage.run_days,
            "logs": environment.storage.log_days,
            "deleted": environment.storage.soft_delete_days,
        },
        "budget": _budget(environment.budget),
        "grace_seconds": {"spot": SPOT_GRACE_SECONDS, "on-demand": 600},
        "system": _system(environment.system),
        "pools": {name: _pool(environment, name) for name in environment.pools},
        "teams": {
            name: {
                "namespace": names.team_namespace(name),
                "folder": names.team_folder(name),
                "cluster_queues": {pool: names.cluster_queue(name, pool) for pool in environment.pools},
                "group": team.group,
                "gpus": team.gpus,
                "borrow": team.borrow,
                "weight": team.weight,
                "budget": team.budget,
            }
            for name, team in environment.teams.items()
        },
    }


def render(environment: Environment) -> str:
    """The contract as the text of its file."""
    return json.dumps(contract(environment), indent=2) + "\n"


def _is_on(controller: str, environment: Environment) -> bool:
    optional = {"keda": environment.controllers.keda, "argo-cd": environment.controllers.argo_cd}
    return optional.get(controller, True)


def _budget(budget: Budget | None) -> dict[str, Any] | None:
    return None if budget is None else {"amount": budget.amount, "currency": budget.currency}


def _system(pool: SystemPool) -> dict[str, Any]:
    machine = MACHINES[pool.machine]
    return {
        "machine": pool.machine,
        "cpus": machine.cpus,
        "memory_gb": machine.memory_gb,
        "min": pool.min,
        "max": pool.max,
        "disk_gb": pool.disk_gb,
    }


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
        "disk_gb": pool.disk_gb,
        "capacity": list(pool.capacity),
        "reservation": pool.reservation,
        "min": pool.min,
        "max": pool.max,
        "zones": list(pool.zones or environment.zones),
        "compute_class": name,
        "queue": n.Names(environment).local_queue(name),
    }
