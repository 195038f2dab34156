from __future__ import annotations

from collections.abc import Callable
from typing import Any

from infra.bindings import cdktf
from infra.names import Names
from infra.parts import encryption, identity
from infra.scope import Scope


def grants(terraform: dict[str, Any]) -> set[tuple[str, str]]:
    return {(grant["member"], grant["role"]) for grant in terraform["resource"]["google_project_iam_member"].values()}


def test_only_what_has_no_narrower_resource_is_granted_on_the_project(
    environment: Callable[..., Any], synthesize: Callable[..., dict[str, Any]]
) -> None:
    assert grants(synthesize(identity.add, environment("prod"))) == {
        ("${google_service_account.account-nodes.member}", "roles/container.defaultNodeServiceAccount"),
        ("${google_service_account.account-submitter.member}", "roles/container.clusterViewer"),
        ("group:llm-research@example.com", "roles/container.clusterViewer"),
        ("group:llm-support@example.com", "roles/container.clusterViewer"),
    }


def test_a_group_of_two_teams_is_granted_once(
    environment: Callable[..., Any], synthesize: Callable[..., dict[str, Any]]
) -> None:
    shared = {"group": "llm@example.com"}
    terraform = synthesize(identity.add, environment("dev", teams={"research": shared, "support": shared}))
    found = terraform["resource"]["google_project_iam_member"].values()
    assert [grant["member"] for grant in found].count("group:llm@example.com") == 1


def test_accounts_have_no_keys(environment: Callable[..., Any], synthesize: Callable[..., dict[str, Any]]) -> None:
    terraform = synthesize(identity.add, environment("dev"))
    assert "google_service_account_key" not in terraform["resource"]
    accounts = terraform["resource"]["google_service_account"].values()
    assert {account["account_id"] for account in accounts} == {
        "tunery-dev-nodes",
        "tunery-dev-builder",
        "tunery-dev-submitter",
    }


def test_a_principal_is_one_service_account_of_one_namespace(environment: Callable[..., Any]) -> None:
    settings = environment("dev")
    names = Names(settings)
    scope = Scope(cdktf.TerraformStack(cdktf.Testing.app(), "stack"), settings, names)
    encryption.add(scope)
    principal = identity.add(scope).principal("research", "trainer")
    assert principal.startswith("principal://iam.googleapis.com/projects/")
    assert principal.endswith("/workloadIdentityPools/example-llm-dev.svc.id.goog/subject/ns/team-research/sa/trainer")
