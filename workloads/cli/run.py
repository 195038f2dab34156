"""``tunery run``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workloads.cli.output import console, print_json, show_warnings

if TYPE_CHECKING:
    from workloads.runtime import RunPaths


def run(
    spec: Annotated[Path | None, typer.Argument(help="A run spec or a training config.", show_default=False)] = None,
    overrides: Annotated[
        list[str] | None, typer.Argument(help="key=value for the training config.", show_default=False)
    ] = None,
    resume: Annotated[str | None, typer.Option(help="Continue a run: its id, or its directory.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would run, and stop.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Run a training, from base model to published model.

    The same spec with the same data gives the same run: one that is finished is shown, one that was interrupted
    goes on. Ctrl-C saves a checkpoint and stops.

    Examples:

      tunery run configs/runs/demo.yaml

      tunery run configs/training/tiny-sft-lora.yaml learning_rate=5e-4 num_train_epochs=2

      tunery run --resume demo-1a2b3c4d5e
    """
    from workloads.engines.local import find_run
    from workloads.errors import InputError

    if (spec is None) == (resume is None):
        raise InputError.of("Name what to run.", "give a run spec or a training config, or --resume RUN")
    if resume is not None:
        paths = find_run(resume)
    else:
        from workloads.engines.create import create, describe, plan
        from workloads.run_spec_loader import load_run_spec
        from workloads.runtime import runs_dir

        assert spec is not None  # noqa: S101 the check above, for the type checker
        resolved = load_run_spec(spec, overrides or [])
        record = plan(resolved)
        if dry_run:
            print_json(describe(record))
            return
        if not as_json:
            show_warnings(resolved.check(data=False))
        paths = create(record, runs_dir())
    result = execute(paths, quiet=as_json)
    if as_json:
        print_json(result)


def execute(paths: RunPaths, *, quiet: bool) -> dict[str, Any]:
    """Runs what is left of a run, shows it, writes its report, and returns the result for ``--json``."""
    from workloads.cli.watching import RunView
    from workloads.engines.local import Execution
    from workloads.report import write_report

    out = console(stderr=quiet)
    if not quiet:
        out.print(f"[bold]{paths.root.name}[/]  in {paths.root}")
    execution = Execution(paths)
    try:
        if quiet:
            execution.wait(lambda _event: None)
        else:
            with RunView(out) as view:
                execution.wait(view.show)
    finally:
        write_report(paths.root)
    result = summary(paths)
    if not quiet:
        show_result(result)
    return result


def summary(paths: RunPaths) -> dict[str, Any]:
    """What a finished run came to."""
    from workloads.storage.atomic import read_json

    evaluation = read_json(paths.evaluation) or {}
    published = (read_json(paths.marker("publish")) or {}).get("outputs", {})
    return {
        "ok": True,
        "id": paths.root.name,
        "directory": str(paths.root),
        "report": str(paths.report),
        "metrics": {"before": evaluation.get("before", {}), "after": evaluation.get("after", {})},
        "gate": evaluation.get("gate"),
        "model": published.get("reference"),
        "digest": published.get("digest"),
    }


def show_result(result: dict[str, Any]) -> None:
    """Prints the metrics, the gate and where to go from here."""
    from rich.table import Table

    out = console()
    before, after = result["metrics"]["before"], result["metrics"]["after"]
    if after:
        table = Table(box=None, padding=(0, 3, 0, 0), header_style="bold")
        for heading in ("", "before", "after", "gate"):
            table.add_column(heading, justify="left" if heading in ("", "gate") else "right")
        for name, value in after.items():
            rules = [row for row in (result["gate"] or {"rows": []})["rows"] if row["metric"] == name]
            verdict = ", ".join(f"{'✓' if row['passed'] else '✗'} {row['rule']}" for row in rules)
            table.add_row(name, "" if name not in before else f"{before[name]:.4g}", f"{value:.4g}", verdict)
        out.print(table)
    if result["model"]:
        out.print(f"published  [bold]{result['model']}[/]")
    out.print(f"report     {result['report']}")
    if result["model"]:
        out.print(f"talk to it: tunery chat {result['model']}    serve it: tunery serve {result['model']}")
