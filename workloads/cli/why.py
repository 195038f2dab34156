"""``tunery why``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workloads.cli.cluster_verbs import Context, Json, On, Run, Team, opened
from workloads.cli.output import console, print_json

if TYPE_CHECKING:
    from workloads.explain.evidence import Evidence
    from workloads.explain.explain import Explanation

_STYLES = {"nobody": "green", "developer": "yellow", "operations": "magenta"}


def why(run: Run, on: On = None, team: Team = None, context: Context = None, as_json: Json = False) -> None:
    """Name the cause why a run waits or failed.

    It shows the lines that say so, who has to act, and the next step. docs/why.md lists all causes. Runs on this
    machine are explained too.

    Example: tunery why demo-1a2b3c4d5e --on dev
    """
    from workloads.explain.explain import explain

    explanation = explain(_evidence(run, on, team, context))
    if as_json:
        print_json(explanation.as_dict())
    else:
        show(explanation)


def _evidence(run: str, on: str | None, team: str | None, context: str | None) -> Evidence:
    from workloads.engines.remote import remembered
    from workloads.errors import InputError

    if on is None and not any(name.startswith(run) for name in remembered()):
        from workloads.engines.local import find_run

        try:
            paths = find_run(run)
        except InputError:
            paths = None  # of an environment, then: the message of that search names both ways
        if paths is not None:
            from workloads.engines.evidence import collect_local

            return collect_local(paths)
    from workloads.engines.evidence import collect

    return collect(*opened(run, on, team, context))


def show(explanation: Explanation) -> None:
    """Prints an explanation for a person."""
    out = console()
    out.print(explanation.what, style="bold", markup=False)
    for line in explanation.evidence:
        out.print(f"  · {line}", style="dim", markup=False, soft_wrap=True)
    who = "nobody has to act" if explanation.act == "nobody" else f"{explanation.act} must act"
    out.print(f"next: {explanation.next}", style=_STYLES[explanation.act], markup=False, soft_wrap=True)
    out.print(f"      {who}  (cause: {explanation.cause})", markup=False)
    for line in explanation.hidden:
        out.print(f"note: not seen: {line}", style="yellow", markup=False, soft_wrap=True)
