from __future__ import annotations

from infra.policy.logical_ids import listing, losses, refused

CLUSTER = {
    "resource": {
        "google_container_cluster": {"cluster": {"lifecycle": {"prevent_destroy": True}, "name": "x"}},
        "google_compute_network": {"network": {"name": "n"}},
    }
}


def test_addresses_are_sorted_and_protection_is_marked() -> None:
    assert listing(CLUSTER) == "google_compute_network.network\ngoogle_container_cluster.cluster protected\n"


def test_an_unchanged_stack_loses_nothing() -> None:
    assert losses(listing(CLUSTER), listing(CLUSTER)) == []


def test_a_renamed_cluster_is_refused_with_the_way_out() -> None:
    renamed = {"resource": {"google_container_cluster": {"gke": {"lifecycle": {"prevent_destroy": True}}}}}
    found = refused(listing(CLUSTER), listing(renamed), accepted=())
    assert [loss.address for loss in found] == ["google_container_cluster.cluster"]
    assert "terraform state mv" in str(found[0])
    assert "--accept-loss google_container_cluster.cluster" in str(found[0])


def test_a_protected_loss_can_be_accepted_by_name_and_an_unprotected_one_is_only_told() -> None:
    assert refused(listing(CLUSTER), "", accepted=["google_container_cluster.cluster"]) == []
    assert {loss.address for loss in losses(listing(CLUSTER), "")} == {
        "google_container_cluster.cluster",
        "google_compute_network.network",
    }


def test_losing_only_the_protection_is_refused_too() -> None:
    bare = {"resource": {**CLUSTER["resource"], "google_container_cluster": {"cluster": {"name": "x"}}}}
    assert [loss.address for loss in refused(listing(CLUSTER), listing(bare), accepted=())] == [
        "google_container_cluster.cluster"
    ]
