from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from workloads.environments import destroy_check
from workloads.environments.resources import KINDS, Grade
from workloads.environments.terraform import read_plan, read_state
from workloads.errors import InputError, Problem
from workloads.platform import Platform
from workloads.prices import PriceList

Contract = Callable[..., Platform]
Shown = Callable[..., Path]

BUCKET = {
    "type": "google_storage_bucket",
    "id": "bucket-runs",
    "name": "example-llm-dev-dev-runs",
    "force_destroy": False,
    "soft_delete_policy": [{"retention_duration_seconds": 604800}],
}
KEY = {
    "type": "google_kms_crypto_key",
    "id": "key-storage",
    "name": "storage",
    "destroy_scheduled_duration": "2592000s",
}
CLUSTER = {"type": "google_container_cluster", "id": "cluster", "name": "tunery-dev", "deletion_protection": True}
POOL = {"type": "google_container_node_pool", "id": "node-pool-l4x1-spot", "name": "l4x1-spot"}


def _refused(path: Path) -> list[Problem]:
    with pytest.raises(InputError) as refusal:
        destroy_check.refuse(read_plan(path), str(path))
    return list(refusal.value.problems)


def test_a_destroy_loses_buckets_keys_and_the_cluster_and_interrupts_nodes(
    state: Shown, contract: Contract, price_list: PriceList
) -> None:
    role = {"type": "google_project_iam_member", "id": "nodes-logging"}
    report = destroy_check.check(read_state(state(BUCKET, KEY, CLUSTER, POOL, role)), contract("dev"), price_list)
    assert report.resources == 5
    assert [loss.name for loss in report.losses] == ["example-llm-dev-dev-runs", "storage", "tunery-dev"]
    assert [loss.name for loss in report.interruptions] == ["l4x1-spot"]


def test_what_would_stop_terraform_is_said_only_where_it_would(
    state: Shown, contract: Contract, price_list: PriceList
) -> None:
    open_bucket = BUCKET | {"id": "scratch", "force_destroy": True}
    report = destroy_check.check(read_state(state(BUCKET, open_bucket, CLUSTER)), contract("dev"), price_list)
    guards = {loss.address: loss.guard for loss in report.losses}
    assert guards["google_storage_bucket.scratch"] == ""
    assert "objects" in guards["google_storage_bucket.bucket-runs"]
    assert guards["google_container_cluster.cluster"] == "deletion_protection is on"


def test_deleted_objects_and_key_versions_still_cost_money_for_as_long_as_the_state_says(
    state: Shown, contract: Contract, price_list: PriceList
) -> None:
    report = destroy_check.check(read_state(state(BUCKET, KEY)), contract("dev"), price_list)
    remainders = {each.what: each for each in report.remainders}
    assert "(7 days)" in remainders["google_storage_bucket.bucket-runs"].why
    assert "(30 days)" in remainders["google_kms_crypto_key.key-storage"].why
    month = remainders["google_kms_crypto_key.key-storage"].month
    assert month is not None
    assert month.expected == pytest.approx(0.06)


def test_the_state_of_another_environment_is_refused(state: Shown, contract: Contract, price_list: PriceList) -> None:
    with pytest.raises(InputError, match="has the cluster tunery-dev; that of prod is tunery-prod"):
        destroy_check.check(read_state(state(BUCKET, CLUSTER)), contract("prod"), price_list)


def test_what_is_in_no_state_is_listed_too(state: Shown, contract: Contract, price_list: PriceList) -> None:
    report = destroy_check.check(read_state(state()), contract("prod"), price_list)
    remainders = {each.what: each for each in report.remainders}
    assert "bucket example-llm-prod-terraform" in remainders
    assert "disks of volumes" in remainders
    reservation = remainders["reservation llm-l4x2"].month
    assert reservation is not None
    assert reservation.expected > 1000  # two L4 in a g2-standard-24, by the month
    assert report.losses == ()
    without = destroy_check.check([], contract("dev"), price_list)
    assert not [each for each in without.remainders if each.what.startswith("reservation")]


