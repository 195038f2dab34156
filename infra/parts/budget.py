"""What the project may cost in a month before people are told. A budget tells; it stops nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from infra.bindings import google
from infra.parts.monitoring import Monitoring
from infra.scope import Scope


@dataclass(frozen=True)
class Budget:
    """The budget, or None without ``budget`` in the settings."""

    budget: Any = None


def add(scope: Scope, monitoring: Monitoring, project_number: str) -> Budget:
    """Adds the budget, whose mails go to the channels of ``monitoring``.

    ``project_number`` is the project's number, which the budget's filter asks for instead of its id.
    """
    settings = scope.environment.budget
    if settings is None:
        return Budget()
    reached = [{"threshold_percent": share, "spend_basis": "CURRENT_SPEND"} for share in sorted(settings.thresholds)]
    # The forecast arrives weeks before the bill does.
    forecast = {"threshold_percent": 1.0, "spend_basis": "FORECASTED_SPEND"}
    return Budget(
        google.billing_budget.BillingBudget(
            scope.stack,
            "budget",
            billing_account=settings.billing_account,
            display_name=scope.names.prefix,
            budget_filter={"projects": [f"projects/{project_number}"], "calendar_period": "MONTH"},
            amount={"specified_amount": {"currency_code": settings.currency, "units": str(settings.amount)}},
            threshold_rules=[*reached, forecast],
            all_updates_rule={
                "monitoring_notification_channels": [channel.id for channel in monitoring.channels],
                "disable_default_iam_recipients": True,
            },
        )
    )
