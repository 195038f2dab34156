"""Reads runs from a team's store and says what they cost."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from workloads.accounting.actual import Actual, Use, actual, total
from workloads.accounting.rates import rates
from workloads.accounting.trials import trial_bill
from workloads.engines.cluster_state import fetch_small
from workloads.engines.remote_sweep import SweepNow, fetch_sweep, read_now
from workloads.engines.stored_runs import by_run, newest, recorded
from workloads.engines.sweep_status import time_of
from workloads.errors import InputError
from workloads.platform import Platform
from workloads.prices import PriceList
from workloads.report.source import RunSource, read_run, text
from workloads.run_spec import RunSpec
from workloads.storage.objects import Store, open_store

_WORKERS = 16


@dataclass(frozen=True, slots=True)
class TrialBill:
    """A trial of a sweep and its part of the bill; ``row`` is its row in sweep.json."""

    row: Mapping[str, Any]
    bill: Actual

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        known = {name: self.row[name] for name in ("trial", "state", "parameters", "metric", "steps")}
        lost = self.bill.cost(Use.LOST).as_dict()
        seconds = round(sum(part.seconds for part in self.bill.parts), 1)
        return {**known, "seconds": seconds, "total": self.bill.cost().as_dict(), "lost": lost}


@dataclass(frozen=True, slots=True)
class RunBill:
    """A run and its bill.

    Attributes:
        created: ISO 8601, as its record says.
        bill: of everything, trials included.
        trials: of a sweep, what each cost.
    """

    id: str
    team: str
    created: str
    bill: Actual
    trials: tuple[TrialBill, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        trials = {"trials": [each.as_dict() for each in self.trials]} if self.trials else {}
        return {"id": self.id, "team": self.team, "created": self.created, **self.bill.as_dict(), **trials}


def read_source(store: Store, run_id: str) -> RunSource:
    """What the store has of a run, as far as a bill needs it.

    Raises:
        InputError: the store has no such run.
    """
    with TemporaryDirectory(prefix="tunery-cost-") as name:
        return _read(store, Path(name, run_id))


def _read(store: Store, folder: Path) -> RunSource:
    if not fetch_small(store, folder.name, folder.parent):
        raise InputError.of(
            f"{store.url} has no run {folder.name}.", "see `tunery list --on ENV`; runs leave the store after a while"
        )
    return read_run(folder)


def read_bill(store: Store, run_id: str, team: str, platform: Platform, prices: PriceList) -> RunBill:
    """A run's bill from what the store has of it.

    Raises:
        InputError: the store has no such run; its spec is of another version of tunery, or its pool is gone from the
            environment.
    """
    with TemporaryDirectory(prefix="tunery-cost-") as name:
        folder = Path(name, run_id)
        source = _read(store, folder)
        fetch_sweep(store, folder)
        return _bill_of(source, read_now(folder), run_id, team, platform, prices)


def _bill_of(
    source: RunSource, trials: SweepNow | None, run_id: str, team: str, platform: Platform, prices: PriceList
) -> RunBill:
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
    rate = rates(spec, platform, prices)
    bill, created = actual(source, rate), text(source.record.get("created"))
    if trials is None or not trials.in_pods:
        return RunBill(run_id, team, created, bill)
    rows = trials.summary()["trials"]
    parts = tuple(TrialBill(row, trial_bill(time_of(trials, row["trial"]), rate)) for row in rows)
    return RunBill(run_id, team, created, total([bill, *(each.bill for each in parts)], rate.currency), parts)


def bills(team: str, platform: Platform, prices: PriceList, since: datetime) -> tuple[list[RunBill], list[str]]:
    """The bills of a team's runs that did something since a time, the newest first, and the runs without one."""
    store = open_store(platform.store(team))
    runs = by_run(store)
    start = since.timestamp()
    chosen = [run for run in recorded(runs) if (newest(runs[run]) or start) >= start]

    def one(run: str) -> RunBill | str:
        try:
            return read_bill(store, run, team, platform, prices)
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
