"""``tunery doctor``."""

from __future__ import annotations

from typing import Annotated

import typer

from workloads.cli.output import console, print_json


def doctor(
    compute: Annotated[
        bool, typer.Option("--compute", help="Also compute on every GPU, with NCCL; imports torch.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Check this machine or image: GPUs, folders, hub, clock.

    Ends with 64 when something is wrong that stays wrong, with 69 when it may be right later or on another node.

    Example: tunery doctor --compute
    """
    from workloads.doctor import Finding, examine, failure
    from workloads.doctor_gpu import compute as compute_on_gpus
    from workloads.errors import TuneryError

    findings = list(examine())
    if compute:
        try:
            findings.append(Finding("compute", compute_on_gpus()))
        except TuneryError as error:
            findings.append(Finding("compute", "failed", error.problems[0], later=True))
    failed = failure(findings)
    if as_json:
        print_json({"ok": failed is None, "checks": [each.as_dict() for each in findings]})
        if failed is not None:
            raise typer.Exit(int(failed.exit_code))
        return
    for each in findings:
        mark, style = ("ok", "green")
        if each.problem is not None:
            mark, style = ("note", "yellow") if each.problem.is_warning else ("fails", "red")
        console().print(f"{mark:6}", style=style, end="")
        console().print(f"{each.what:24}{each.found}", markup=False)
        if each.problem is not None and each.problem.is_warning:
            console().print(f"      {each.problem}", markup=False)
    if failed is not None:
        raise failed
