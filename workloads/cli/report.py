"""``tunery report``: the page about a run, written again."""

from __future__ import annotations

from typing import Annotated

import typer


def report(
    run: Annotated[str, typer.Argument(help="A run's id, the beginning of one, or its directory.")],
    json_output: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write a run's report and print where it is.

    The report is one file that opens offline in any browser. It tells of unfinished and failed runs too.

    Example: tunery report demo-3f2a91
    """
    from workloads.cli.output import console, print_json
    from workloads.engines.local import find_run
    from workloads.report import write_report

    path = write_report(find_run(run).root).resolve()
    if json_output:
        print_json({"report": str(path)})
    else:
        console().print(str(path), markup=False)
