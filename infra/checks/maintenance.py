"""Maintenance: windows and exclusions that GKE accepts.

Source: Google Cloud's page "Maintenance windows and exclusions".
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from infra.checks.finding import Finding, repeated
from infra.settings import Environment, Maintenance
from infra.settings_yaml import Location

WEEKDAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
MAINTENANCE_DAYS, MAINTENANCE_HOURS = 92, 48
"""In any so many days GKE must have so many hours; it counts blocks of four hours or more."""
FREEZE_DAYS, FREEZES = 90, 3
"""The longest exclusion from all upgrades, and how many of them a cluster may have."""
SUPPORT_DAYS = 426
"""GKE supports a minor version for 14 months, and ends an exclusion then."""


def maintenance(environment: Environment) -> Iterator[Finding]:
    """The window and its exclusions."""
    settings = environment.cluster.maintenance
    key: Location = ("cluster", "maintenance", "exclusions")
    yield from repeated(("cluster", "maintenance", "days"), settings.days)
    yield from repeated(key, [each.name for each in settings.exclusions])
    long = False
    for number, each in enumerate(settings.exclusions):
        days = (each.end - each.start).days + 1
        limit = FREEZE_DAYS if each.scope == "NO_UPGRADES" else SUPPORT_DAYS
        if days < 1:
            yield Finding((*key, number, "end"), f"It ends before {each.start}, its start.", "swap the two days")
        elif days > limit:
            long = True
            yield Finding((*key, number, "end"), f"{days} days; {each.scope} may last {limit}.", "end it earlier")
    if sum(each.scope == "NO_UPGRADES" for each in settings.exclusions) > FREEZES:
        message = f"GKE takes {FREEZES} exclusions with NO_UPGRADES at most."
        yield Finding(key, message, "give some of them the scope NO_MINOR_OR_NODE_UPGRADES")
    elif not long and (hours := _least_hours(settings)) < MAINTENANCE_HOURS:
        yield Finding(
            key,
            f"They leave {hours} hours for upgrades in some {MAINTENANCE_DAYS} days; GKE asks for {MAINTENANCE_HOURS}.",
            "shorten an exclusion, or give cluster.maintenance more days or hours",
        )


def _least_hours(settings: Maintenance) -> int:
    """The fewest hours that any 92 days around an exclusion leave for upgrades."""
    freezes = [each for each in settings.exclusions if each.scope == "NO_UPGRADES"]
    fewest = MAINTENANCE_DAYS * 24
    for freeze in freezes:
        first = freeze.start - timedelta(days=MAINTENANCE_DAYS - 1)
        days = [first + timedelta(days=number) for number in range((freeze.end - first).days + MAINTENANCE_DAYS)]
        hours = [
            settings.hours
            if WEEKDAYS[day.weekday()] in settings.days and not any(each.start <= day <= each.end for each in freezes)
            else 0
            for day in days
        ]
        starts = range(len(hours) - MAINTENANCE_DAYS + 1)
        fewest = min(fewest, *(sum(hours[start : start + MAINTENANCE_DAYS]) for start in starts))
    return fewest
