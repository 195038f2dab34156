from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from workloads.environments import costs
from workloads.environments.overview import as_dict
from workloads.platform import Platform
from workloads.prices import PriceList

Contract = Callable[..., Platform]


def _pools(platform: Platform, **changes: object) -> dict[str, object]:
    return {name: pool.model_dump(mode="json") | changes for name, pool in platform.pools.items()}


def test_an_idle_environment_pays_for_the_cluster_and_the_nodes_of_its_controllers(
    contract: Contract, price_list: PriceList
) -> None:
    bill = costs.idle(contract("prod"), price_list)
    lines = {line.what: line for line in bill.lines}
    assert lines["GKE's management fee"].count == 1
    assert lines["system nodes"].count == 3
    assert not [what for what in lines if what.startswith("nodes of")]
    # 3 e2-standard-4 with 100 GB each, by the list: 3 * (4 * 0.03688602 + 100 * 0.11 / 730) + 0.10, keys and secrets
    assert bill.hour.expected == pytest.approx(0.10 + 3 * (0.14754 + 0.01507) + 10 * 0.06 / 730, abs=1e-4)
    assert bill.hour.low == bill.hour.high


def test_nodes_that_always_run_are_billed_as_they_are_bought_first(contract: Contract, price_list: PriceList) -> None:
    dev = contract("dev")
    busy = contract("dev", pools=_pools(dev, min=2))
    lines = {line.what: line for line in costs.idle(busy, price_list).lines}
    assert lines["nodes of l4x1, spot"].count == 2
    assert "nodes of l4x1, on-demand" not in lines


def test_the_limit_counts_every_capacity_of_every_pool(contract: Contract, price_list: PriceList) -> None:
    prod = contract("prod")
    lines = {line.what: line.count for line in costs.at_limits(prod, price_list).lines}
    assert lines["nodes of l4x2, reservation"] == lines["nodes of l4x2, spot"] == prod.pools["l4x2"].max
    assert lines["system nodes"] == prod.system.max


def test_cloud_nat_is_paid_for_only_with_egress_and_no_more_than_its_most(
    contract: Contract, price_list: PriceList
) -> None:
    def nat(bill: costs.Bill) -> list[float]:
        return [line.hour.expected for line in bill.lines if line.hour is not None and "NAT" in line.what]

    assert nat(costs.idle(contract("prod"), price_list)) == []
    few = costs.idle(contract("prod", egress=True), price_list)
    assert nat(few) == [pytest.approx(3 * 0.0014 + 0.005)]
    assert nat(costs.at_limits(contract("prod", egress=True), price_list)) == [pytest.approx(0.044 + 0.005)]
    assert "through Cloud NAT" in costs.by_use(contract("dev"), price_list)
    assert "through Cloud NAT" not in costs.by_use(contract("prod"), price_list)


def test_what_has_no_price_is_named_and_left_out_of_the_sum(contract: Contract, price_list: PriceList) -> None:
    elsewhere = contract("dev", region="europe-west1")
    bill = costs.at_limits(elsewhere, price_list)
    assert "system nodes" in bill.without_price
    assert "nodes of l4x2, spot" in bill.without_price
    assert 0 < bill.hour.expected < 0.2


def test_a_price_that_nobody_checked_marks_the_whole_sum(contract: Contract, price_list: PriceList) -> None:
    assert costs.idle(contract("staging"), price_list).hour.verified
    assert not costs.at_limits(contract("staging"), price_list).hour.verified  # flex-start


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(least=st.integers(0, 20), more=st.integers(1, 20))
def test_a_larger_limit_never_costs_less(contract: Contract, price_list: PriceList, least: int, more: int) -> None:
    dev = contract("dev")
    small = contract("dev", pools=_pools(dev, min=least, max=least + 1))
    large = contract("dev", pools=_pools(dev, min=least, max=least + 1 + more))
    assert costs.idle(small, price_list).hour == costs.idle(large, price_list).hour
    assert costs.at_limits(small, price_list).hour.low < costs.at_limits(large, price_list).hour.low
    assert costs.idle(small, price_list).hour.high <= costs.at_limits(small, price_list).hour.high


def test_the_overview_names_the_source_and_date_of_every_price_in_it(contract: Contract, price_list: PriceList) -> None:
    found = as_dict(contract("prod"), price_list)
    sources = found["costs"]["sources"]
    assert {price["source"] for price in found["costs"]["by_use"].values()} <= set(sources)
    assert "gke" in sources
    assert "dws" in sources
    assert all(source["date"] for source in sources.values())
    trainer = found["identities"]["trainer"]
    assert trainer == {"stages": ["prepare", "train", "evaluate", "export"], "secrets": []}
    assert found["costs"]["idle"]["month"]["expected"] == pytest.approx(
        730 * sum(line["hour"]["expected"] for line in found["costs"]["idle"]["lines"]), rel=1e-2
    )
