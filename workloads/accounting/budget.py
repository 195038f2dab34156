"""A team's budget of a month: asked before a run is sent."""

from __future__ import annotations

from workloads.errors import Problem
from workloads.platform import Platform


def check(
    platform: Platform, team: str, spent: float, expected: float, currency: str, *, key: str = "resources.max_hours"
) -> list[Problem]:
    """What stands against a run that costs ``expected``; nothing when the team has no budget.

    Args:
        spent: in this month, by the team's other runs, in the currency of the price list.
        expected: by this run.
        key: what of the run spec to lower.
    """
    budget = platform.teams[team].budget
    if budget is None or spent + expected <= budget:
        return []
    before = f" after {spent:,.2f} spent in this month" if spent else ""
    return [
        Problem(
            f"The run may cost {expected:,.2f} {currency}{before}; the budget of team {team} is {budget:,.2f} a month, "
            f"so {max(0.0, budget - spent):,.2f} is left.",
            "lower resources.max_hours or resources.nodes, wait for the next month, or ask operations for a larger "
            f"budget (teams.{team}.budget)",
            file=f"environment {platform.environment}",
            key=key,
            code="preflight-budget",
        )
    ]
