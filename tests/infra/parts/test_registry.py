from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from infra import names as n
from infra.names import Names
from infra.parts import encryption, identity, registry
from infra.scope import Scope

KEY = "${google_kms_crypto_key_iam_member.key-registry-agent.crypto_key_id}"
"""The key, once its service agent may use it."""


def add(scope: Scope) -> None:
    registry.add(scope, encryption.add(scope), identity.add(scope))


@pytest.fixture
def terraform(environment: Callable[..., Any], synthesize: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    settings = {"keep_versions": 5, "delete_untagged_days": 10}
    return synthesize(add, environment("prod", registry=settings))


def repositories(terraform: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        found["repository_id"]: found for found in terraform["resource"]["google_artifact_registry_repository"].values()
    }


def test_a_tag_of_ours_never_moves_and_the_image_is_scanned(terraform: dict[str, Any]) -> None:
    images = repositories(terraform)["gke-llm"]
    assert images["docker_config"] == {"immutable_tags": True}
    assert images["vulnerability_scanning_config"] == {"enablement_config": "INHERITED"}
    assert images["lifecycle"]["prevent_destroy"] is True


def test_every_repository_is_encrypted_and_in_the_region_of_the_cluster(terraform: dict[str, Any]) -> None:
    for repository in repositories(terraform).values():
        assert repository["kms_key_name"] == KEY
        assert (repository["location"], repository["format"]) == ("europe-west4", "DOCKER")


def test_a_cleanup_takes_old_untagged_images_and_spares_recent_ones(terraform: dict[str, Any]) -> None:
    for repository in repositories(terraform).values():
        assert repository["cleanup_policy_dry_run"] is False
        policies = {policy["action"]: policy for policy in repository["cleanup_policies"]}
        assert policies["KEEP"]["most_recent_versions"] == {"keep_count": 5}
        # The API writes durations in seconds; anything else differs in every plan.
        assert policies["DELETE"]["condition"] == {"tag_state": "UNTAGGED", "older_than": "864000s"}


def test_public_registries_are_proxied_over_https(terraform: dict[str, Any], environment: Callable[..., Any]) -> None:
    names = Names(environment("prod"))
    for upstream in n.UPSTREAMS:
        remote = repositories(terraform)[names.remote_registry(upstream)]
        assert remote["mode"] == "REMOTE_REPOSITORY"
        assert remote["remote_repository_config"]["common_repository"]["uri"].startswith("https://")
        assert names.remote_address(upstream).endswith(f"/example-llm-prod/{remote['repository_id']}")


def test_an_unknown_upstream_has_no_name(environment: Callable[..., Any]) -> None:
    with pytest.raises(KeyError, match="nowhere"):
        Names(environment("prod")).remote_registry("nowhere")


def test_nodes_read_builds_push_and_charts_are_for_whoever_deploys(terraform: dict[str, Any]) -> None:
    access: dict[str, dict[str, str]] = {}
    for grant in terraform["resource"]["google_artifact_registry_repository_iam_member"].values():
        repository = grant["repository"].split(".")[1].removeprefix("registry-")
        account = grant["member"].split(".")[1].removeprefix("account-")
        access.setdefault(repository, {})[account] = grant["role"].rpartition(".")[2]
    assert access["images"] == {"nodes": "reader", "builder": "writer", "submitter": "reader"}
    assert "charts" not in access
    for upstream in n.UPSTREAMS:
        assert access[upstream] == {"nodes": "reader", "builder": "reader"}
