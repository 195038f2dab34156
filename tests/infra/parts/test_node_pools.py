from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from infra.machines import MACHINES
from infra.names import CAPACITY_LABEL, COMPUTE_CLASS_LABEL, POOL_LABEL, SYSTEM_POOL, Names
from infra.parts import cluster, network, node_config, node_pools
from infra.scope import Scope
from infra.settings import Pool
from infra.settings_types import Capacity

ENVIRONMENTS = ("dev", "staging", "prod")
CAPACITIES: tuple[Capacity, ...] = ("spot", "flex-start", "on-demand", "reservation")
NODES = "tunery-nodes@example.iam.gserviceaccount.com"
KEY = "projects/example/locations/europe-west4/keyRings/tunery/cryptoKeys/cluster"


@pytest.fixture
def pools(environment, synthesize):
    """``pools("dev", pools=...)``: name of a GKE node pool -> its attributes."""

    def add(scope: Scope) -> None:
        node_pools.add(scope, cluster.add(scope, network.add(scope), NODES, KEY), NODES)

    def build(name: str, **changes: Any) -> dict[str, dict[str, Any]]:
        found = synthesize(add, environment(name, **changes))["resource"]["google_container_node_pool"]
        by_name = {pool["name"]: pool for pool in found.values()}
        assert len(by_name) == len(found)
        return by_name

    return build


def of_capacity(found: dict[str, dict[str, Any]], capacity: str) -> list[dict[str, Any]]:
    chosen = [pool for pool in found.values() if pool["node_config"]["labels"][CAPACITY_LABEL] == capacity]
    assert chosen
    return chosen


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_every_pool_exists_once_for_each_capacity_and_no_other_does(environment, pools, name):
    settings = environment(name)
    names = Names(settings)

    assert set(pools(name)) == {SYSTEM_POOL} | {
        names.node_pool(pool, capacity) for pool in settings.pools for capacity in settings.pools[pool].capacity
    }


def test_the_resources_that_come_back_are_named_as_in_gke(environment, synthesize):
    added: dict[str, Any] = {}

    def add(scope: Scope) -> None:
        added.update(node_pools.add(scope, cluster.add(scope, network.add(scope), NODES, KEY), NODES))

    terraform = synthesize(add, environment("staging"))
    assert set(added) == {pool["name"] for pool in terraform["resource"]["google_container_node_pool"].values()}


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_every_node_is_hardened_and_without_a_public_address(pools, name):
    for pool in pools(name).values():
        node = pool["node_config"]
        assert pool["network_config"]["enable_private_nodes"] is True
        assert node["service_account"] == NODES
        assert node["boot_disk_kms_key"] == KEY
        assert node["image_type"] == "COS_CONTAINERD"
        assert node["shielded_instance_config"] == {"enable_secure_boot": True, "enable_integrity_monitoring": True}
        assert node["workload_metadata_config"]["mode"] == "GKE_METADATA"
        assert node["kubelet_config"]["insecure_kubelet_readonly_port_enabled"] == "FALSE"


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_a_pod_of_a_pool_finds_its_nodes_and_no_other_pod_does(environment, pools, name):
    every = pools(name)
    for pool_name, settings in environment(name).pools.items():
        for capacity in settings.capacity:
            node = every[Names(environment(name)).node_pool(pool_name, capacity)]["node_config"]
            assert node["labels"][COMPUTE_CLASS_LABEL] == pool_name
            assert node["labels"][POOL_LABEL] == pool_name
            assert node["taint"] == [{"key": COMPUTE_CLASS_LABEL, "value": pool_name, "effect": "NO_SCHEDULE"}]


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_controllers_run_on_nodes_that_always_stand_and_are_never_taken_back(environment, pools, name):
    system = pools(name)[SYSTEM_POOL]

    assert "taint" not in system["node_config"]
    assert "spot" not in system["node_config"]
    assert "guest_accelerator" not in system["node_config"]
    assert system["autoscaling"]["total_min_node_count"] == environment(name).system.min >= 1
    assert system["autoscaling"]["location_policy"] == "BALANCED"


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_gpus_and_scratch_disks_are_those_of_the_machine(pools, name):
    for pool in pools(name).values():
        node = pool["node_config"]
        machine = MACHINES[node["machine_type"]]
        assert sum(gpu["count"] for gpu in node.get("guest_accelerator", [])) == machine.gpus
        for gpu in node.get("guest_accelerator", []):
            assert gpu["gpu_driver_installation_config"]["gpu_driver_version"] == "LATEST"
            assert "gpu_sharing_config" not in gpu
        assert node.get("ephemeral_storage_local_ssd_config", {}).get("local_ssd_count", 0) == machine.local_ssds


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_pools_shrink_to_nothing_and_their_limit_counts_all_zones(environment, pools, name):
    every = pools(name)
    for pool_name, settings in environment(name).pools.items():
        for capacity in settings.capacity:
            found = every[Names(environment(name)).node_pool(pool_name, capacity)]
            assert found["autoscaling"] == {
                "total_min_node_count": 0,
                "total_max_node_count": settings.max,
                "location_policy": "ANY",
            }
            assert found["initial_node_count"] == 0


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_spot_is_bought_where_the_pool_says_spot_and_nowhere_else(pools, name):
    for pool in pools(name).values():
        assert pool["node_config"].get("spot", False) is (pool["node_config"]["labels"][CAPACITY_LABEL] == "spot")


