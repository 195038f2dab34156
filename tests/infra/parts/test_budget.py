from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from infra.parts import budget
from infra.parts.monitoring import Monitoring
from infra.settings import Environment

MONITORING = Monitoring([SimpleNamespace(id="channel-1"), SimpleNamespace(id="channel-2")], [], None)


@pytest.fixture
def made(environment: Callable[..., Environment], synthesize: Callable[..., Any]) -> Callable[..., dict[str, Any]]:
    def run(name: str) -> dict[str, Any]:
        terraform = synthesize(lambda scope: budget.add(scope, MONITORING, "123456"), environment(name))
        resources: dict[str, Any] = terraform.get("resource", {})
        return resources

    return run


def test_without_a_budget_in_the_settings_there_is_none(made: Callable[..., Any]) -> None:
    assert made("dev") == {}


def test_it_counts_this_project_alone_in_the_currency_of_the_account(made: Callable[..., Any]) -> None:
    found = made("prod")["google_billing_budget"]["budget"]
    assert found["budget_filter"]["projects"] == ["projects/123456"]
    assert found["budget_filter"]["calendar_period"] == "MONTH"
    assert found["amount"] == {"specified_amount": {"currency_code": "EUR", "units": "12000"}}


def test_people_are_told_on_the_way_at_the_amount_and_when_it_is_forecast(made: Callable[..., Any]) -> None:
    found = made("prod")["google_billing_budget"]["budget"]
    rules = [(rule["threshold_percent"], rule["spend_basis"]) for rule in found["threshold_rules"]]
    assert rules == [
        (0.5, "CURRENT_SPEND"),
        (0.8, "CURRENT_SPEND"),
        (1.0, "CURRENT_SPEND"),
        (1.0, "FORECASTED_SPEND"),
    ]
    told = found["all_updates_rule"]
    assert told["monitoring_notification_channels"] == ["channel-1", "channel-2"]
    assert told["disable_default_iam_recipients"] is True
