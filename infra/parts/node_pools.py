"""The node pools: one for the controllers, and for each pool of the settings one for each way of buying its nodes.

Adding a pool is a name with ``machine``, ``gpus`` and ``max`` in the environment's YAML. Which of a pool's node pools
is tried first is not said here but by its ComputeClass (``infra/compute_class.py``).
"""

from __future__ import annotations

from typing import Any

from infra.bindings import google
from infra.names import SYSTEM_POOL
from infra.parts import node_config
from infra.parts.cluster import Cluster
from infra.scope import Scope
from infra.settings import Pool
from infra.settings_types import Capacity

STANDING: tuple[Capacity, ...] = ("reservation", "on-demand")
"""Which capacity holds the nodes that always run: one that is paid for anyway, else one that stays."""


def add(scope: Scope, cluster: Cluster, node_email: str) -> dict[str, Any]:
    """Adds all node pools; name of the GKE node pool -> resource. ``node_email`` is the nodes' service account."""
    environment = scope.environment
    pools = {SYSTEM_POOL: _system(scope, cluster, node_email)}
    for name, pool in environment.pools.items():
        for capacity in pool.capacity:
            pools[scope.names.node_pool(name, capacity)] = _pool(scope, cluster, node_email, name, capacity)
    return pools


def standing_capacity(pool: Pool) -> Capacity | None:
    """The capacity whose node pool has ``pool.min`` nodes at all times; None when all that is bought can be taken back,
    and then the settings allow no minimum."""
    return next((capacity for capacity in STANDING if capacity in pool.capacity), None)


def _system(scope: Scope, cluster: Cluster, node_email: str) -> Any:
    environment = scope.environment
    return _node_pool(
        scope,
        cluster,
        SYSTEM_POOL,
        zones=environment.zones,
        node_config=node_config.system(environment, node_email, cluster.key),
        minimum=environment.system.min,
        # Replicas of a controller belong in different zones.
        autoscaling={"total_max_node_count": environment.system.max, "location_policy": "BALANCED"},
        management={"auto_repair": True, "auto_upgrade": True},
        upgrade_settings=_upgrade("on-demand"),
    )


def _pool(scope: Scope, cluster: Cluster, node_email: str, name: str, capacity: Capacity) -> Any:
    environment = scope.environment
    pool = environment.pools[name]
    return _node_pool(
        scope,
        cluster,
        scope.names.node_pool(name, capacity),
        zones=pool.zones or environment.zones,
        node_config=node_config.pool(environment, name, capacity, node_email, cluster.key),
        minimum=pool.min if capacity == standing_capacity(pool) else 0,
        # Whichever zone has the machine: a run uses one node, and GPUs are short in some zone at any time.
        autoscaling={"total_max_node_count": pool.max, "location_policy": "ANY"},
        # GKE asks for this on flex-start: a repair would replace a node that cannot be had again at once.
        management={"auto_repair": capacity != "flex-start", "auto_upgrade": True},
        upgrade_settings=_upgrade(capacity),
    )


def _upgrade(capacity: Capacity) -> dict[str, Any] | None:
    """How nodes are replaced by newer ones; None where GKE chooses (short-lived upgrades of flex-start).

    A node more than the pool has is there for the asking only on demand: spot may have none, a reservation has none.
    """
    if capacity == "flex-start":
        return None
    surge = capacity == "on-demand"
    return {"strategy": "SURGE", "max_surge": int(surge), "max_unavailable": int(not surge)}


def _node_pool(
    scope: Scope,
    cluster: Cluster,
    name: str,
    *,
    zones: tuple[str, ...],
    minimum: int,
    autoscaling: dict[str, Any],
    **settings: Any,
) -> Any:
    return google.container_node_pool.ContainerNodePool(
        scope.stack,
        f"node-pool-{name}",
        name=name,
        cluster=cluster.cluster.name,
        location=scope.environment.region,
        node_locations=list(zones),
        # The count at the start is of each zone; from then on the autoscaler holds the total.
        initial_node_count=-(-minimum // len(zones)),
        autoscaling={"total_min_node_count": minimum, **autoscaling},
        network_config={"enable_private_nodes": True},
        # Another count at the start would destroy the pool and create it again.
        lifecycle={"ignore_changes": ["initial_node_count"]},
        **settings,
    )
