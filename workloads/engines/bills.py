"""Reads runs from a team's store and says what they cost."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from workloads.accounting.actual import Actual, actual
from workloads.accounting.rates import rates
from workloads.engines.cluster_state import fetch_small
from workloads.engines.stored_runs import by_run, newest, recorded
from workloads.errors import InputError
from workloads.platform import Platform
from workloads.prices import PriceList
from workloads.report.source import RunSource, read_run, text
from workloads.run_spec import RunSpec
from workloads.storage.objects import Store, open_store

_WORKERS = 16


@dataclass(frozen=True, slots=True)
class RunBill:
    """A run and its bill.

    Attributes:
        created: ISO 8601, as its record says.
    """

    id: str
    team: str
    created: str
    bill: Actual

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {"id": self.id, "team": self.team, "created": self.created, **self.bill.as_dict()}


def read_source(store: Store, run_id: str) -> RunSource:
    """What the store has of a run, as far as a bill needs it.

    Raises:
        InputError: the store has no such run.
    """
    with TemporaryDirectory(prefix="tunery-cost-") as folder:
        if not fetch_small(store, run_id, Path(folder)):
            raise InputError.of(
                f"{store.url} has no run {run_id}.", "see `tunery list --on ENV`; runs leave the store after a while"
            )
        return read_run(Path(folder) / run_id)


def bill_of(source: RunSource, run_id: str, team: str, platform: Platform, prices: PriceList) -> RunBill:
    """A run's bill.

    Raises:
        InputError: its spec is of another version of tunery, or its pool is gone from the environment.
    """
    from pydantic import ValidationError

    try:
        spec = RunSpec.model_validate(source.spec)
    except ValidationError:
        raise InputError.of(
            f"The spec of {run_id} is of another version of tunery.", "use the tunery that sent it"
        ) from None
    bill = actual(source, rates(spec, platform, prices))
    return RunBill(run_id, team, text(source.record.get("created")), bill)


def bills(team: str, platform: Platform, prices: PriceList, since: datetime) -> tuple[list[RunBill], list[str]]:
    """The bills of a team's runs that did something since a time, the newest first, and the runs without one."""
    store = open_store(platform.store(team))
    runs = by_run(store)
    start = since.timestamp()
    chosen = [run for run in recorded(runs) if (newest(runs[run]) or start) >= start]

    def one(run: str) -> RunBill | str:
        try:
            return bill_of(read_source(store, run), run, team, platform, prices)
        except InputError as error:
            return f"{run}: {error.problems[0].message}"

    with ThreadPoolExecutor(_WORKERS) as pool:
        found = list(pool.map(one, chosen))
    known = sorted((each for each in found if isinstance(each, RunBill)), key=lambda each: each.created, reverse=True)
    return known, [each for each in found if isinstance(each, str)]


def spent(team: str, platform: Platform, prices: PriceList, now: datetime) -> float:
    """What a team's runs of this month (UTC) have cost, at the expected price, in the price list's currency."""
    month = now.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    known, _ = bills(team, platform, prices, month)
    return sum(each.bill.cost().expected for each in known)
