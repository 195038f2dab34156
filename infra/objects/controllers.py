"""RBAC of Argo Workflows and Argo CD, in place of what their charts would grant in the whole cluster.

Argo's controller watches all namespaces at once (one list of namespaces is not something it knows), so it may read
its own kinds, pods and configuration everywhere; what it may write is granted in the teams' namespaces only.
Source of its needs: Argo Workflows v4.0.5, manifests/cluster-install.
"""

from __future__ import annotations

from infra import names as n
from infra.objects.access import CHANGE, RBAC, RBAC_GROUP, READ, rule
from infra.objects.manifest import Object, manifest, team_namespaces
from infra.settings import Environment

ARGO_CONTROLLER = "argo-workflow-controller"
ARGO_SERVER = "argo-server"
ARGO_CD_CONTROLLER = "argocd-application-controller"
ARGO_CD_SERVER = "argocd-server"

_WORKFLOWS = ["workflows", "workflows/finalizers", "workflowtasksets", "workflowtasksets/finalizers"]
_CRON = ["cronworkflows", "cronworkflows/finalizers"]
_TEMPLATES = ["workflowtemplates", "workflowtemplates/finalizers"]

ARGO_READS = [
    rule("", ["pods", "configmaps", "namespaces"], READ),
    rule("argoproj.io", [*_WORKFLOWS, *_CRON, *_TEMPLATES, "workflowtaskresults", "workflowartifactgctasks"], READ),
    rule("argoproj.io", ["clusterworkflowtemplates"], READ),
]
ARGO_WRITES = [
    rule("", ["pods"], ["create", "update", "patch", "delete"]),
    # How it stops a running container.
    rule("", ["pods/exec"], ["create"]),
    rule("", ["events"], ["create", "patch"]),
    rule("", ["serviceaccounts"], ["get", "list"]),
    rule("", ["persistentvolumeclaims", "persistentvolumeclaims/finalizers"], ["create", "update", "delete", "get"]),
    rule("argoproj.io", [*_WORKFLOWS, "workflowartifactgctasks"], ["create", "update", "patch", "delete"]),
    rule("argoproj.io", _CRON, ["update", "patch", "delete"]),
    rule("argoproj.io", ["workflowtaskresults"], ["deletecollection"]),
    rule("policy", ["poddisruptionbudgets"], ["create", "get", "delete"]),
]
ARGO_HOME = [
    rule("coordination.k8s.io", ["leases"], ["create"]),
    rule("coordination.k8s.io", ["leases"], ["get", "update", "patch"], ["workflow-controller"]),
    rule("", ["events"], ["create", "patch"]),
]
"""Leader election, in its own namespace."""

SERVER_HOME = [rule("", ["configmaps"], READ)]
"""Argo's server reads its configuration; all else it asks with the caller's own token."""

ARGO_CD_DELIVERS = [
    rule("argoproj.io", ["workflows", "workflowtemplates", "cronworkflows"], CHANGE),
    rule("", ["events"], ["create"]),
]
ARGO_CD_SHOWS = [
    rule("argoproj.io", ["workflows", "workflowtemplates", "cronworkflows"], READ),
    rule("", ["events"], READ),
]


def objects(environment: Environment) -> list[Object]:
    """Roles and bindings of the controllers whose charts are told to make none."""
    argo = n.CONTROLLER_NAMESPACES["argo-workflows"]
    controller = _account(ARGO_CONTROLLER, argo)
    teams = team_namespaces(environment).values()
    delivered = environment.controllers.argo_cd
    argo_cd = n.CONTROLLER_NAMESPACES["argo-cd"]
    return [
        *_grant("tunery-argo-reads", None, ARGO_READS, controller),
        *_grant("argo-controller", argo, ARGO_HOME, controller),
        *_grant("argo-server", argo, SERVER_HOME, _account(ARGO_SERVER, argo)),
        *(item for team in teams for item in _grant("argo-controller", team, ARGO_WRITES, controller)),
        *(
            item
            for team in teams
            if delivered
            for item in (
                *_grant("argo-cd-delivers", team, ARGO_CD_DELIVERS, _account(ARGO_CD_CONTROLLER, argo_cd)),
                *_grant("argo-cd-shows", team, ARGO_CD_SHOWS, _account(ARGO_CD_SERVER, argo_cd)),
            )
        ),
    ]


def _account(name: str, namespace: str) -> Object:
    return {"kind": "ServiceAccount", "name": name, "namespace": namespace}


def _grant(name: str, namespace: str | None, rules: list[Object], account: Object) -> list[Object]:
    kind = "ClusterRole" if namespace is None else "Role"
    return [
        manifest(RBAC, kind, name, namespace, rules=rules),
        manifest(
            RBAC,
            f"{kind}Binding",
            name,
            namespace,
            roleRef={"apiGroup": RBAC_GROUP, "kind": kind, "name": name},
            subjects=[account],
        ),
    ]
