"""``tunery run``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workloads.cli.output import console, print_json, show_warnings

if TYPE_CHECKING:
    from workloads.cli.environment_run import Asked
    from workloads.runtime import RunPaths
    from workloads.training.world import World


def run(
    spec: Annotated[Path | None, typer.Argument(help="A run spec or a training config.", show_default=False)] = None,
    overrides: Annotated[
        list[str] | None, typer.Argument(help="key=value for the training config.", show_default=False)
    ] = None,
    resume: Annotated[str | None, typer.Option(help="Continue a run: its id, or its directory.")] = None,
    on: Annotated[str | None, typer.Option("--on", metavar="ENV", help="Run on this environment and not here.")] = None,
    context: Annotated[str | None, typer.Option(help="With --on: the kubeconfig's context.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="With --on: show the run until its end.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="With --on: wait for its end, and leave as it did.")] = False,
    nproc: Annotated[int, typer.Option(min=1, help="Train with this many processes on this machine.")] = 1,
    nnodes: Annotated[
        str, typer.Option(metavar="N|MIN:MAX", help="Train on this many machines, each with the same command.")
    ] = "1",
    node_rank: Annotated[int, typer.Option(min=0, help="Which of --nnodes this is; 0 keeps the result.")] = 0,
    master_addr: Annotated[str, typer.Option(help="Where machine 0 is found.")] = "127.0.0.1",
    master_port: Annotated[int, typer.Option(min=1, max=65535, help="Where the machines meet.")] = 29500,
    last_call: Annotated[int, typer.Option(min=0, help="Seconds to wait for more than MIN machines.")] = 30,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would run, and stop.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Run a training, from base model to published model.

    The same spec with the same data gives the same run: one that is finished is shown, one that was interrupted
    goes on. Ctrl-C saves a checkpoint and stops.

    Examples:

      tunery run configs/runs/demo.yaml

      tunery run configs/training/tiny-sft-lora.yaml learning_rate=5e-4 num_train_epochs=2

      tunery run configs/runs/demo-sweep.yaml

      tunery run configs/runs/demo.yaml --nproc 2

      tunery run --resume demo-1a2b3c4d5e

      tunery run configs/runs/demo.yaml --on dev --follow
    """
    from workloads.engines.local import find_run
    from workloads.errors import InputError

    if (spec is None) == (resume is None):
        raise InputError.of("Name what to run.", "give a run spec or a training config, or --resume RUN")
    if on is not None:
        from workloads.cli.environment_run import Asked

        asked = Asked(on, context, follow, wait)
        _on_environment(spec, overrides or [], asked, dry_run=dry_run, as_json=as_json)
        return
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
    world = None
    if nproc > 1 or nnodes != "1":
        from workloads.training.world import World, node_range

        least, nodes = node_range(nnodes)
        world = World(nproc, nodes, node_rank, master_addr, master_port if nodes > 1 else 0, least, last_call)
    result = execute(paths, quiet=as_json, world=world)
    if as_json:
        print_json(result)


def _on_environment(spec: Path | None, overrides: list[str], asked: Asked, *, dry_run: bool, as_json: bool) -> None:
    from workloads.cli.environment_run import planned, send, show_objects
    from workloads.errors import InputError

    if spec is None:
        raise InputError.of("A run on an environment is not resumed.", "start it again with: tunery retry RUN")
    record, run = planned(spec, overrides, asked.environment)
    if dry_run:
        show_objects(run, as_json=as_json)
    else:
        send(record, run, asked, as_json=as_json)


def execute(paths: RunPaths, *, quiet: bool, world: World | None = None) -> dict[str, Any]:
    """Runs what is left of a run, shows it, writes its report, and returns the result for ``--json``."""
    from workloads.cli.watching import RunView
    from workloads.engines.local import Execution
    from workloads.report import write_report

    out = console(stderr=quiet)
    if not quiet:
        out.print(f"[bold]{paths.root.name}[/]  in {paths.root}")
    execution = Execution(paths, world)
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
        from workloads.cli.sweep import read, show

        if (trials := read(paths)) is not None:
            show(trials)
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
