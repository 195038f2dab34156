from __future__ import annotations

import yaml

from infra.policy.inventory import inventory

STACK = {
    "resource": {
        "google_storage_bucket": {
            "bucket-runs": {
                "//": {"metadata": {"path": "x"}},
                "name": "p-dev-runs",
                "force_destroy": False,
                "versioning": {"enabled": True},
                "lifecycle": {"prevent_destroy": True},
            }
        },
        "google_compute_router": {"router": {"name": "r"}},
    }
}


def test_resources_are_counted_and_what_matters_is_shown() -> None:
    found = yaml.safe_load(inventory(("cluster-dev", STACK)))["cluster-dev"]
    assert found["total"] == 2
    assert found["resources"]["google_compute_router"] == {"count": 1, "protected": []}
    bucket = found["resources"]["google_storage_bucket"]
    assert bucket["protected"] == ["bucket-runs"]
    assert bucket["what"]["bucket-runs"] == {"name": "p-dev-runs", "versioning.enabled": True, "force_destroy": False}


def test_the_order_in_which_resources_were_added_changes_nothing() -> None:
    reversed_stack = {"resource": dict(reversed(list(STACK["resource"].items())))}
    assert inventory(("s", STACK)) == inventory(("s", reversed_stack))
