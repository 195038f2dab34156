"""Who may do what in a team's namespace: its people, Cloud Build's submitter, and the roles that its pods work as."""

from __future__ import annotations

from infra import names as n
from infra.objects.manifest import Object, manifest, team_namespaces
from infra.settings import Environment

RBAC = "rbac.authorization.k8s.io/v1"
RBAC_GROUP = "rbac.authorization.k8s.io"

READ = ["get", "list", "watch"]
CHANGE = [*READ, "create", "patch", "delete"]


def rule(group: str, resources: list[str], verbs: list[str], names: list[str] | None = None) -> Object:
    """A rule of a Role, about one API group."""
    body: Object = {"apiGroups": [group], "resources": resources, "verbs": verbs}
    return body if names is None else {**body, "resourceNames": names}


REPORT = [rule("argoproj.io", ["workflowtaskresults"], ["create", "patch"])]
"""What Argo's executor needs beside a stage's container."""

RUN = [
    *REPORT,
    rule("batch", ["jobs"], CHANGE),
    rule("jobset.x-k8s.io", ["jobsets"], CHANGE),
    rule("apps", ["deployments"], CHANGE),
    rule("", ["services"], CHANGE),
    rule("keda.sh", ["scaledobjects"], CHANGE),
]
"""What Argo's executor creates and waits for: trainings, and endpoints."""

WATCH = [
    rule("argoproj.io", ["workflows", "workflowtemplates", "cronworkflows"], READ),
    rule("batch", ["jobs"], READ),
    rule("jobset.x-k8s.io", ["jobsets"], READ),
    rule("kueue.x-k8s.io", ["workloads", "localqueues"], READ),
    rule("apps", ["deployments"], READ),
    rule("keda.sh", ["scaledobjects"], READ),
    rule("", ["pods", "pods/log", "events", "services", "resourcequotas"], READ),
    rule("", ["namespaces", "serviceaccounts"], ["get"]),
    rule("secrets-store.csi.x-k8s.io", ["secretproviderclasses"], ["get"]),
]
"""What it takes to follow a run and to explain why it waits."""

SUBMIT = [
    *WATCH,
    rule("argoproj.io", ["workflows", "workflowtemplates", "cronworkflows"], ["create", "patch", "update"]),
]
"""Cloud Build: submits, and deletes nothing."""

WORK = [
    *SUBMIT,
    rule("argoproj.io", ["workflows", "workflowtemplates", "cronworkflows"], ["delete"]),
    rule("batch", ["jobs"], ["delete"]),
    rule("jobset.x-k8s.io", ["jobsets"], ["delete"]),
    rule("apps", ["deployments"], ["patch", "delete"]),
    rule("", ["services"], ["delete"]),
    rule("keda.sh", ["scaledobjects"], ["patch", "delete"]),
    # A person opens an endpoint or the board on their own machine.
    rule("", ["pods/portforward"], ["create"]),
]
"""The team's people. No secrets, no exec: a run's image is all that runs."""

CAPACITY = [
    rule("kueue.x-k8s.io", ["clusterqueues", "cohorts", "resourceflavors", "workloadpriorityclasses"], READ),
    rule("cloud.google.com", ["computeclasses"], READ),
]
"""What is shared by all teams, for `why does it wait`; nothing of another team's runs."""


def objects(environment: Environment) -> list[Object]:
    """Service accounts, Roles and RoleBindings of every team, and one ClusterRole to read what is shared."""
    submitter = {"kind": "User", "name": n.Names(environment).google_email("submitter"), "apiGroup": RBAC_GROUP}
    groups = [
        {"kind": "Group", "name": team.group, "apiGroup": RBAC_GROUP}
        for team in environment.teams.values()
        if team.group is not None
    ]
    shared = "tunery-capacity-viewer"
    return [
        manifest(RBAC, "ClusterRole", shared, rules=CAPACITY),
        _binding("ClusterRoleBinding", shared, [submitter, *groups]),
        *(
            item
            for team, namespace in team_namespaces(environment).items()
            for item in _team(namespace, environment.teams[team].group, submitter)
        ),
    ]


def _team(namespace: str, group: str | None, submitter: Object) -> list[Object]:
    stages = sorted(set(n.STAGE_ROLES.values()))
    people = [] if group is None else [{"kind": "Group", "name": group, "apiGroup": RBAC_GROUP}]
    grants = {
        "report": (REPORT, [_account(role, namespace) for role in stages]),
        "run": (RUN, [_account("runner", namespace)]),
        "submit": (SUBMIT, [submitter]),
        "work": (WORK, people),
    }
    return [
        *(
            # Pods that talk to Kubernetes ask for the token themselves: those of Argo's steps do, in what is rendered.
            manifest("v1", "ServiceAccount", role, namespace, automountServiceAccountToken=False)
            for role in n.ROLES
        ),
        # A pod that names no account gets this one.
        manifest("v1", "ServiceAccount", "default", namespace, automountServiceAccountToken=False),
        *(
            item
            for name, (rules, subjects) in grants.items()
            if subjects
            for item in (
                manifest(RBAC, "Role", name, namespace, rules=rules),
                _binding("RoleBinding", name, subjects, namespace),
            )
        ),
    ]


def _account(role: str, namespace: str) -> Object:
    return {"kind": "ServiceAccount", "name": role, "namespace": namespace}


def _binding(kind: str, name: str, subjects: list[Object], namespace: str | None = None) -> Object:
    return manifest(
        RBAC,
        kind,
        name,
        namespace,
        roleRef={"apiGroup": RBAC_GROUP, "kind": kind.removesuffix("Binding"), "name": name},
        subjects=subjects,
    )
