from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from infra.bindings import cdktf
from infra.parts import encryption
from infra.scope import Scope


@pytest.fixture
def terraform(environment: Callable[..., Any], synthesize: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    return synthesize(encryption.add, environment("prod"))


def test_keys_rotate_within_90_days_and_cannot_be_destroyed(terraform: dict[str, Any]) -> None:
    for key in terraform["resource"]["google_kms_crypto_key"].values():
        assert int(key["rotation_period"].removesuffix("s")) <= 7_776_000
        assert int(key["destroy_scheduled_duration"].removesuffix("s")) >= 86_400
        assert key["lifecycle"]["prevent_destroy"] is True


def test_a_key_is_used_by_the_service_agents_that_encrypt_with_it_and_nobody_else(terraform: dict[str, Any]) -> None:
    users: dict[str, list[str]] = {}
    for name, grant in terraform["resource"]["google_kms_crypto_key_iam_member"].items():
        assert grant["role"] == "roles/cloudkms.cryptoKeyEncrypterDecrypter"
        users.setdefault(name.split("-")[1], []).append(grant["member"].partition("@")[2].partition(".iam.")[0])
    storage = users.pop("storage")
    assert users == {
        "cluster": ["container-engine-robot", "compute-system"],
        "registry": ["gcp-sa-artifactregistry"],
        "secrets": ["gcp-sa-secretmanager"],
    }
    assert len(storage) == 1
    agent = terraform["resource"]["google_kms_crypto_key_iam_member"]["key-storage-agent"]["member"]
    assert agent == "serviceAccount:${data.google_storage_project_service_account.storage-agent.email_address}"


def test_what_is_encrypted_waits_for_every_grant_of_its_key(
    environment: Callable[..., Any], synthesize: Callable[..., dict[str, Any]]
) -> None:
    def add(scope: Scope) -> None:
        cdktf.TerraformOutput(scope.stack, "key", value=encryption.add(scope).cluster)

    terraform = synthesize(add, environment("prod"))
    grants = terraform["resource"]["google_kms_crypto_key_iam_member"]
    waits_for = []
    reference = terraform["output"]["key"]["value"]
    while reference.startswith("${google_kms_crypto_key_iam_member."):
        waits_for.append(reference.split(".")[1])
        reference = grants[waits_for[-1]]["crypto_key_id"]
    assert set(waits_for) == {name for name in grants if name.startswith("key-cluster-")}
    assert reference == "${google_kms_crypto_key.key-cluster.id}"


def test_an_unprotected_environment_can_be_torn_down(
    environment: Callable[..., Any], synthesize: Callable[..., dict[str, Any]]
) -> None:
    terraform = synthesize(encryption.add, environment("dev", cluster={"deletion_protection": False}))
    assert not any(
        key["lifecycle"]["prevent_destroy"] for key in terraform["resource"]["google_kms_crypto_key"].values()
    )


def test_the_project_number_waits_for_nothing(terraform: dict[str, Any]) -> None:
    assert not any("depends_on" in data for kind in terraform["data"].values() for data in kind.values())
