"""``tunery status``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from workloads.cli.cluster_verbs import Context, Json, On, Run, Team, opened
from workloads.cli.output import console, print_json

if TYPE_CHECKING:
    from workloads.engines.run_status import RunStatus

_MARKS = {
    "finished": ("✓", "green"),
    "failed": ("✗", "red"),
    "stopped": ("■", "yellow"),
    "running": ("·", "bold"),
    "queued": ("…", "yellow"),
    "starting": ("…", "yellow"),
}


def status(
    run: Run,
    on: On = None,
    team: Team = None,
    context: Context = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Show it until the run ends.")] = False,
    as_json: Json = False,
) -> None:
    """Show where a run stands: stages, training or trials, GPU-hours.

    A run on an environment is found by what `tunery run --on` left in the runs folder; of another person's run, name
    the environment.

    Example: tunery status demo-1a2b3c4d5e --on dev
    """
    found = _local(run) if on is None else None
    if found is None:
        from workloads.engines.cluster_state import status as asked

        cluster, remote = opened(run, on, team, context)
        if follow:
            from workloads.cli.cluster_verbs import FOLLOW_SECONDS
            from workloads.cli.environment_run import watch

            cluster.patience = FOLLOW_SECONDS
            watch(cluster, remote, quiet=as_json)
        found = asked(cluster, remote)
    if as_json:
        print_json(found.as_dict())
    else:
        show(found)


def _local(run: str) -> RunStatus | None:
    """The status of a run on this machine; None when it is remembered to be on an environment, or is not here."""
    import time

    from workloads.engines.local import find_run, state
    from workloads.engines.remote import remembered
    from workloads.errors import InputError

    if any(name.startswith(run) for name in remembered()):
        return None
    try:
        paths = find_run(run)
    except InputError:
        return None
    from workloads.engines.run_status import read_status

    return read_status(paths.root, "this machine", now=time.time(), local_state=state(paths))


def show(found: RunStatus) -> None:
    """Prints a status for a person."""
    from rich.table import Table

    out = console()
    out.print(f"[bold]{found.id}[/]  {found.state}  on {found.place}")
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for stage in found.stages:
        mark, style = _MARKS.get(stage.state, (" ", "dim"))
        seconds = "" if stage.seconds is None else _duration(stage.seconds)
        table.add_row(mark, stage.name, stage.state, seconds, stage.note, style=style)
    out.print(table)
    if found.sweep is not None:
        _show_sweep(found.sweep)
    progress = found.progress
    if progress.get("max_steps"):
        parts = [f"step {progress.get('step')}/{progress['max_steps']}"]
        if progress.get("loss") is not None:
            parts.append(f"loss {progress['loss']:.4g}")
        if progress.get("tokens_per_second"):
            parts.append(f"{progress['tokens_per_second']:,.0f} tokens/s")
        if progress.get("eta_seconds") and found.state == "running":
            parts.append(f"{_duration(progress['eta_seconds'])} left")
        out.print("training   " + "  ".join(parts), markup=False)
    hours = found.hours
    out.print(f"GPU-hours  {hours.useful:.3f} useful  {hours.lost:.3f} lost  {hours.waiting:.3f} waiting", markup=False)
    if found.tally.words:
        out.print(f"so far     {found.tally.words}", markup=False)
    for problem in found.problems:
        out.print(f"✗ {problem.get('message', '')}", style="red", markup=False)
        if problem.get("fix"):
            out.print(f"    fix: {problem['fix']}", style="green", markup=False)


def _show_sweep(sweep: dict[str, Any]) -> None:
    from workloads.cli.sweep import show as show_trials

    out = console()
    for rung in sweep["rungs"]:
        until = "to the end" if rung["steps"] is None else f"to step {rung['steps']}"
        counts = f"{rung['measured']} of {rung['trials']} trials measured"
        out.print(f"rung {rung['rung'] + 1}     {until}: {counts}", markup=False)
    show_trials(sweep)


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
