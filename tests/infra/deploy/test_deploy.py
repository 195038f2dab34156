"""An environment is deployed, stays as it is, is changed in place, and is not destroyed by mistake."""

from __future__ import annotations

from typing import Any

import pytest

STACKS = [f"{kind}-{environment}" for environment in ("dev", "staging", "prod") for kind in ("cluster", "platform")]
CLUSTER = "projects/example-llm-dev/locations/europe-west4/clusters/tunery-dev"
FAIL = "TUNERY_FAKE_FAIL"


@pytest.mark.parametrize("stack", STACKS)
def test_every_stack_is_valid(stack: str, make_site: Any) -> None:
    assert "The configuration is valid" in make_site(stack).terraform(stack, "validate")


def test_a_deployed_environment_needs_no_second_deploy(deployed: Any) -> None:
    for stack in ("cluster-dev", "platform-dev"):
        assert "No changes" in deployed.plan(stack)


def test_the_platform_asks_for_its_cluster(make_site: Any) -> None:
    assert f"Error 404: Not found: {CLUSTER}" in make_site("platform-dev").plan("platform-dev", code=1)


def test_a_deploy_that_failed_half_way_goes_on(make_site: Any) -> None:
    site = make_site("cluster-dev")
    told = site.apply("cluster-dev", code=1, **{FAIL: "google_container_node_pool/l4x1-spot"})
    assert "Error 403: Insufficient quota" in told
    before = site.cloud
    pool = "example-llm-dev/europe-west4/tunery-dev/l4x1-spot"
    assert CLUSTER in before["google_container_cluster"]
    assert pool not in before["google_container_node_pool"]
    site.apply("cluster-dev")
    assert pool in site.cloud["google_container_node_pool"]
    assert all(site.cloud[kind][each] == values for kind, found in before.items() for each, values in found.items())
    assert "No changes" in site.plan("cluster-dev")


def test_nothing_is_made_before_its_api_is_on(make_site: Any) -> None:
    site = make_site("cluster-dev")
    told = site.apply("cluster-dev", code=1, **{FAIL: "google_project_service"})
    assert "Error 403" in told
    assert site.cloud == {}


@pytest.mark.terraform_full
def test_labels_change_in_place(deployed: Any) -> None:
    def relabel(terraform: dict[str, Any]) -> None:
        terraform["provider"]["google"][0]["default_labels"]["cost-center"] = "42"

    deployed.change_stack("cluster-dev", relabel)
    told = deployed.apply("cluster-dev")
    assert " 0 added" in told
    assert " 0 destroyed" in told
    assert deployed.cloud["google_container_cluster"][CLUSTER]["effective_labels"]["cost-center"] == "42"
    assert "No changes" in deployed.plan("cluster-dev")


def test_what_somebody_changed_by_hand_is_put_right(deployed: Any) -> None:
    pool = "example-llm-dev/europe-west4/tunery-dev/l4x1-spot"

    def meddle(cloud: dict[str, Any]) -> None:
        cloud["google_container_node_pool"].pop(pool)
        cloud["google_storage_bucket"]["example-llm-dev-dev-runs"]["public_access_prevention"] = "inherited"

    deployed.change_cloud(meddle)
    told = deployed.plan("cluster-dev", code=2)
    assert "Plan: 1 to add, 1 to change, 0 to destroy" in told
    deployed.apply("cluster-dev")
    assert pool in deployed.cloud["google_container_node_pool"]
    bucket = deployed.cloud["google_storage_bucket"]["example-llm-dev-dev-runs"]
    assert bucket["public_access_prevention"] == "enforced"


def test_the_destruction_of_what_holds_data_is_refused(deployed: Any) -> None:
    before = deployed.cloud
    told = deployed.terraform("cluster-dev", "destroy", "-auto-approve", code=1)
    for resource in ("google_container_cluster.cluster", "google_storage_bucket.bucket-models"):
        assert f"Resource {resource} has lifecycle.prevent_destroy set" in " ".join(told.split())
    assert deployed.cloud == before


def test_changes_that_would_replace_what_holds_data_are_refused(deployed: Any) -> None:
    changes = {
        "google_storage_bucket.bucket-runs": {"name": "another-bucket"},
        "google_storage_bucket.bucket-models": {"location": "US"},
        "google_container_cluster.cluster": {"datapath_provider": "LEGACY_DATAPATH"},
        "google_secret_manager_secret.secret-hf-token": {"secret_id": "another-secret"},
    }

    def change(terraform: dict[str, Any]) -> None:
        for address, values in changes.items():
            kind, name = address.split(".")
            terraform["resource"][kind][name].update(values)

    deployed.change_stack("cluster-dev", change)
    told = " ".join(deployed.plan("cluster-dev", code=1).split())
    for address in changes:
        assert f"Resource {address} has lifecycle.prevent_destroy set" in told


@pytest.mark.terraform_full
def test_deletion_protection_holds_where_prevent_destroy_is_taken_away(deployed: Any) -> None:
    def unprotect(terraform: dict[str, Any]) -> None:
        for resources in terraform["resource"].values():
            for resource in resources.values():
                resource.pop("lifecycle", None)

    deployed.change_stack("cluster-dev", unprotect)
    told = deployed.terraform(
        "cluster-dev", "destroy", "-auto-approve", "-target=google_container_cluster.cluster", code=1
    )
    assert "deletion_protection is set to true" in told
    assert CLUSTER in deployed.cloud["google_container_cluster"]


@pytest.mark.parametrize(
    ("address", "change", "refusal"),
    [
        (
            "google_container_cluster.cluster",
            {"release_channel": {"channel": "FAST"}},
            "expected release_channel.channel to be one of",
        ),
        (
            "google_container_cluster.cluster",
            {"network_policy": {"enabled": True}},
            "network_policy.enabled is not allowed when datapath_provider is ADVANCED_DATAPATH",
        ),
        ("google_container_node_pool.node-pool-l4x1-spot", {"node_count": 1}, "autoscaling: conflicts with node_count"),
    ],
)
def test_what_the_documentation_forbids_does_not_validate(
    make_site: Any, address: str, change: dict[str, Any], refusal: str
) -> None:
    kind, name = address.split(".")
    site = make_site("cluster-dev")
    site.change_stack("cluster-dev", lambda terraform: terraform["resource"][kind][name].update(change))
    told = " ".join(site.terraform("cluster-dev", "validate", code=1).split())
    assert refusal in told
    assert f"with {address}," in told
