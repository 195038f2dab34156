"""What security asks of every environment, checked on its whole synthesized Terraform rather than part by part."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from infra import names as n
from infra.bindings import cdktf
from infra.policy.terraform_json import Resource, Terraform, resources
from infra.settings import Environment
from infra.stacks import cluster

ENVIRONMENTS = ("dev", "staging", "prod")

PRIMITIVE = {"roles/owner", "roles/editor", "roles/viewer", "roles/browser"}
IMPERSONATION = {
    "roles/iam.serviceAccountTokenCreator",
    "roles/iam.serviceAccountOpenIdTokenCreator",
    "roles/iam.serviceAccountUser",
    "roles/iam.workloadIdentityUser",
}
BY_RESOURCE = ("roles/storage.", "roles/secretmanager.", "roles/artifactregistry.", "roles/cloudkms.")
"""Roles on what has a grant of its own: a bucket, a folder, a secret, a repository, a key."""
HOLDS_DATA = (
    "google_artifact_registry_repository",
    "google_container_cluster",
    "google_kms_crypto_key",
    "google_kms_key_ring",
    "google_secret_manager_secret",
    "google_storage_bucket",
)
KEEPS_SECRETS_IN_STATE = re.compile(
    r"google_(service_account_(key|access_token|id_token|jwt)"
    r"|secret_manager(_regional)?_secret_version\w*|kms_secret\w*|storage_bucket_object_content)"
)
SUBJECT = re.compile(r"^principal://.*/subject/ns/(?P<namespace>[^/]+)/sa/(?P<account>[^/]+)$")

Rule = Callable[[Terraform, set[str]], list[str]]
"""The Terraform of a stack and its teams' namespaces -> what breaks the rule, for a person to read."""


def grants(terraform: Terraform) -> Iterator[Resource]:
    return (resource for resource in resources(terraform) if resource.type.endswith("_iam_member"))


def broad_roles(terraform: Terraform, namespaces: set[str]) -> list[str]:
    """A role on everything, or on every resource of a kind where one of them was meant."""
    broken = []
    for grant in grants(terraform):
        role = str(grant.get("role"))
        on_project = grant.type == "google_project_iam_member"
        administers = role.lower().endswith("admin")
        if role in PRIMITIVE or (on_project and (administers or role in IMPERSONATION or role.startswith(BY_RESOURCE))):
            broken.append(f"{grant.address}: {role}")
    return broken


def open_to_strangers(terraform: Terraform, namespaces: set[str]) -> list[str]:
    """A grant to everybody, to everybody with a Google account, or to a whole company."""
    strangers = ("allUsers", "allAuthenticatedUsers", "domain:")
    return [grant.address for grant in grants(terraform) if str(grant.get("member")).startswith(strangers)]


def takes_over_other_grants(terraform: Terraform, namespaces: set[str]) -> list[str]:
    """A policy or binding is the whole truth about its resource or role: it takes away what others granted."""
    return [
        resource.address
        for resource in resources(terraform)
        if resource.type.endswith(("_iam_policy", "_iam_binding", "_bucket_acl", "_access_control"))
    ]


def secrets_in_state(terraform: Terraform, namespaces: set[str]) -> list[str]:
    """A key of a service account, a secret's value or a token: all of them would be in Terraform's state."""
    kinds = [*terraform.get("resource", {}), *terraform.get("data", {})]
    return [kind for kind in kinds if KEEPS_SECRETS_IN_STATE.fullmatch(kind)]


def unprotected_data(terraform: Terraform, namespaces: set[str]) -> list[str]:
    """What holds data and Terraform may destroy; a proxy of a public registry holds none."""
    return [
        resource.address
        for resource in resources(terraform, *HOLDS_DATA)
        if not resource.is_protected and resource.get("mode") != "REMOTE_REPOSITORY"
    ]


def strange_principals(terraform: Terraform, namespaces: set[str]) -> list[str]:
    """A grant to a Kubernetes service account that no team has, to several at once, or on the whole project."""
    broken = []
    for grant in grants(terraform):
        member = str(grant.get("member"))
        if not member.startswith("principal"):
            continue
        subject = SUBJECT.match(member)
        known = subject is not None and subject["namespace"] in namespaces and subject["account"] in n.ROLES
        if not known or grant.type == "google_project_iam_member":
            broken.append(f"{grant.address}: {member}")
    return broken


def runner_reaches_the_cloud(terraform: Terraform, namespaces: set[str]) -> list[str]:
    """Argo's executor creates Jobs of its own namespace, and nothing else."""
    return [grant.address for grant in grants(terraform) if str(grant.get("member")).endswith("/sa/runner")]