@pytest.mark.parametrize("name", ["staging", "prod"])
def test_flex_start_pools_are_as_gke_demands(pools, name):
    for pool in of_capacity(pools(name), "flex-start"):
        node = pool["node_config"]
        assert node["flex_start"] is True
        assert node["reservation_affinity"] == {"consume_reservation_type": "NO_RESERVATION"}
        assert pool["management"]["auto_repair"] is False
        assert pool["autoscaling"]["location_policy"] == "ANY"
        assert pool["autoscaling"]["total_min_node_count"] == pool["initial_node_count"] == 0
        assert 0 < int(re.fullmatch(r"(\d+)s", node["max_run_duration"])[1]) <= 7 * 24 * 3600
        assert "upgrade_settings" not in pool
        assert node["guest_accelerator"]


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_every_other_pool_repairs_itself_and_every_pool_is_kept_up_to_date(pools, name):
    for pool in pools(name).values():
        assert pool["management"]["auto_upgrade"] is True
        if "flex_start" not in pool["node_config"]:
            assert pool["management"]["auto_repair"] is True


def test_a_reservation_is_drawn_on_by_its_own_pool_only(environment, pools):
    found = pools("prod")

    (reserved,) = of_capacity(found, "reservation")
    assert reserved["node_config"]["reservation_affinity"]["values"] == [environment("prod").pools["l4x2"].reservation]
    others = [pool for pool in found.values() if pool is not reserved]
    assert all("values" not in pool["node_config"].get("reservation_affinity", {}) for pool in others)


def test_an_upgrade_takes_a_node_more_only_where_one_can_be_had(pools):
    found = pools("prod")

    for capacity in ("spot", "reservation"):
        for pool in of_capacity(found, capacity):
            assert pool["upgrade_settings"]["max_surge"] == 0
            assert pool["upgrade_settings"]["max_unavailable"] > 0
    for pool in of_capacity(found, "on-demand"):
        assert pool["upgrade_settings"]["max_unavailable"] == 0
        assert pool["upgrade_settings"]["max_surge"] > 0


@given(capacity=st.permutations(CAPACITIES).flatmap(lambda order: st.integers(1, 4).map(lambda count: order[:count])))
def test_nodes_that_always_run_are_held_by_the_capacity_that_stays(capacity):
    pool = Pool(machine="g2-standard-8", gpus=1, min=1, capacity=tuple(capacity), reservation="l4")
    standing = node_pools.standing_capacity(pool)

    assert standing in {"reservation", "on-demand"} & set(capacity) or standing is None
    assert (standing is None) == {"reservation", "on-demand"}.isdisjoint(capacity)
    # A reservation is paid for whether or not its nodes run.
    assert standing == "reservation" or "reservation" not in capacity


def test_the_minimum_of_a_pool_is_held_once_and_reached_at_the_start(environment, pools):
    settings = environment("prod")
    wanted = {"cpu": {"machine": "e2-standard-8", "min": 4, "max": 10, "capacity": ["spot", "on-demand"]}}
    found = pools("prod", pools=wanted)

    assert found["cpu-spot"]["autoscaling"]["total_min_node_count"] == 0
    assert found["cpu-on-demand"]["autoscaling"]["total_min_node_count"] == 4
    assert found["cpu-on-demand"]["initial_node_count"] * len(settings.zones) >= 4
    assert found["cpu-spot"]["initial_node_count"] == 0


def test_another_minimum_does_not_replace_a_pool(pools):
    for pool in pools("dev").values():
        assert pool["lifecycle"]["ignore_changes"] == ["initial_node_count"]


def test_a_pool_is_four_lines_of_yaml(environment, pools):
    added = yaml.safe_load("""
      l4x4:
        machine: g2-standard-48
        gpus: 4
        max: 2
    """)
    existing = {name: pool.model_dump(exclude_unset=True) for name, pool in environment("dev").pools.items()}
    found = pools("dev", pools={**existing, **added})

    assert set(found) - set(pools("dev")) == {"l4x4-spot", "l4x4-on-demand"}
    assert found["l4x4-spot"]["node_config"]["guest_accelerator"][0]["count"] == 4
    assert found["l4x4-spot"]["autoscaling"]["total_max_node_count"] == 2


def test_a_pool_may_keep_to_some_of_the_zones(pools):
    zone = "europe-west4-b"
    found = pools("dev", pools={"cpu": {"machine": "e2-standard-8", "zones": [zone]}})

    assert found["cpu-spot"]["node_locations"] == [zone]
    assert len(found[SYSTEM_POOL]["node_locations"]) > 1


def test_images_are_preloaded_from_a_disk_and_only_where_images_stream(environment):
    image = "projects/example-images/global/images/trainer"
    settings = environment("dev", pools={"l4x1": {"machine": "g2-standard-8", "gpus": 1, "preload": image}})
    node = node_config.pool(settings, "l4x1", "spot", NODES, KEY)

    assert node["secondary_boot_disks"] == [{"disk_image": image, "mode": "CONTAINER_IMAGE_CACHE"}]
    assert node["gcfs_config"]["enabled"] is True


def test_what_a_pool_costs_can_be_read_off_the_bill(environment):
    settings = environment("dev", labels={"cost-center": "ml"})
    labels = node_config.pool(settings, "l4x1", "spot", NODES, KEY)["resource_labels"]

    assert labels["cost-center"] == "ml"
    assert (labels["environment"], labels["pool"], labels["capacity"]) == ("dev", "l4x1", "spot")
