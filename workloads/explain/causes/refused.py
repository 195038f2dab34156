"""The API server did not let the run's objects be made."""

from __future__ import annotations

import re

from workloads.explain.cause import Act, Found, cause, found
from workloads.explain.evidence import Evidence

_DEPLOY = "deploy the platform stack again (cdktf deploy platform-{environment}); then {again}"


@cause(
    "webhook-away",
    "A controller's webhook does not answer, and until it does nothing of its kind can be made.",
    Act.OPERATIONS,
    "kubectl get pods -A -l control-plane=controller-manager, and restart what is down; then {again}",
)
def webhook_away(e: Evidence) -> Found | None:
    said = e.refused(r"failed calling webhook")
    if said is None:
        return None
    name = re.search(r'failed calling webhook \\?"([^"\\]+)', said)
    service = re.search(r"//([\w-]+)\.([\w-]+)\.svc", said)
    who = f"{service[1]} in {service[2]}" if service else (name[1] if name else "a controller")
    return found(f"The webhook {who} does not answer, so the {e.stage} of {e.run} cannot be made.", said)


@cause("kind-missing", "The cluster does not know a kind of object that the run needs.", Act.OPERATIONS, _DEPLOY)
def kind_missing(e: Evidence) -> Found | None:
    said = e.refused(r"no matches for kind|could not find the requested resource|doesn't have a resource type")
    if said is None:
        return None
    kind = re.search(r'no matches for kind \\?"(\w+)', said)
    return found(f"The cluster does not know the kind {kind[1] if kind else 'that'} {e.run} needs.", said)


@cause(
    "pod-security",
    "Pod Security Admission refused the pod.",
    Act.OPERATIONS,
    "kubectl get namespace {namespace} --show-labels; tunery's pods fit the level restricted, a policy or webhook that "
    "changes pods may not",
)
def pod_security(e: Evidence) -> Found | None:
    said = e.refused("violates PodSecurity")
    return None if said is None else found(f"{e.namespace} does not admit the pods of {e.stage}.", said)


@cause(
    "policy",
    "An admission policy of the platform refused the object.",
    Act.OPERATIONS,
    "bring tunery and the environment to the same commit; the message says which rule",
)
def policy(e: Evidence) -> Found | None:
    said = e.refused(r"ValidatingAdmissionPolicy|admission webhook .+ denied the request")
    return None if said is None else found(f"A policy refused the {e.stage} of {e.run}.", said)


@cause("account-missing", "A service account that the pod works as does not exist.", Act.OPERATIONS, _DEPLOY)
def account_missing(e: Evidence) -> Found | None:
    said = e.refused(r"service ?account .*not found")
    if said is None:
        return None
    name = re.search(r'serviceaccounts? \\?"([^"\\]+)', said)
    return found(f"{e.namespace} has no service account {name[1] if name else 'of that name'}.", said)


@cause(
    "quota-object",
    "A ResourceQuota of the namespace is used up.",
    Act.OPERATIONS,
    "kubectl -n {namespace} describe resourcequotas; delete what is finished, or raise it; then {again}",
)
def quota_object(e: Evidence) -> Found | None:
    said = e.refused("exceeded quota")
    return (
        None if said is None else found(f"The namespace {e.namespace} may hold no more of what {e.stage} needs.", said)
    )


@cause("rights", "A service account may not do what the run needs.", Act.OPERATIONS, _DEPLOY)
def rights(e: Evidence) -> Found | None:
    said = e.refused(r"is forbidden: User|cannot (?:create|get|patch|list|watch) resource")
    if said is None:
        return None
    who = re.search(r'User \\?"([^"\\]+)', said)
    return found(f"{who[1] if who else 'A service account'} may not do what {e.stage} needs in {e.namespace}.", said)