def crosses_teams(terraform: Terraform, namespaces: set[str]) -> list[str]:
    """A team's service account that is granted all runs, or the folder of another team."""
    folders = {
        f"${{google_storage_managed_folder.{folder.name}.name}}": str(folder.get("name"))
        for folder in resources(terraform, "google_storage_managed_folder")
    }
    broken = []
    for grant in grants(terraform):
        subject = SUBJECT.match(str(grant.get("member")))
        if subject is None:
            continue
        own = f"{subject['namespace'].removeprefix('team-')}/"
        folder = folders.get(str(grant.get("managed_folder")), own)
        if folder != own or (grant.type == "google_storage_bucket_iam_member" and "runs" in str(grant.get("bucket"))):
            broken.append(grant.address)
    return broken


STRANGER = "principal://iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p.svc.id.goog/subject/ns/"
BREAKS: tuple[tuple[Rule, str, dict[str, Any]], ...] = (
    (broad_roles, "google_project_iam_member", {"role": "roles/editor", "member": "user:a@example.com"}),
    (broad_roles, "google_storage_bucket_iam_member", {"role": "roles/owner", "member": "user:a@example.com"}),
    (broad_roles, "google_project_iam_member", {"role": "roles/iam.serviceAccountTokenCreator"}),
    (broad_roles, "google_project_iam_member", {"role": "roles/iam.serviceAccountUser"}),
    (broad_roles, "google_project_iam_member", {"role": "roles/storage.objectViewer"}),
    (broad_roles, "google_project_iam_member", {"role": "roles/container.clusterAdmin"}),
    (open_to_strangers, "google_storage_bucket_iam_member", {"member": "allUsers"}),
    (open_to_strangers, "google_secret_manager_secret_iam_member", {"member": "allAuthenticatedUsers"}),
    (takes_over_other_grants, "google_project_iam_policy", {}),
    (takes_over_other_grants, "google_storage_bucket_iam_binding", {}),
    (secrets_in_state, "google_service_account_key", {}),
    (secrets_in_state, "google_secret_manager_secret_version", {}),
    (unprotected_data, "google_storage_bucket", {"name": "b"}),
    (unprotected_data, "google_container_cluster", {"lifecycle": {"prevent_destroy": False}}),
    (strange_principals, "google_storage_bucket_iam_member", {"member": f"{STRANGER}default/sa/trainer"}),
    (strange_principals, "google_storage_bucket_iam_member", {"member": f"{STRANGER}team-research/sa/default"}),
    (strange_principals, "google_project_iam_member", {"member": f"{STRANGER}team-research/sa/trainer"}),
    (strange_principals, "google_storage_bucket_iam_member", {"member": "principalSet://x/namespace/team-research"}),
    (runner_reaches_the_cloud, "google_storage_bucket_iam_member", {"member": f"{STRANGER}team-research/sa/runner"}),
    (
        crosses_teams,
        "google_storage_managed_folder_iam_member",
        {
            "member": f"{STRANGER}team-support/sa/trainer",
            "managed_folder": "${google_storage_managed_folder.folder-runs-research.name}",
        },
    ),
    (
        crosses_teams,
        "google_storage_bucket_iam_member",
        {"member": f"{STRANGER}team-support/sa/trainer", "bucket": "${google_storage_bucket.bucket-runs.name}"},
    ),
)
RULES = tuple(dict.fromkeys(rule for rule, _, _ in BREAKS))


@pytest.mark.parametrize("name", ENVIRONMENTS)
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_no_environment_breaks_a_rule(
    rule: Rule, name: str, stacks: Mapping[str, Mapping[str, Terraform]], environment: Callable[..., Environment]
) -> None:
    namespaces = {n.Names(environment(name)).team_namespace(team) for team in environment(name).teams}
    assert [broken for terraform in stacks[name].values() for broken in rule(terraform, namespaces)] == []


@pytest.mark.parametrize(("rule", "kind", "arguments"), BREAKS)
def test_a_broken_rule_is_found(
    rule: Rule, kind: str, arguments: dict[str, Any], stacks: Mapping[str, Mapping[str, Terraform]]
) -> None:
    terraform = copy.deepcopy(dict(stacks["prod"]["cluster-prod"]))
    terraform["resource"].setdefault(kind, {})["broken"] = arguments
    assert len(rule(terraform, {"team-research", "team-support"})) == 1


def test_without_deletion_protection_an_environment_can_be_torn_down(environment: Callable[..., Environment]) -> None:
    settings = environment("dev", cluster={"deletion_protection": False})
    terraform = cluster.build(cdktf.Testing.app(), settings).to_terraform()
    assert [resource.address for resource in resources(terraform) if resource.is_protected] == []
    assert not any(resource.get("deletion_protection") for resource in resources(terraform, *HOLDS_DATA))
