"""What destroying an environment would lose, what would still cost money, and which plans are refused for it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from workloads.environments.resources import (
    DISKS_STAY,
    KINDS,
    RESERVATION_STAYS,
    SNAPSHOTS_STAY,
    STATE_STAYS,
    Grade,
)
from workloads.environments.terraform import Plan, Removal, Resource
from workloads.errors import InputError, Problem
from workloads.platform import Platform
from workloads.prices import Cost, PriceList

_WHY = {
    "replace_because_tainted": "because it is tainted",
    "replace_by_request": "because -replace asks for it",
    "replace_by_triggers": "because replace_triggered_by names something that changes",
    "delete_because_no_resource_config": "because the stack no longer has it",
    "delete_because_no_module": "because the stack no longer has its module",
    "delete_because_no_move_target": "because it was moved to where nothing is",
}
"""Terraform's words for why -> ours; the ``delete_because_`` ones that remain are about count and for_each."""

_FIXES = {
    "replace_because_tainted": "`terraform untaint` it if it works",
    "replace_by_request": "plan without -replace",
    "delete_because_no_resource_config": "give it its old id again, or tell Terraform by a moved block where it went",
}
"""Where the reason knows better than the type what to do."""


@dataclass(frozen=True, slots=True)
class Loss:
    """A resource and what goes with it. ``guard`` says what would still stop Terraform, or is empty."""

    address: str
    name: str
    what: str
    guard: str

    def as_dict(self) -> dict[str, str]:
        """The loss for ``--json``."""
        return {"address": self.address, "name": self.name, "what": self.what, "guard": self.guard}


@dataclass(frozen=True, slots=True)
class Remainder:
    """What is still paid for after a destroy. ``month`` is the price of one unit, where the contract knows one."""

    what: str
    why: str
    month: Cost | None = None
    unit: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The remainder for ``--json``."""
        month = None if self.month is None else self.month.as_dict()
        return {"what": self.what, "why": self.why, "month": month, "unit": self.unit}


@dataclass(frozen=True, slots=True)
class Report:
    """What a destroy of everything in a state would do."""

    resources: int
    losses: tuple[Loss, ...]
    interruptions: tuple[Loss, ...]
    remainders: tuple[Remainder, ...]

    def as_dict(self) -> dict[str, Any]:
        """The report for ``--json``."""
        return {
            "resources": self.resources,
            "loses": [loss.as_dict() for loss in self.losses],
            "interrupts": [loss.as_dict() for loss in self.interruptions],
            "keeps_costing": [remainder.as_dict() for remainder in self.remainders],
        }


def check(resources: Sequence[Resource], platform: Platform, prices: PriceList) -> Report:
    """What a destroy of these resources would lose, and what would still cost money.

    Raises:
        InputError: when the resources are those of another environment.
    """
    for resource in resources:
        if resource.type == "google_container_cluster" and _name(resource) != platform.cluster:
            raise InputError.of(
                f"This state has the cluster {_name(resource)}; that of {platform.environment} is {platform.cluster}.",
                "give the state of the same environment",
                key=resource.address,
            )
    return Report(
        len(resources),
        tuple(_losses(resources, Grade.LOSES)),
        tuple(_losses(resources, Grade.INTERRUPTS)),
        (*_in_state(resources, platform, prices), *_outside(platform, prices)),
    )


def refuse(plan: Plan, file: str) -> None:
    """Passes a plan that loses no data.

    Raises:
        InputError: with every resource whose data the plan would lose, and why it would.
    """
    problems = [
        _problem(removal, file)
        for removal in plan.removals
        if removal.resource.type in KINDS and KINDS[removal.resource.type].grade is Grade.LOSES
    ]
    if problems:
        raise InputError(problems)


def interruptions(plan: Plan) -> list[Loss]:
    """What a plan interrupts without losing data."""
    return list(_losses([removal.resource for removal in plan.removals], Grade.INTERRUPTS))


def _losses(resources: Iterable[Resource], grade: Grade) -> list[Loss]:
    found = [(resource, KINDS[resource.type]) for resource in resources if resource.type in KINDS]
    return [
        Loss(resource.address, _name(resource), kind.loses, _guard(resource))
        for resource, kind in found
        if kind.grade is grade
    ]


def _name(resource: Resource) -> str:
    for key in ("name", "secret_id", "repository_id", "bucket_id", "account_id"):
        value = resource.values.get(key)
        if isinstance(value, str):
            return value
    return ""


def _guard(resource: Resource) -> str:
    if resource.values.get("deletion_protection") is True:
        return "deletion_protection is on"
    if resource.type == "google_storage_bucket" and resource.values.get("force_destroy") is False:
        return "Google refuses while there are objects in it"
    return ""


def _problem(removal: Removal, file: str) -> Problem:
    kind = KINDS[removal.resource.type]
    verb = "replaced" if removal.replaced else "destroyed"
    reason = f" {_why(removal)}" if _why(removal) else ""
    return Problem(
        f"It would be {verb}{reason}: {kind.loses}.",
        _FIXES.get(removal.reason, kind.fix),
        file=file,
        key=removal.resource.address,
        code="protected-resource",
    )


def _why(removal: Removal) -> str:
    if removal.paths:
        return f"because {', '.join(removal.paths)} {'change' if len(removal.paths) > 1 else 'changes'}"
    if removal.reason.startswith("delete_because_"):
        return _WHY.get(removal.reason, "because count or for_each no longer names it")
    return _WHY.get(removal.reason, "")


def _in_state(resources: Iterable[Resource], platform: Platform, prices: PriceList) -> list[Remainder]:
    region = prices.regions.get(platform.region)
    objects = None if region is None else region.object_gb.cost()
    of_type = {
        "google_storage_bucket": (objects, "GiB"),
        "google_kms_crypto_key": (prices.everywhere.key_version.cost(), "version"),
        "google_logging_project_bucket_config": (prices.everywhere.log_retention_gb.cost(), "GiB"),
    }
    found = [resource for resource in resources if resource.type in KINDS and KINDS[resource.type].stays]
    return [
        Remainder(
            resource.address,
            KINDS[resource.type].stays + _days(resource),
            *of_type.get(resource.type, (None, "")),
        )
        for resource in found
    ]


def _days(resource: Resource) -> str:
    """How long a deleted thing is kept, where the state says it."""
    seconds: Any = resource.values.get("destroy_scheduled_duration")
    policy = resource.values.get("soft_delete_policy")
    if isinstance(policy, list) and policy:
        seconds = policy[0].get("retention_duration_seconds")
    try:
        days = float(str(seconds).removesuffix("s")) / 86400
    except ValueError:
        return ""
    return f" ({days:g} days)"


def _outside(platform: Platform, prices: PriceList) -> Iterator[Remainder]:
    """What is in no state: Terraform did not make it."""
    region = prices.regions.get(platform.region)
    objects, disks = (None, None) if region is None else (region.object_gb.cost(), region.disk_gb.cost())
    yield Remainder(f"bucket {platform.state_bucket}", STATE_STAYS, objects, "GiB")
    yield Remainder("disks of volumes", DISKS_STAY, disks, "GiB")
    for name, pool in platform.pools.items():
        if pool.reservation is not None:
            hour = prices.node_hour(pool, platform.region, "reservation")
            month = None if hour is None else hour * prices.hours_per_month
            yield Remainder(f"reservation {pool.reservation}", RESERVATION_STAYS, month, f"node of {name}")
    yield Remainder("snapshots of disks", SNAPSHOTS_STAY)
