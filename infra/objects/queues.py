"""Kueue's objects: what there is (flavors), who owns how much of it (queues), and who lends to whom (a cohort).

A team has a queue for each pool. In one queue for all of them a run that waits for one pool would hold up those for
the others: Kueue keeps the order of a queue, whatever its runs ask for (kueue issue 8309).
"""

from __future__ import annotations

from infra import names as n
from infra.machines import MACHINES
from infra.objects import quotas
from infra.objects.manifest import Object, manifest, team_namespaces
from infra.objects.quotas import Amount
from infra.settings import Environment

API = "kueue.x-k8s.io/v1beta2"
GPU_RESOURCE = "nvidia.com/gpu"
STRATEGY = "StrictFIFO"
"""By priority, then by age.

BestEffortFIFO gives what is free to any later run that fits, so that a training on several nodes may wait for ever:
of 200 runs, 53 began before one of higher priority. What is kept free meanwhile costs little, since the autoscaler
takes nodes away that nobody uses.
"""


def objects(environment: Environment) -> list[Object]:
    """Priorities, a ResourceFlavor a pool, the Cohort, and a ClusterQueue and a LocalQueue for each team and pool."""
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
            spec={"resourceGroups": [_resources(quotas.shared(environment), limits={})]},
        ),
        *(_cluster_queue(environment, team, pool) for team in environment.teams for pool in environment.pools),
        *(
            manifest(
                API,
                "LocalQueue",
                names.local_queue(pool),
                namespace,
                spec={"clusterQueue": names.cluster_queue(team, pool)},
            )
            for team, namespace in team_namespaces(environment).items()
            for pool in environment.pools
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


def _cluster_queue(environment: Environment, team: str, pool: str) -> Object:
    names = n.Names(environment)
    settings = environment.teams[team]
    own = quotas.nominal(environment, team)[pool]
    limits = {} if settings.borrow is None else quotas.shares(environment, settings.borrow)
    return manifest(
        API,
        "ClusterQueue",
        names.cluster_queue(team, pool),
        labels={n.TEAM_LABEL: team},
        spec={
            "cohortName": names.cohort,
            "namespaceSelector": {"matchLabels": {n.TEAM_LABEL: team}},
            "queueingStrategy": STRATEGY,
            "resourceGroups": [_resources({pool: own}, limits)],
            "fairSharing": {"weight": f"{settings.weight:g}"},
            # A team takes back what it lent; priorities decide who starts next, never who is stopped.
            "preemption": {"reclaimWithinCohort": "Any", "withinClusterQueue": "Never"},
        },
    )


def _resources(amounts: dict[str, Amount], limits: dict[str, int]) -> Object:
    """All pools in one group: a pod gets its CPU, memory and GPUs from the same pool."""
    return {
        "coveredResources": ["cpu", "memory", GPU_RESOURCE],
        "flavors": [_quota(pool, amount, limits) for pool, amount in amounts.items()],
    }


def _quota(pool: str, amount: Amount, limits: dict[str, int]) -> Object:
    gpus: Object = {"name": GPU_RESOURCE, "nominalQuota": str(amount.gpus)}
    if pool in limits:
        gpus["borrowingLimit"] = str(limits[pool])
    return {
        "name": pool,
        "resources": [
            {"name": "cpu", "nominalQuota": str(amount.cpus)},
            {"name": "memory", "nominalQuota": f"{amount.memory_gb}Gi"},
            gpus,
        ],
    }
