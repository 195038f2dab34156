"""Kueue's objects: what there is (flavors), who owns how much of it (queues), and who lends to whom (a cohort)."""

from __future__ import annotations

from infra import names as n
from infra.machines import MACHINES
from infra.objects import quotas
from infra.objects.manifest import Object, manifest, team_namespaces
from infra.objects.quotas import Amount
from infra.settings import Environment

API = "kueue.x-k8s.io/v1beta2"
GPU_RESOURCE = "nvidia.com/gpu"


def objects(environment: Environment) -> list[Object]:
    """Priorities, a ResourceFlavor a pool, the Cohort, and a ClusterQueue and a LocalQueue a team."""
    names = n.Names(environment)
    return [
        *(
            manifest(API, "WorkloadPriorityClass", name, value=value, description=f"Admitted by priority {value}.")
            for name, value in n.PRIORITIES.items()
        ),
        *(_flavor(environment, pool) for pool in environment.pools),
        manifest(
            API,
            "Cohort",
            names.cohort,
            spec={"resourceGroups": [_resources(environment, quotas.shared(environment), limits=None)]},
        ),
        *(_cluster_queue(environment, team) for team in environment.teams),
        *(
            manifest(API, "LocalQueue", names.local_queue, namespace, spec={"clusterQueue": names.cluster_queue(team)})
            for team, namespace in team_namespaces(environment).items()
        ),
    ]


def _flavor(environment: Environment, pool: str) -> Object:
    """A pool. Kueue gives its node labels and tolerations to the pods that it admits to it."""
    settings = environment.pools[pool]
    tolerations = [{"key": n.COMPUTE_CLASS_LABEL, "operator": "Equal", "value": pool, "effect": "NoSchedule"}]
    if MACHINES[settings.machine].gpus:
        tolerations.append({"key": n.GPU_TAINT, "operator": "Exists", "effect": "NoSchedule"})
    if "spot" in settings.capacity:
        tolerations.append({"key": n.SPOT_TAINT, "operator": "Equal", "value": "true", "effect": "NoSchedule"})
    return manifest(
        API,
        "ResourceFlavor",
        pool,
        spec={"nodeLabels": {n.COMPUTE_CLASS_LABEL: pool}, "tolerations": tolerations},
    )


def _cluster_queue(environment: Environment, team: str) -> Object:
    names = n.Names(environment)
    settings = environment.teams[team]
    limits = None if settings.borrow is None else quotas.shares(environment, settings.borrow)
    return manifest(
        API,
        "ClusterQueue",
        names.cluster_queue(team),
        labels={n.TEAM_LABEL: team},
        spec={
            "cohortName": names.cohort,
            "namespaceSelector": {"matchLabels": {n.TEAM_LABEL: team}},
            # A large run at the head must not hold up a small one that fits now.
            "queueingStrategy": "BestEffortFIFO",
            "resourceGroups": [_resources(environment, quotas.nominal(environment, team), limits)],
            "fairSharing": {"weight": f"{settings.weight:g}"},
            # A team takes back what it lent; priorities decide who starts next, never who is stopped.
            "preemption": {"reclaimWithinCohort": "Any", "withinClusterQueue": "Never"},
        },
    )


def _resources(environment: Environment, amounts: dict[str, Amount], limits: dict[str, int] | None) -> Object:
    """All pools in one group: a pod gets its CPU, memory and GPUs from the same pool."""
    return {
        "coveredResources": ["cpu", "memory", GPU_RESOURCE],
        "flavors": [_quota(pool, amounts[pool], limits) for pool in environment.pools],
    }


def _quota(pool: str, amount: Amount, limits: dict[str, int] | None) -> Object:
    gpus: Object = {"name": GPU_RESOURCE, "nominalQuota": str(amount.gpus)}
    if limits is not None and pool in limits:
        gpus["borrowingLimit"] = str(limits[pool])
    return {
        "name": pool,
        "resources": [
            {"name": "cpu", "nominalQuota": str(amount.cpus)},
            {"name": "memory", "nominalQuota": f"{amount.memory_gb}Gi"},
            gpus,
        ],
    }
