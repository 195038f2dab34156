from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from infra import names as n
from infra.parts import encryption, identity, secrets
from infra.scope import Scope

KEY = "${google_kms_crypto_key_iam_member.key-secrets-agent.crypto_key_id}"
"""The key, once its service agent may use it."""


def add(scope: Scope) -> None:
    secrets.add(scope, encryption.add(scope), identity.add(scope))


@pytest.fixture
def terraform(environment: Callable[..., Any], synthesize: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    return synthesize(add, environment("prod"))


def test_secrets_stay_in_the_region_under_a_key_of_their_own(terraform: dict[str, Any]) -> None:
    found = terraform["resource"]["google_secret_manager_secret"]
    assert {secret["secret_id"] for secret in found.values()} == {f"tunery-prod-{name}" for name in n.SECRETS}
    for secret in found.values():
        (replica,) = secret["replication"]["user_managed"]["replicas"]
        assert replica["location"] == "europe-west4"
        assert replica["customer_managed_encryption"]["kms_key_name"] == KEY


def test_a_destroyed_version_can_be_brought_back_for_a_day_at_least(terraform: dict[str, Any]) -> None:
    for secret in terraform["resource"]["google_secret_manager_secret"].values():
        assert int(secret["version_destroy_ttl"].removesuffix("s")) >= 86_400
        assert secret["deletion_protection"] is True


def test_no_value_passes_through_terraform(terraform: dict[str, Any]) -> None:
    kinds = {*terraform["resource"], *terraform["data"]}
    assert not any("secret_version" in kind for kind in kinds)


def test_a_secret_is_read_by_its_roles_in_every_team_and_by_nobody_else(terraform: dict[str, Any]) -> None:
    readers: dict[str, set[tuple[str, str]]] = {}
    for grant in terraform["resource"]["google_secret_manager_secret_iam_member"].values():
        assert grant["role"] == "roles/secretmanager.secretAccessor"
        secret = grant["secret_id"].split(".")[1].removeprefix("secret-")
        readers.setdefault(secret, set()).add(reader(grant["member"]))
    assert readers == {
        name: {(f"team-{team}", role) for team in ("research", "support") for role in roles}
        | {("", builds) for builds in (n.BUILD_SECRETS.get(name),) if builds}
        for name, roles in n.SECRETS.items()
    }


def reader(member: str) -> tuple[str, str]:
    """Namespace and Kubernetes service account; of Cloud Build's accounts no namespace."""
    if "/subject/" not in member:
        return "", member.removeprefix("${google_service_account.account-").removesuffix(".member}")
    _, namespace, _, account = member.split("/subject/")[1].split("/")
    return namespace, account


def test_who_read_a_value_is_logged(terraform: dict[str, Any]) -> None:
    (audit,) = terraform["resource"]["google_project_iam_audit_config"].values()
    assert audit["service"] == "secretmanager.googleapis.com"
    assert "DATA_READ" in {config["log_type"] for config in audit["audit_log_config"]}
    assert not any(config.get("exempted_members") for config in audit["audit_log_config"])
