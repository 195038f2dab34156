"""``tunery demo``: the whole pipeline on a tiny model, with its training stopped once on purpose."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workloads.cli.output import console, print_json
from workloads.errors import InputError, Preempted, Problem, TuneryError

if TYPE_CHECKING:
    from workloads.engines.local import Execution

_SPEC = Path(__file__).parents[2] / "configs" / "runs" / "demo.yaml"
_BASE_MODEL = "tunery/tiny"
_STOP_AT = 0.4  # of the training's steps


def demo(
    interrupt: Annotated[bool, typer.Option(help="Stop the training once, to show that it resumes.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Run the whole pipeline for real on a tiny model.

    Builds a tiny Llama model, fine-tunes it with LLaMA-Factory, stops the training once and resumes it, compares
    answers before and after, publishes the model to the directory hub and serves it. Needs no GPU and no network.

    Example: tunery demo
    """
    from workloads.cli.run import show_result, summary
    from workloads.engines.create import create, plan
    from workloads.report import write_report
    from workloads.run_spec_loader import load_run_spec
    from workloads.runtime import runs_dir

    started = time.monotonic()
    if not _SPEC.is_file():
        raise InputError.of("The demo needs the repository's configs.", "run it from a clone", file=_SPEC)
    out = console(stderr=as_json)
    _ensure_base_model(out)
    record = plan(load_run_spec(_SPEC))
    _forget(runs_dir() / record.id)
    paths = create(record, runs_dir())
    out.print(f"[bold]{record.id}[/]  in {paths.root}")
    try:
        if interrupt:
            _run_until_stopped(paths, out)
        _run(paths, out)
    finally:
        write_report(paths.root)
    result = summary(paths) | {"seconds": round(time.monotonic() - started, 1)}
    if as_json:
        print_json(result)
        return
    _show_answers(paths, out)
    show_result(result)
    out.print(f"The demo took {result['seconds']:.0f} s.")


def _forget(run_dir: Path) -> None:
    """A demo starts anew each time; its published model stays, and publishing the same bytes again finds it."""
    if run_dir.exists():
        shutil.rmtree(run_dir)


def _ensure_base_model(out: Any) -> None:
    """Builds the tiny model once and imports it into the hub."""
    from workloads.hub import open_hub
    from workloads.hub.importing import import_folder
    from workloads.hub.interface import ModelReference

    hub = open_hub()
    try:
        hub.resolve(ModelReference.parse(_BASE_MODEL))
    except InputError:
        pass
    else:
        return
    out.print(f"Building the tiny base model {_BASE_MODEL} ...")
    with tempfile.TemporaryDirectory(prefix="tunery-tiny-") as scratch:
        folder = Path(scratch, "model")
        command = [sys.executable, "-m", "workloads.demo", str(folder)]
        built = subprocess.run(command, capture_output=True, text=True, check=False)
        if built.returncode:
            last = (built.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise TuneryError(Problem(f"The tiny model could not be built: {last}", "run `make setup` again"))
        import_folder(hub, folder, _BASE_MODEL)


def _run_until_stopped(paths: Any, out: Any) -> None:
    """Asks the training to stop, as a node that goes away does, when it has done part of its steps."""
    from workloads.cli.watching import RunView
    from workloads.engines.local import Execution

    execution = Execution(paths)
    view = RunView(out)

    def watch(event: dict[str, Any]) -> None:
        view.show(event)
        _stop_in_time(event, execution)

    try:
        with view:
            execution.wait(watch)
    except Preempted:
        out.print("  The demo stopped its own training, as a lost node would. Now it goes on:", style="yellow")


def _stop_in_time(event: dict[str, Any], execution: Execution) -> None:
    if event["event"] == "progress" and _STOP_AT * event["max_steps"] <= event["step"] < event["max_steps"]:
        execution.stop()


def _run(paths: Any, out: Any) -> None:
    from workloads.cli.watching import RunView
    from workloads.engines.local import Execution

    with RunView(out) as view:
        Execution(paths).wait(view.show)


def _show_answers(paths: Any, out: Any, count: int = 3) -> None:
    from rich.table import Table
    from rich.text import Text

    from workloads.storage.atomic import read_json

    samples = (read_json(paths.evaluation) or {}).get("samples", [])[:count]
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", title_justify="left")
    for heading in ("question", "before", "after"):
        table.add_column(heading, max_width=44)
    for sample in samples:
        style = "green" if sample["correct_after"] else "red"
        before = Text(sample["before"][:120], "dim")
        table.add_row(Text(sample["question"]), before, Text(sample["after"][:120], style))
    out.print(table)
