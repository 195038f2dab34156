from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra import names as n
from infra.machines import MACHINES
from infra.objects import queues, quotas
from infra.settings import Environment

Read = Callable[..., Environment]
GPU = "nvidia.com/gpu"


def of_kind(environment: Environment, kind: str) -> dict[str, dict[str, Any]]:
    return {item["metadata"]["name"]: item for item in queues.objects(environment) if item["kind"] == kind}


def gpus(item: dict[str, Any], key: str = "nominalQuota") -> dict[str, int]:
    (group,) = item["spec"]["resourceGroups"]
    return {
        flavor["name"]: int(resource[key])
        for flavor in group["flavors"]
        for resource in flavor["resources"]
        if resource["name"] == GPU and key in resource
    }


def of_team(environment: Environment, team: str) -> list[dict[str, Any]]:
    """A team's ClusterQueues, in the order of the pools."""
    found = of_kind(environment, "ClusterQueue")
    return [found[n.Names(environment).cluster_queue(team, pool)] for pool in environment.pools]


@given(gpus=st.integers(0, 200), nodes=st.dictionaries(st.sampled_from("abcd"), st.integers(0, 8), min_size=1))
def test_all_gpus_are_dealt_in_whole_nodes_but_for_a_rest(gpus: int, nodes: dict[str, int]) -> None:
    dealt = quotas.deal(gpus, nodes)
    with_gpus = {pool: size for pool, size in nodes.items() if size}
    assert set(dealt) == set(with_gpus)
    if with_gpus:
        assert sum(dealt.values()) == gpus
        odd = [pool for pool, share in dealt.items() if share % with_gpus[pool]]
        assert len(odd) <= 1
        assert all(with_gpus[pool] == min(with_gpus.values()) for pool in odd)


@pytest.mark.parametrize("name", ["dev", "staging", "prod"])
def test_a_team_owns_what_its_settings_say(environment: Read, name: str) -> None:
    chosen = environment(name)
    for team, settings in chosen.teams.items():
        owned = of_team(chosen, team)
        assert [list(gpus(queue)) for queue in owned] == [[pool] for pool in chosen.pools]
        assert sum(sum(gpus(queue).values()) for queue in owned) == settings.gpus
        limits = [limit for queue in owned for limit in gpus(queue, "borrowingLimit").values()]
        assert sum(limits) == (settings.borrow or 0)
        assert bool(limits) is (settings.borrow is not None)


@pytest.mark.parametrize("name", ["dev", "staging", "prod"])
def test_teams_and_cohort_together_own_all_there_can_be(environment: Read, name: str) -> None:
    chosen = environment(name)
    (cohort,) = of_kind(chosen, "Cohort").values()
    owners = [cohort, *of_kind(chosen, "ClusterQueue").values()]
    for pool, settings in chosen.pools.items():
        most = settings.max * len(settings.capacity) * MACHINES[settings.machine].gpus
        assert sum(gpus(owner).get(pool, 0) for owner in owners) == most
    assert {queue["spec"]["cohortName"] for queue in owners[1:]} == {cohort["metadata"]["name"]}


def test_a_training_of_a_whole_node_fits_into_what_a_team_owns(environment: Read) -> None:
    queue = of_kind(environment("dev"), "ClusterQueue")["team-research-l4x2"]
    assert gpus(queue)["l4x2"] == 2


def test_a_flavor_is_a_pool_s_compute_class(environment: Read) -> None:
    for pool, flavor in of_kind(environment("prod"), "ResourceFlavor").items():
        assert flavor["spec"]["nodeLabels"] == {n.COMPUTE_CLASS_LABEL: pool}
        keys = {item["key"] for item in flavor["spec"]["tolerations"]}
        assert n.COMPUTE_CLASS_LABEL in keys
        assert (n.GPU_TAINT in keys) is (pool != n.CPU_POOL)


def test_only_lent_gpus_are_taken_back_and_priorities_stop_nobody(environment: Read) -> None:
    for queue in of_kind(environment("prod"), "ClusterQueue").values():
        assert queue["spec"]["preemption"] == {"reclaimWithinCohort": "Any", "withinClusterQueue": "Never"}


def test_runs_start_by_priority_and_age(environment: Read) -> None:
    for queue in of_kind(environment("prod"), "ClusterQueue").values():
        assert queue["spec"]["queueingStrategy"] == "StrictFIFO"


def test_a_team_uses_only_its_own_queues_by_the_contract_s_names(environment: Read) -> None:
    chosen = environment("prod")
    names = n.Names(chosen)
    local = [item for item in queues.objects(chosen) if item["kind"] == "LocalQueue"]
    assert {
        (item["metadata"]["namespace"], item["metadata"]["name"], item["spec"]["clusterQueue"]) for item in local
    } == {
        (names.team_namespace(team), names.local_queue(pool), names.cluster_queue(team, pool))
        for team in chosen.teams
        for pool in chosen.pools
    }
    for team in chosen.teams:
        for queue in of_team(chosen, team):
            assert queue["spec"]["namespaceSelector"] == {"matchLabels": {n.TEAM_LABEL: team}}


def test_priorities_are_the_contract_s(environment: Read) -> None:
    found = {name: item["value"] for name, item in of_kind(environment("dev"), "WorkloadPriorityClass").items()}
    assert found == n.PRIORITIES
