"""GKE ComputeClasses: for each pool, in which order its ways of buying nodes are tried. Pure.

A pod asks for a pool by the node selector ``cloud.google.com/compute-class``; GKE adds the toleration. Fields are
those of the custom resource ComputeClass, cloud.google.com/v1, as its reference describes them.
"""

from __future__ import annotations

from typing import Any

from infra.machines import MACHINES
from infra.names import Names
from infra.settings import Environment

IDLE_MINUTES = 5
"""How long a node waits for another pod: stages of a run follow one another within a minute or two."""
GPU_BUSY_PERCENT = 1
"""A node with fewer of its GPUs in use than this is given up. One of eight is 12.5 %, so a node is either without
any pod that has a GPU, or left alone: no training is moved."""


def objects(environment: Environment) -> list[dict[str, Any]]:
    """One ComputeClass a pool, named as the pool."""
    return [_compute_class(environment, name) for name in environment.pools]


def _compute_class(environment: Environment, name: str) -> dict[str, Any]:
    names = Names(environment)
    pool = environment.pools[name]
    policy: dict[str, Any] = {"consolidationDelayMinutes": IDLE_MINUTES}
    if MACHINES[pool.machine].gpus:
        policy["gpuConsolidationThreshold"] = GPU_BUSY_PERCENT
    return {
        "apiVersion": "cloud.google.com/v1",
        "kind": "ComputeClass",
        "metadata": {"name": name},
        "spec": {
            # An entry each: GKE sees no order among the node pools of one entry.
            "priorities": [{"nodepools": [names.node_pool(name, capacity)]} for capacity in pool.capacity],
            "nodePoolAutoCreation": {"enabled": False},
            "whenUnsatisfiable": "DoNotScaleUp",
            # Moving a training back to cheaper nodes costs what it did since its last checkpoint.
            "activeMigration": {"optimizeRulePriority": False},
            "autoscalingPolicy": policy,
        },
    }
