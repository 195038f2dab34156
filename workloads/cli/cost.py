"""``tunery cost``."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workloads.cli.cluster_verbs import Context, Json, Team
from workloads.cli.output import console, plain_table, print_json
from workloads.errors import InputError

if TYPE_CHECKING:
    from workloads.accounting.actual import Actual
    from workloads.accounting.forecast import Forecast
    from workloads.engines.bills import RunBill

_LATE = timedelta(days=30)


def cost(
    what: Annotated[
        str | None, typer.Argument(metavar="[RUN|SPEC]", help="A run, or a run spec that is not sent yet.")
    ] = None,
    on: Annotated[str | None, typer.Option("--on", metavar="ENV", help="The environment.")] = None,
    team: Team = None,
    since: Annotated[
        str | None, typer.Option(metavar="DATE", help="All runs since a day such as 2026-11-01; 30 days otherwise.")
    ] = None,
    hours: Annotated[float | None, typer.Option(help="Of a spec: how long you expect the training to take.")] = None,
    like: Annotated[str | None, typer.Option(metavar="RUN", help="Of a spec: as long as this run's training.")] = None,
    context: Context = None,
    as_json: Json = False,
) -> None:
    """Show what a run or a team cost, or what a spec may cost.

    Useful time, work that had to be done again, and moving of data are told apart; waiting costs nothing. Prices are
    list prices (configs/prices.json), and vary with how a node was bought.

    Examples:

      tunery cost configs/runs/demo.yaml --on dev --hours 3

      tunery cost demo-1a2b3c4d5e

      tunery cost --on prod --team research --since 2026-11-01
    """
    if what is None:
        _team(_named(on), team, since, as_json=as_json)
    elif Path(what).is_file():
        _spec(Path(what), _named(on), team, hours, like, context, as_json=as_json)
    else:
        _run(what, on, team, context, as_json=as_json)


def _named(on: str | None) -> str:
    if on is None:
        raise InputError.of("No environment is named, and prices are those of its region.", "add --on ENV")
    return on


def _run(run: str, on: str | None, team: str | None, context: str | None, *, as_json: bool) -> None:
    from workloads import prices
    from workloads.engines.bills import read_bill
    from workloads.engines.remote import find
    from workloads.storage.objects import open_store

    remote = find(run, on, team, context)
    found = read_bill(open_store(remote.store), remote.id, remote.team, remote.platform, prices.load())
    if as_json:
        print_json(found.as_dict())
        return
    if found.trials:
        _show_trials(found)
    _show_bill(f"{found.id}, on {remote.environment}", found.bill)


def _spec(
    spec: Path,
    on: str,
    team: str | None,
    hours: float | None,
    like: str | None,
    context: str | None,
    *,
    as_json: bool,
) -> None:
    from workloads import platform, prices
    from workloads.accounting.forecast import forecast
    from workloads.accounting.rates import rates
    from workloads.run_spec_loader import load_run_spec

    if hours is not None and hours <= 0:
        raise InputError.of("--hours must be more than 0.", "give the hours that the training takes")
    resolved = load_run_spec(spec, [])
    found = platform.load(on)
    rate = rates(resolved.spec, found, prices.load())
    took = _measured(like, on, team, context) if like else hours
    answer = forecast(rate, resolved.spec.resources.max_hours, took)
    if answer is None:
        raise InputError.of(
            f"The price list has no price of a node of pool {rate.pool} in {found.region}.",
            "add it to configs/prices.json with its source",
            file=spec,
        )
    if as_json:
        print_json(answer.as_dict())
    else:
        _show_forecast(answer, rate.pool)


def _measured(like: str, on: str, team: str | None, context: str | None) -> float:
    from workloads.accounting.actual import training_hours
    from workloads.engines.bills import read_source
    from workloads.engines.remote import find
    from workloads.storage.objects import open_store

    remote = find(like, on, team, context)
    took = training_hours(read_source(open_store(remote.store), remote.id))
    if took is None:
        raise InputError.of(f"The training of {remote.id} has not ended.", "name another run, or give --hours")
    return took


def _team(on: str, team: str | None, since: str | None, *, as_json: bool) -> None:
    from workloads import platform, prices
    from workloads.accounting.actual import Use, total
    from workloads.engines.bills import bills
    from workloads.engines.remote import choose_team

    found = platform.load(on)
    teams = list(found.teams) if team is None else [choose_team(found, team)]
    listed, start = prices.load(), _day(since)
    rows: list[RunBill] = []
    without: list[str] = []
    for each in teams:
        more, lacking = bills(each, found, listed, start)
        rows += more
        without += lacking
    all_of_them = total([row.bill for row in rows], listed.currency)
    if as_json:
        answer: dict[str, Any] = {"since": start.isoformat(), "runs": [row.as_dict() for row in rows]}
        print_json(answer | {"total": all_of_them.as_dict(), "without_bill": without})
        return
    shown = plain_table("run", "team", "created", f">cost ({listed.currency})", f">of it lost ({listed.currency})")
    for row in rows:
        lost = row.bill.cost(Use.LOST).expected
        shown.add_row(row.id, row.team, row.created, f"{row.bill.cost().expected:,.2f}", f"{lost:,.2f}")
    console().print(shown)
    _show_bill(f"{len(rows)} runs since {start:%Y-%m-%d}, on {on}", all_of_them)
    for line in without:
        console(stderr=True).print(f"note: no bill of {line}", style="yellow", markup=False)


def _day(since: str | None) -> datetime:
    if since is None:
        return datetime.now(UTC) - _LATE
    try:
        found = datetime.fromisoformat(since)
    except ValueError:
        raise InputError.of(f"{since!r} is no day.", "write it as 2026-11-01", key="--since") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _show_forecast(found: Forecast, pool: str) -> None:
    out = console()
    out.print(f"an hour of its nodes ({pool}): {_span(found.rate.low, found.rate.high, found.currency)}", markup=False)
    if found.hours is None or found.low is None or found.expected is None:
        out.print("expected: unknown; say how long it takes with --hours, or name an earlier run with --like RUN")
    else:
        out.print(f"low       {found.low:10,.2f} {found.currency}   {found.hours:g} hours at the lowest price")
        out.print(f"expected  {found.expected:10,.2f} {found.currency}   at the price of the preferred way to buy")
    out.print(f"high      {found.high:10,.2f} {found.currency}   {found.max_hours:g} hours (max_hours), at the highest")
    out.print("The training only; the other stages add minutes.", style="dim")
    _note_unverified(found.rate.verified)


def _show_bill(title: str, bill: Actual) -> None:
    from rich.table import Table

    from workloads.accounting.actual import Use

    out = console()
    total = bill.cost()
    span = _span(total.low, total.high, bill.currency)
    out.print(f"{title}: about {total.expected:,.2f} {bill.currency} ({span})", style="bold", markup=False)
    uses = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for use in Use:
        uses.add_row(str(use), f"{bill.seconds(use) / 3600:.2f} h", f"{bill.cost(use).expected:,.2f}")
    uses.add_row("waiting", f"{bill.waiting / 3600:.2f} h", "nothing is held")
    out.print(uses)
    if bill.unpriced:
        console(stderr=True).print("note: nodes without a price in configs/prices.json are not in it", style="yellow")
    _note_unverified(total.verified)


def _show_trials(found: RunBill) -> None:
    from workloads.accounting.actual import Use
    from workloads.sweep.trials import describe

    currency = found.bill.currency
    out = plain_table(
        ">trial", "parameters", "state", ">metric", ">steps", ">hours", f">cost ({currency})", ">of it lost"
    )
    for each in found.trials:
        row, bill = each.row, each.bill
        metric = "" if row["metric"] is None else f"{row['metric']:.4g}"
        hours = f"{sum(part.seconds for part in bill.parts) / 3600:.2f}"
        amounts = (f"{cost.expected:,.2f}" for cost in (bill.cost(), bill.cost(Use.LOST)))
        steps = "" if row["steps"] is None else str(row["steps"])
        out.add_row(str(row["trial"]), describe(row["parameters"]), row["state"], metric, steps, hours, *amounts)
    console().print(out)


def _note_unverified(verified: bool) -> None:
    if not verified:
        console(stderr=True).print(
            "note: some prices are not confirmed (configs/prices.json marks them)", style="yellow"
        )


def _span(low: float, high: float, currency: str) -> str:
    return f"{low:,.2f} to {high:,.2f} {currency}" if high - low >= 0.005 else f"{low:,.2f} {currency}"
