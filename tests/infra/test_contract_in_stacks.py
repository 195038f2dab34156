"""Every name of the contract stands for something that the stacks of its environment make."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from infra import names
from infra.parts.encryption import Keys
from infra.policy.terraform_json import resources
from workloads.environments.resources import KINDS

PLATFORM = Path(__file__).parents[2] / "configs" / "platform"
Stacks = Mapping[str, Mapping[str, Any]]


def _contract(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((PLATFORM / f"{name}.json").read_text(encoding="utf-8"))
    return found


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    """Every Kubernetes object in the values of the Helm releases."""
    if isinstance(value, str) and value.lstrip().startswith(("{", "[")):
        try:
            value = json.loads(value)
        except ValueError:
            return
    if isinstance(value, Mapping):
        if "kind" in value and "apiVersion" in value:
            yield dict(value)
        for each in value.values():
            yield from _objects(each)
    elif isinstance(value, list):
        for each in value:
            yield from _objects(each)


@pytest.fixture(params=["dev", "staging", "prod"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_buckets_secrets_and_keys_exist(name: str, stacks: Stacks) -> None:
    contract, cluster = _contract(name), stacks[name][f"cluster-{name}"]
    made = {bucket.get("name") for bucket in resources(cluster, "google_storage_bucket")}
    assert set(contract["buckets"].values()) == made
    secrets = {secret.get("secret_id") for secret in resources(cluster, "google_secret_manager_secret")}
    assert {secret["secret"] for secret in contract["secrets"].values()} == secrets
    keys = {key.get("name") for key in resources(cluster, "google_kms_crypto_key")}
    assert set(contract["keys"]) == keys == {field.name for field in dataclasses.fields(Keys)}
    gke = next(resources(cluster, "google_container_cluster"))
    assert gke.get("name") == contract["cluster"]


def test_every_pool_has_nodes_with_its_labels(name: str, stacks: Stacks) -> None:
    contract = _contract(name)
    pools = list(resources(stacks[name][f"cluster-{name}"], "google_container_node_pool"))
    for pool_name, pool in contract["pools"].items():
        for capacity in pool["capacity"]:
            wanted = {
                contract["labels"]["pool"]: pool_name,
                contract["labels"]["capacity"]: capacity,
                contract["labels"]["compute_class"]: pool["compute_class"],
            }
            matching = [each for each in pools if wanted.items() <= (each.get("node_config.labels") or {}).items()]
            assert len(matching) == 1, (pool_name, capacity)
            assert matching[0].get("node_config.machine_type") == pool["machine"]
            taints = {taint["key"] for taint in matching[0].arguments["node_config"]["taint"]}
            assert taints <= set(contract["taints"].values())


def test_namespaces_queues_accounts_and_classes_exist(name: str, stacks: Stacks) -> None:
    contract = _contract(name)
    releases = resources(stacks[name][f"platform-{name}"], "helm_release")
    found = {
        (each["kind"], each["metadata"].get("namespace"), each["metadata"]["name"])
        for release in releases
        for each in _objects(list(release.arguments.get("values", [])))
    }
    for pool in contract["pools"].values():
        assert ("ComputeClass", None, pool["compute_class"]) in found
    for priority in contract["priorities"]:
        assert ("WorkloadPriorityClass", None, priority) in found
    for team in contract["teams"].values():
        namespace = team["namespace"]
        assert ("Namespace", None, namespace) in found
        assert set(team["cluster_queues"]) == set(contract["pools"])
        for pool, queue in team["cluster_queues"].items():
            assert ("ClusterQueue", None, queue) in found
            assert ("LocalQueue", namespace, contract["pools"][pool]["queue"]) in found
        for account in contract["service_accounts"]:
            assert ("ServiceAccount", namespace, account) in found
        for secret_class in contract["secret_classes"].values():
            assert ("SecretProviderClass", namespace, secret_class) in found


def test_what_a_destroy_would_lose_is_known_to_destroy_check(name: str, stacks: Stacks) -> None:
    protected = {
        resource.type
        for terraform in stacks[name].values()
        for resource in resources(terraform)
        if resource.is_protected
    }
    assert protected <= set(KINDS)


def test_every_account_of_a_team_has_a_purpose() -> None:
    assert all(names.ROLES.values())
