"""PriorityClasses of pods, and what a team's namespace can hold whether or not Kueue admitted it."""

from __future__ import annotations

from infra import names as n
from infra.objects import quotas
from infra.objects.manifest import Object, controller_namespaces, manifest, team_namespaces
from infra.objects.queues import GPU_RESOURCE
from infra.settings import Environment

COUNTS = {
    "pods": "1000",
    "count/jobs.batch": "500",
    "count/jobsets.jobset.x-k8s.io": "200",
    "count/workflows.argoproj.io": "500",
    "persistentvolumeclaims": "20",
    # Endpoints are reached through the company's gateway, never by an address of their own.
    "services.loadbalancers": "0",
    "services.nodeports": "0",
}
"""Objects of a team's namespace: far above use, below what would weigh on the control plane."""


def objects(environment: Environment) -> list[Object]:
    """PriorityClasses; a ResourceQuota and a LimitRange a team, a LimitRange a controller."""
    names = n.Names(environment)
    spaces = team_namespaces(environment)
    return [
        *(
            manifest(
                "scheduling.k8s.io/v1",
                "PriorityClass",
                names.priority_class(purpose),
                value=value,
                globalDefault=False,
                description=f"Pods of {purpose}.",
            )
            for purpose, value in n.POD_PRIORITIES.items()
        ),
        *(
            manifest(
                "v1",
                "ResourceQuota",
                "team",
                namespace,
                spec={"hard": {**COUNTS, f"requests.{GPU_RESOURCE}": str(quotas.most_gpus(environment, team))}},
            )
            for team, namespace in spaces.items()
        ),
        *(_defaults(namespace) for namespace in (*spaces.values(), *controller_namespaces(environment).values())),
    ]


def _defaults(namespace: str) -> Object:
    # No default limit: it would refuse a container that asks for more than it and names no limit of its own.
    return manifest(
        "v1",
        "LimitRange",
        "defaults",
        namespace,
        spec={"limits": [{"type": "Container", "defaultRequest": {"cpu": "100m", "memory": "256Mi"}}]},
    )
