"""Where every controller runs, how often, and with how few rights."""

from __future__ import annotations

from typing import Any

from infra import names as n
from infra.settings import Environment

NODES = {"kubernetes.io/os": "linux", n.POOL_LABEL: n.SYSTEM_POOL}
"""The system pool: always there and never spot."""

POD_SECURITY = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
CONTAINER_SECURITY = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}
"""Both are what the Pod Security Standard ``restricted`` asks for, and a read-only root file system."""


def replicas(environment: Environment) -> int:
    """One, or two where the environment is highly available: one leads, the other takes over."""
    return 2 if environment.cluster.high_availability else 1


def resources(cpu: str, memory: str, memory_limit: str | None = None) -> dict[str, Any]:
    """Requests, and a limit of memory. No limit of CPU: a throttled controller answers its webhooks too late."""
    return {"requests": {"cpu": cpu, "memory": memory}, "limits": {"memory": memory_limit or memory}}


def spread(labels: dict[str, str]) -> list[dict[str, Any]]:
    """Replicas in different zones and on different nodes, where there are enough of them."""
    return [
        {
            "maxSkew": 1,
            "topologyKey": key,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": labels},
        }
        for key in ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
    ]