def test_a_plan_that_replaces_a_bucket_is_refused_with_the_argument_that_does_it(plan: Shown) -> None:
    change = {
        "type": "google_storage_bucket",
        "id": "bucket-runs",
        "actions": ["delete", "create"],
        "replace_paths": [["location"]],
        "action_reason": "replace_because_cannot_update",
    }
    (problem,) = _refused(plan(change))
    assert problem.key == "google_storage_bucket.bucket-runs"
    assert problem.message.startswith("It would be replaced because location changes: its objects are lost")
    assert problem.fix


def test_the_path_of_a_nested_argument_is_written_as_terraform_writes_it(plan: Shown) -> None:
    paths = [["node_config", 0, "machine_type"], ["name"]]
    change = {"type": "google_container_cluster", "actions": ["create", "delete"], "replace_paths": paths}
    (problem,) = _refused(plan(change))
    assert "replaced because node_config.0.machine_type, name change:" in problem.message


@pytest.mark.parametrize(
    ("reason", "said", "fix"),
    [
        ("replace_because_tainted", "because it is tainted", "untaint"),
        ("delete_because_no_resource_config", "because the stack no longer has it", "moved block"),
        ("delete_because_each_key", "count or for_each", ""),
        ("delete_because_count_index", "count or for_each", ""),
        ("a_reason_of_a_later_terraform", "It would be destroyed: ", ""),
    ],
)
def test_terraforms_reason_is_told_with_what_helps_against_it(plan: Shown, reason: str, said: str, fix: str) -> None:
    change = {"type": "google_kms_crypto_key", "actions": ["delete"], "action_reason": reason}
    (problem,) = _refused(plan(change))
    assert said in problem.message
    assert fix in problem.fix


def test_all_refusals_come_at_once_and_only_for_what_is_lost(plan: Shown) -> None:
    changes: list[dict[str, Any]] = [
        {"type": "google_secret_manager_secret", "id": "a", "actions": ["delete"]},
        {"type": "google_artifact_registry_repository", "id": "b", "actions": ["delete", "create"]},
        {"type": "google_container_node_pool", "id": "c", "actions": ["delete", "create"]},
        {"type": "google_storage_bucket", "id": "d", "actions": ["update"]},
        {"type": "google_storage_bucket", "id": "e", "actions": ["no-op"]},
        {"type": "google_storage_bucket", "id": "f", "actions": ["forget"]},
        {"type": "google_storage_bucket", "id": "g", "actions": ["delete"], "mode": "data"},
        {"type": "google_storage_bucket", "id": "h", "actions": ["delete"], "deposed": "0a1b2c3d"},
    ]
    assert [problem.key for problem in _refused(plan(*changes))] == [
        "google_secret_manager_secret.a",
        "google_artifact_registry_repository.b",
        "google_storage_bucket.h (deposed)",
    ]


def test_a_plan_that_loses_nothing_passes_and_tells_what_it_interrupts(plan: Shown) -> None:
    replaced = {"type": "google_container_node_pool", "id": "l4", "actions": ["delete", "create"]}
    path = plan(replaced, {"type": "google_project_service", "actions": ["create"]})
    read = read_plan(path)
    destroy_check.refuse(read, str(path))
    assert read.changes == 2
    assert [loss.address for loss in destroy_check.interruptions(read)] == ["google_container_node_pool.l4"]


@pytest.mark.parametrize("kind", [kind for kind, held in KINDS.items() if held.grade is Grade.LOSES])
def test_every_type_with_data_is_protected_from_replacement(plan: Shown, kind: str) -> None:
    (problem,) = _refused(plan({"type": kind, "actions": ["create", "delete"]}))
    assert KINDS[kind].loses in problem.message
    assert problem.fix
