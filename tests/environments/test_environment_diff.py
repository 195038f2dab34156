from __future__ import annotations

from collections.abc import Callable

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from workloads.environments.diff import diff
from workloads.platform import Platform

Contract = Callable[..., Platform]


def _keys(first: Platform, second: Platform) -> set[str]:
    return {each.key for each in diff(first, second)}


def test_an_environment_differs_in_nothing_from_itself(contract: Contract) -> None:
    assert diff(contract("prod"), contract("prod")) == []


def test_names_that_follow_from_the_environment_are_no_difference(contract: Contract) -> None:
    text = contract("dev").model_dump_json().replace("tunery-dev", "tunery-qa")
    twin = Platform.model_validate_json(text).model_copy(
        update={
            "environment": "qa",
            "project": "llm-sandbox",
            "registry": "europe-west4-docker.pkg.dev/llm-sandbox/gke-llm",
            "state_bucket": "llm-sandbox-terraform",
            "buckets": {kind: f"llm-sandbox-qa-{kind}" for kind in ("models", "runs", "logs")},
        }
    )
    assert diff(contract("dev"), twin) == []


def test_another_region_is_one_difference_and_not_one_for_each_zone_and_registry(contract: Contract) -> None:
    text = contract("dev").model_dump_json().replace("europe-west4", "us-central1")
    assert _keys(contract("dev"), Platform.model_validate_json(text)) == {"region"}


def test_limits_capacities_and_switches_are_differences(contract: Contract) -> None:
    found = {each.key: each for each in diff(contract("dev"), contract("prod"))}
    assert (found["pools.l4x1.max"].first, found["pools.l4x1.max"].second) == (3, 8)
    assert found["pools.l4x1.max"].area == "pool l4x1"
    assert found["pools.l4x2.capacity"].second == ["reservation", "spot", "on-demand"]
    assert (found["egress"].first, found["egress"].second) == (True, False)
    assert "buckets.runs" not in found


def test_what_only_one_of_them_has_is_one_difference_with_its_owner(contract: Contract) -> None:
    there = [each for each in diff(contract("dev"), contract("prod")) if each.area == "team support"]
    assert [(each.only_in, each.first) for each in there] == [("prod", None)]
    back = [each for each in diff(contract("prod"), contract("dev")) if each.area == "team support"]
    assert [(each.only_in, each.second) for each in back] == [("prod", None)]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(most=st.integers(1, 99), gpus=st.integers(0, 99), egress=st.booleans())
def test_a_change_is_found_in_both_directions_and_nothing_else_is(
    contract: Contract, most: int, gpus: int, egress: bool
) -> None:
    before = contract("staging")
    values = before.model_dump(mode="json") | {"egress": egress}
    values["pools"]["l4x1"]["max"] = most
    values["teams"]["support"]["gpus"] = gpus
    after = Platform.model_validate(values)
    changed = {
        "pools.l4x1.max": most != before.pools["l4x1"].max,
        "teams.support.gpus": gpus != before.teams["support"].gpus,
        "egress": egress != before.egress,
    }
    assert _keys(before, after) == _keys(after, before) == {key for key, differs in changed.items() if differs}
