"""Who acts in Google Cloud: three Google service accounts, and the Kubernetes service accounts of the teams.

A Kubernetes service account is a principal of its own (Workload Identity Federation for GKE): it needs no Google
service account, no key, and nobody's permission to impersonate. What it may do is granted on each resource, in the
part that adds the resource; only what has no narrower resource is granted on the project, here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from infra.bindings import google
from infra.names import Names
from infra.scope import Scope

_ACCOUNTS = {
    "nodes": "What GKE's own agents on a node work as: logs, metrics, image pulls",
    "builder": "Cloud Build: builds images and pushes them",
    "submitter": "Cloud Build: submits the runs of a pushed config",
}
_ON_PROJECT = {
    # Google's minimum for a node: write logs and metrics.
    "nodes": "roles/container.defaultNodeServiceAccount",
    # Reach the control plane by its DNS endpoint; what may be done there is decided by Kubernetes RBAC.
    "submitter": "roles/container.clusterViewer",
}


@dataclass(frozen=True)
class Identity:
    """The service accounts of an environment (resources: ``.email``, ``.member``) and its principals."""

    names: Names
    project_number: str
    nodes: Any
    builder: Any
    submitter: Any

    def principal(self, team: str, role: str) -> str:
        """The IAM member of a role of ``names.ROLES`` in a team's namespace."""
        return self.names.principal(self.project_number, self.names.team_namespace(team), role)


def project_number(scope: Scope) -> str:
    """The project's number, which Google's service agents and Workload Identity principals are named after.

    The data source depends on nothing, on purpose: a data source that waits for a resource is read again, only at
    apply, whenever that resource changes, and every grant that holds the number would be planned as a replacement.
    """
    project = scope.stack.node.try_find_child("project") or google.data_google_project.DataGoogleProject(
        scope.stack, "project", project_id=scope.environment.project
    )
    return str(project.number)


def add(scope: Scope) -> Identity:
    """Adds the service accounts and grants what can only be granted on the whole project."""
    accounts = {
        role: google.service_account.ServiceAccount(
            scope.stack,
            f"account-{role}",
            project=scope.environment.project,
            account_id=scope.names.google_account(role),
            display_name=scope.names.google_account(role),
            description=description,
            depends_on=list(scope.apis),
        )
        for role, description in _ACCOUNTS.items()
    }
    for role, granted in _ON_PROJECT.items():
        _grant(scope, f"project-{role}", granted, accounts[role].member)
    # Teams may share a group; a second grant to it would be taken away with either team.
    groups = {team.group: name for name, team in scope.environment.teams.items() if team.group is not None}
    for group, team in groups.items():
        _grant(scope, f"project-group-{team}", "roles/container.clusterViewer", f"group:{group}")
    return Identity(
        names=scope.names,
        project_number=project_number(scope),
        nodes=accounts["nodes"],
        builder=accounts["builder"],
        submitter=accounts["submitter"],
    )


def _grant(scope: Scope, id_: str, role: str, member: str) -> None:
    google.project_iam_member.ProjectIamMember(
        scope.stack, id_, project=scope.environment.project, role=role, member=member, depends_on=list(scope.apis)
    )
