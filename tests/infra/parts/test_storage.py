from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from infra import names as n
from infra.parts import encryption, identity, storage
from infra.scope import Scope

KEY = "${google_kms_crypto_key_iam_member.key-storage-agent.crypto_key_id}"
"""The key, once its service agent may use it."""


def add(scope: Scope) -> None:
    storage.add(scope, encryption.add(scope), identity.add(scope))


@pytest.fixture
def terraform(environment: Callable[..., Any], synthesize: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    return synthesize(add, environment("prod", storage={"run_days": 60, "log_days": 300, "soft_delete_days": 14}))


def buckets(terraform: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = terraform["resource"]["google_storage_bucket"]
    return {name.removeprefix("bucket-"): bucket for name, bucket in found.items()}


def account(member: str) -> tuple[str, str]:
    """Namespace and service account of a Kubernetes principal."""
    _, namespace, _, name = member.split("/subject/")[1].split("/")
    return namespace, name


def test_every_bucket_is_private_encrypted_and_recoverable(terraform: dict[str, Any]) -> None:
    assert set(buckets(terraform)) == set(n.BUCKETS)
    for bucket in buckets(terraform).values():
        assert bucket["uniform_bucket_level_access"] is True
        assert bucket["public_access_prevention"] == "enforced"
        assert bucket["encryption"]["default_kms_key_name"] == KEY
        assert bucket["versioning"] == {"enabled": True}
        assert bucket["soft_delete_policy"] == {"retention_duration_seconds": 14 * 86_400}
        assert bucket["force_destroy"] is False
        assert bucket["lifecycle"]["prevent_destroy"] is True
        assert bucket["location"] == "europe-west4"


def test_live_runs_and_logs_age_and_models_stay(terraform: dict[str, Any]) -> None:
    ages = {
        kind: [
            rule["condition"]["age"]
            for rule in bucket["lifecycle_rule"]
            if rule["action"]["type"] == "Delete" and rule["condition"]["with_state"] == "LIVE"
        ]
        for kind, bucket in buckets(terraform).items()
    }
    assert ages == {"runs": [60], "logs": [300], "models": []}


def test_what_nobody_sees_is_cleaned_up(terraform: dict[str, Any]) -> None:
    for bucket in buckets(terraform).values():
        rules = {rule["action"]["type"]: rule["condition"] for rule in bucket["lifecycle_rule"]}
        assert rules["AbortIncompleteMultipartUpload"]["age"] <= 7
        assert any("days_since_noncurrent_time" in rule["condition"] for rule in bucket["lifecycle_rule"])


def test_access_to_models_and_runs_is_logged_into_the_logs_bucket(terraform: dict[str, Any]) -> None:
    for kind in ("models", "runs"):
        assert buckets(terraform)[kind]["logging"]["log_bucket"] == "${google_storage_bucket.bucket-logs.name}"
    assert "logging" not in buckets(terraform)["logs"]


def test_autoclass_is_never_joined_with_a_rule_that_sets_a_class(terraform: dict[str, Any]) -> None:
    # Cloud Storage refuses the two together.
    for bucket in buckets(terraform).values():
        actions = {rule["action"]["type"] for rule in bucket["lifecycle_rule"]}
        assert not ("autoclass" in bucket and "SetStorageClass" in actions)


def test_a_team_reaches_its_own_runs_and_no_others(terraform: dict[str, Any]) -> None:
    folders = terraform["resource"]["google_storage_managed_folder"]
    assert {folder["name"] for folder in folders.values()} == {"research/", "support/"}
    for grant in terraform["resource"]["google_storage_managed_folder_iam_member"].values():
        folder = folders[grant["managed_folder"].split(".")[1]]["name"]
        if grant["member"].startswith("group:"):
            assert grant["member"] == f"group:llm-{folder.rstrip('/')}@example.com"
            assert grant["role"] == "roles/storage.objectUser"
        elif "account-submitter" in grant["member"]:
            assert grant["role"] == "roles/storage.objectUser"
        else:
            assert account(grant["member"])[0] == f"team-{folder.rstrip('/')}"


def test_nobody_of_a_team_is_granted_the_whole_bucket_of_runs(terraform: dict[str, Any]) -> None:
    granted = {grant["bucket"] for grant in terraform["resource"]["google_storage_bucket_iam_member"].values()}
    assert granted == {"${google_storage_bucket.bucket-models.name}", "${google_storage_bucket.bucket-logs.name}"}


def test_a_shared_model_can_be_added_and_not_replaced(terraform: dict[str, Any]) -> None:
    granted: dict[str, set[str]] = {}
    for grant in terraform["resource"]["google_storage_bucket_iam_member"].values():
        if "bucket-models" in grant["bucket"]:
            granted.setdefault(account(grant["member"])[1], set()).add(grant["role"])
    assert granted == {
        "stager": {"roles/storage.objectViewer", "roles/storage.objectCreator"},
        "trainer": {"roles/storage.objectViewer"},
        "server": {"roles/storage.objectViewer"},
        "board": {"roles/storage.objectViewer"},
    }


def test_whoever_runs_a_stage_writes_its_marker_and_an_endpoint_sees_no_run(terraform: dict[str, Any]) -> None:
    granted = {
        account(grant["member"])[1]: grant["role"]
        for grant in terraform["resource"]["google_storage_managed_folder_iam_member"].values()
        if grant["member"].startswith("principal:")
    }
    assert granted == {
        "stager": "roles/storage.objectUser",
        "trainer": "roles/storage.objectUser",
        "board": "roles/storage.objectUser",
        "publisher": "roles/storage.objectUser",
    }


def test_a_team_that_is_removed_leaves_its_runs_where_they_are(terraform: dict[str, Any]) -> None:
    for folder in terraform["resource"]["google_storage_managed_folder"].values():
        assert folder["force_destroy"] is True
        assert "lifecycle" not in folder


def test_every_role_that_is_granted_something_exists() -> None:
    assert {*storage.MODELS_ACCESS, *storage.RUNS_ACCESS} <= set(n.ROLES)
