"""What runs cost: the prices of their nodes, forecasts, bills and budgets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads import platform, prices
from workloads.accounting.actual import Actual, Use, actual, total, training_hours
from workloads.accounting.budget import check
from workloads.accounting.forecast import forecast
from workloads.accounting.rates import Rates, rates
from workloads.platform import Platform
from workloads.prices import Cost, PriceList
from workloads.report.source import RunSource, read_run
from workloads.run_spec import RunSpec

HOUR = 3600.0
START = 1_780_000_000.0
RATES = Rates(gpu=Cost(1.0, 2.0, 4.0), cpu=Cost(0.5, 0.5, 0.5), pool="l4x1", currency="USD")


@pytest.fixture
def contract(repository: Path) -> Platform:
    return platform.load("prod", repository / "configs" / "platform")


@pytest.fixture
def price_list(repository: Path) -> PriceList:
    return prices.load(repository / "configs" / "prices.json")


def _spec(**resources: Any) -> RunSpec:
    return RunSpec.model_validate({"name": "chat", "training": {"stage": "sft"}, "resources": resources})


def _source(folder: Path, *events: tuple[float, str, dict[str, Any]]) -> RunSource:
    """A run with these events, at hours after its start."""
    lines = [json.dumps({"time": START + at * HOUR, "event": name, **more}) for at, name, more in events]
    (folder / "events.jsonl").write_text("".join(f"{line}\n" for line in lines))
    (folder / "run.json").write_text(json.dumps({"id": "chat-0a1b2c3d4e", "spec": {"name": "chat"}}))
    return read_run(folder)


PREEMPTED = (
    (0.0, "stage_started", {"stage": "prepare"}),
    (0.5, "stage_finished", {"stage": "prepare"}),
    (1.0, "inputs_ready", {"stage": "train", "seconds": 360.0}),
    (1.0, "stage_started", {"stage": "train"}),
    (1.0, "train_started", {"step": 0, "max_steps": 100}),
    (2.0, "checkpoint_saved", {"step": 50, "seconds": 0.0}),
    (2.5, "log", {"step": 75, "loss": 1.0}),
    (4.5, "stage_started", {"stage": "train"}),
    (4.5, "train_started", {"step": 50, "max_steps": 100}),
    (5.5, "log", {"step": 100, "loss": 0.9}),
    (5.5, "stage_finished", {"stage": "train"}),
)


def test_a_rate_spans_the_ways_in_which_its_pool_is_bought(contract: Platform, price_list: PriceList) -> None:
    pool = next(name for name, each in contract.pools.items() if each.gpus == 1 and len(each.capacity) > 1)
    whole = contract.pools[pool]
    any_way, certain = (rates(_spec(pool=pool, capacity=how), contract, price_list).gpu for how in ("any", "on-demand"))
    assert any_way is not None
    assert certain is not None
    assert any_way.low < any_way.high
    assert certain.low == certain.expected == certain.high == any_way.high
    preferred = price_list.node_hour(whole, contract.region, whole.capacity[0])
    assert preferred is not None
    assert any_way.expected == preferred.expected


def test_a_part_of_a_node_and_several_nodes_are_counted(contract: Platform, price_list: PriceList) -> None:
    pool = next(name for name, each in contract.pools.items() if each.gpus == 2)
    whole = rates(_spec(pool=pool, count=2), contract, price_list).gpu
    half = rates(_spec(pool=pool, count=1), contract, price_list).gpu
    gang = rates(_spec(pool=pool, count=2, nodes=3), contract, price_list).gpu
    assert whole is not None
    assert half is not None
    assert gang is not None
    assert half.expected == pytest.approx(whole.expected / 2)
    assert gang.expected == pytest.approx(whole.expected * 3)


def test_a_region_without_prices_has_no_rate(contract: Platform, price_list: PriceList) -> None:
    elsewhere = contract.model_copy(update={"region": "mars-north1"})
    found = rates(_spec(), elsewhere, price_list)
    assert found.gpu is None
    assert forecast(found, 10) is None


def test_a_forecast_says_only_what_is_known() -> None:
    unknown = forecast(RATES, max_hours=48)
    assert unknown is not None
    assert (unknown.low, unknown.expected, unknown.high) == (None, None, 192.0)
    known = forecast(RATES, max_hours=48, hours=10)
    assert known is not None
    assert (known.low, known.expected, known.high) == (10.0, 20.0, 192.0)
    assert known.as_dict()["expected"] == 20.0


@given(st.floats(0.01, 720), st.floats(0.01, 2000))
def test_a_forecast_is_in_order(max_hours: float, hours: float) -> None:
    found = forecast(RATES, max_hours, hours)
    assert found is not None
    assert found.low is not None
    assert found.expected is not None
    assert 0 < found.low <= found.expected <= found.high


def test_a_bill_tells_useful_lost_and_moving_apart_and_waiting_is_free(tmp_path: Path) -> None:
    bill = actual(_source(tmp_path, *PREEMPTED), RATES)
    hours = {use: bill.seconds(use) / HOUR for use in Use}
    # half an hour of prepare and two of training; the half hour after the checkpoint was done again
    assert hours[Use.USEFUL] == pytest.approx(0.5 + 1.0 + 1.0)
    assert hours[Use.LOST] == pytest.approx(0.5)
    assert hours[Use.MOVING] == pytest.approx(0.1)
    assert bill.cost(Use.USEFUL).expected == pytest.approx(0.5 * 0.5 + 2.0 * 2.0)
    assert bill.cost(Use.LOST).low == pytest.approx(0.5 * 1.0)
    assert bill.cost(Use.LOST).high == pytest.approx(0.5 * 4.0)
    assert bill.cost(Use.MOVING).expected == pytest.approx(0.1 * 2.0)
    assert bill.waiting / HOUR == pytest.approx(0.5 + 2.0 - 0.1)
    assert bill.cost().expected == pytest.approx(sum(bill.cost(use).expected for use in Use))


def test_a_node_without_a_price_is_said_to_be_missing(tmp_path: Path) -> None:
    bill = actual(_source(tmp_path, *PREEMPTED), Rates(None, RATES.cpu, "x", "USD"))
    assert bill.unpriced
    assert bill.as_dict()["complete"] is False
    assert bill.cost().expected == pytest.approx(0.25)


def test_a_run_that_did_nothing_costs_nothing(tmp_path: Path) -> None:
    bill = actual(_source(tmp_path), RATES)
    assert (bill.cost().high, bill.waiting, bill.unpriced) == (0.0, 0.0, False)


def test_bills_add_up(tmp_path: Path) -> None:
    one = actual(_source(tmp_path, *PREEMPTED), RATES)
    both = total([one, one, Actual((), 60.0, "USD")], "USD")
    assert both.cost().expected == pytest.approx(2 * one.cost().expected)
    assert both.seconds(Use.LOST) == pytest.approx(2 * one.seconds(Use.LOST))
    assert both.waiting == pytest.approx(2 * one.waiting + 60)
    assert len(both.parts) == len(one.parts)


def test_the_time_of_a_training_is_known_when_it_has_ended(tmp_path: Path) -> None:
    assert training_hours(_source(tmp_path, *PREEMPTED)) == pytest.approx(2.5)
    assert training_hours(_source(tmp_path, *PREEMPTED[:7])) is None


def test_a_budget_refuses_with_figures_and_without_one_nothing_is_refused(contract: Platform) -> None:
    team = next(iter(contract.teams))

    def teams(budget: float | None) -> Platform:
        changed = contract.teams[team].model_copy(update={"budget": budget})
        return contract.model_copy(update={"teams": {**contract.teams, team: changed}})

    assert check(teams(None), team, 1e9, 1e9, "USD") == []
    assert check(teams(500.0), team, 400.0, 100.0, "USD") == []
    (problem,) = check(teams(500.0), team, 450.0, 100.0, "USD")
    assert all(figure in problem.message for figure in ("100.00", "450.00", "500.00", "50.00"))
    assert problem.code == "preflight-budget"
    (over,) = check(teams(500.0), team, 800.0, 1.0, "USD")
    assert "so 0.00 is left" in over.message
