"""Admission rules of team namespaces: what uses GPUs goes through the queue, and says so when it does not.

Kueue could itself hold back jobs that name no queue, but then they wait for ever without a word.
"""

from __future__ import annotations

from infra import names as n
from infra.objects.manifest import Object, manifest
from infra.objects.queues import GPU_RESOURCE
from infra.settings import Environment

API = "admissionregistration.k8s.io/v1"
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"


def objects(environment: Environment) -> list[Object]:
    """Two ValidatingAdmissionPolicies and their bindings."""
    queues = ", ".join(map(n.Names(environment).local_queue, environment.pools))
    return [
        *_policy(
            "tunery-jobs-queue",
            [
                {"apiGroups": ["batch"], "apiVersions": ["v1"], "resources": ["jobs"]},
                {"apiGroups": ["jobset.x-k8s.io"], "apiVersions": ["v1alpha2"], "resources": ["jobsets"]},
            ],
            f"(has(object.metadata.labels) && '{QUEUE_LABEL}' in object.metadata.labels) || {_owned('JobSet')}",
            f"A Job or JobSet of a team needs the label {QUEUE_LABEL}, with the queue of its pool: {queues}.",
        ),
        *_policy(
            "tunery-gpus-queue",
            [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}],
            f"{_owned('Job', 'ReplicaSet')} || !object.spec.containers.exists(c, "
            f"has(c.resources) && has(c.resources.limits) && '{GPU_RESOURCE}' in c.resources.limits)",
            "A pod with a GPU comes from a Job, a JobSet or a Deployment: Kueue counts no other.",
        ),
    ]


def _owned(*kinds: str) -> str:
    """A CEL expression: the object belongs to one of these kinds."""
    return (
        "(has(object.metadata.ownerReferences) && "
        f"object.metadata.ownerReferences.exists(owner, owner.kind in {list(kinds)}))"
    )


def _policy(name: str, resources: list[Object], expression: str, message: str) -> list[Object]:
    return [
        manifest(
            API,
            "ValidatingAdmissionPolicy",
            name,
            spec={
                "failurePolicy": "Fail",
                "matchConstraints": {"resourceRules": [{**rule, "operations": ["CREATE"]} for rule in resources]},
                "validations": [{"expression": expression, "message": message, "reason": "Invalid"}],
            },
        ),
        manifest(
            API,
            "ValidatingAdmissionPolicyBinding",
            name,
            spec={
                "policyName": name,
                "validationActions": ["Deny"],
                "matchResources": {
                    "namespaceSelector": {"matchExpressions": [{"key": n.TEAM_LABEL, "operator": "Exists"}]}
                },
            },
        ),
    ]
