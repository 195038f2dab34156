from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infra import compute_class
from infra.machines import MACHINES
from infra.names import Names
from infra.parts import cluster, network, node_pools

ENVIRONMENTS = ("dev", "staging", "prod")
NODES = "tunery-nodes@example.iam.gserviceaccount.com"
KEY = "projects/example/locations/europe-west4/keyRings/tunery/cryptoKeys/cluster"


def tried(one: dict[str, Any]) -> list[str]:
    """The node pools of a class in the order in which GKE tries them; within one entry there is none."""
    entries = [entry["nodepools"] for entry in one["spec"]["priorities"]]
    assert all(len(entry) == 1 for entry in entries)
    return [entry[0] for entry in entries]


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_classes_name_exactly_the_node_pools_that_exist_for_runs(environment, synthesize, name):
    def add(scope):
        node_pools.add(scope, cluster.add(scope, network.add(scope), NODES, KEY), NODES)

    terraform = synthesize(add, environment(name))
    tainted = {
        pool["name"]: pool["node_config"]["taint"][0]["value"]
        for pool in terraform["resource"]["google_container_node_pool"].values()
        if "taint" in pool["node_config"]
    }
    named = {pool: one["metadata"]["name"] for one in compute_class.objects(environment(name)) for pool in tried(one)}
    assert named == tainted


@given(capacity=st.permutations(("spot", "flex-start", "on-demand", "reservation")))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_capacities_are_tried_in_the_order_of_the_settings(environment, capacity):
    pool = {"machine": "g2-standard-8", "gpus": 1, "capacity": capacity, "reservation": "l4"}
    changed = environment("dev", pools={"l4x1": pool})

    (one,) = compute_class.objects(changed)
    assert tried(one) == [Names(changed).node_pool("l4x1", each) for each in capacity]


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_nothing_is_bought_that_the_settings_do_not_name_and_nothing_that_runs_is_moved(environment, name):
    for one in compute_class.objects(environment(name)):
        assert one["apiVersion"] == "cloud.google.com/v1"
        assert one["kind"] == "ComputeClass"
        assert one["spec"]["nodePoolAutoCreation"] == {"enabled": False}
        assert one["spec"]["whenUnsatisfiable"] == "DoNotScaleUp"
        assert one["spec"]["activeMigration"] == {"optimizeRulePriority": False}


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_a_node_with_one_busy_gpu_stays_and_one_without_goes(environment, name):
    for one in compute_class.objects(environment(name)):
        machine = MACHINES[environment(name).pools[one["metadata"]["name"]].machine]
        threshold = one["spec"]["autoscalingPolicy"].get("gpuConsolidationThreshold")
        if machine.gpus:
            assert 0 < threshold < 100 / machine.gpus
        else:
            assert threshold is None


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_idle_nodes_are_given_up_within_what_the_custom_resource_allows(environment, name):
    for one in compute_class.objects(environment(name)):
        assert 1 <= one["spec"]["autoscalingPolicy"]["consolidationDelayMinutes"] <= 10
