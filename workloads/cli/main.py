"""The entry point: finds the verb, imports only its module, and turns errors into exit codes."""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

from workloads.errors import ExitCode, TuneryError

if TYPE_CHECKING:
    from typer import Typer

# Verb -> module, function, one line of help. The line stands here as well as in the function's docstring, so that
# `tunery --help` need not import every verb; a test holds the two together.
VERBS: dict[str, tuple[str, str, str]] = {
    "demo": ("demo", "demo", "Run the whole pipeline for real on a tiny model."),
    "check": ("check", "check", "Report every mistake in a training config or run spec at once."),
    "estimate": ("estimate", "estimate", "Estimate the accelerator memory that a training needs."),
    "tune": ("tune", "tune", "Show how a training would be computed fast, and why."),
    "bench": ("bench", "bench", "Measure what a training costs on this machine."),
    "run": ("run", "run", "Run a training, from base model to published model."),
    "render": ("render", "render", "Write a run's Kubernetes objects to a folder, for GitOps."),
    "list": ("list_runs", "list_runs", "List the runs on this machine, or on an environment."),
    "status": ("status", "status", "Show where a run stands: stages, training or trials, GPU-hours."),
    "why": ("why", "why", "Name the cause why a run waits or failed."),
    "logs": ("cluster_verbs", "logs", "Print what the pods of a run print."),
    "cancel": ("cluster_verbs", "cancel", "Stop a run on an environment, or remove its schedule."),
    "retry": ("cluster_verbs", "retry", "Start a failed or stopped run on an environment again."),
    "approve": ("cluster_verbs", "approve", "Let a run on an environment go on that waits for approval."),
    "cost": ("cost", "cost", "Show what a run or a team cost, or what a spec may cost."),
    "clean": ("clean", "clean", "List or remove what runs left that nobody needs."),
    "sweep": ("sweep", "sweep", "Show the trials of a sweep, the best first."),
    "report": ("report", "report", "Write a run's report and print where it is."),
    "import": ("import_model", "import_model", "Add a folder with a model or a data set to the hub."),
    "fetch": ("fetch", "fetch", "Bring a model or data set from the hub, verified."),
    "models": ("models", "models", "List the models in the hub."),
    "verify": ("verify", "verify", "Recompute every digest of a model version."),
    "promote": ("promote", "promote", "Point an alias such as production at a model version."),
    "chat": ("chat", "chat", "Talk to a model in the terminal."),
    "serve": ("serve", "serve", "Serve a model over an OpenAI-compatible API."),
    "hub": ("hub", "hub", "Check the way to Artifactory, or print it for other programs."),
    "ci": ("ci", "ci", "Check what a push changes, and send its runs."),
    "doctor": ("doctor", "doctor", "Check this machine or image: GPUs, folders, hub, clock."),
    "env": ("env", "env", "Show, compare and check environments."),
}


def _verb(name: str) -> Any:
    module, function, _ = VERBS[name]
    return getattr(importlib.import_module(f"workloads.cli.{module}"), function)


def build(only: str | None = None) -> Typer:
    """The application; with ``only``, just that verb is imported and the others are names with a line of help."""
    import typer

    app = typer.Typer(
        name="tunery",
        help="Fine-tune language models whose weights come from, and go back to, your own registry.",
        epilog="Start with: tunery demo",
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )

    @app.callback(invoke_without_command=True)
    def options(version: bool = typer.Option(False, "--version", help="Print the version and exit.")) -> None:
        if version:
            from importlib.metadata import version as installed

            typer.echo(installed("tunery"))
            raise typer.Exit

    def unused() -> None:  # stands in for verbs that this call does not run
        return None

    for name, (_, _, line) in VERBS.items():
        chosen = name == only
        commands = _commands(name) if chosen else {}
        if commands:
            app.add_typer(_group(name, commands), name=name)
        else:
            app.command(name, help=None if chosen else line)(_verb(name) if chosen else unused)
    return app


def _commands(name: str) -> dict[str, Any]:
    """The verbs after a verb, which its module keeps in ``COMMANDS``; most have none."""
    module, _, _ = VERBS[name]
    found: dict[str, Any] = getattr(importlib.import_module(f"workloads.cli.{module}"), "COMMANDS", {})
    return found


def _group(name: str, commands: dict[str, Any]) -> Typer:
    import typer

    group = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
    group.callback()(_verb(name))
    for word, function in commands.items():
        group.command(word)(function)
    return group


def _verb_of(arguments: list[str]) -> str | None:
    """The verb of this call; while the shell completes, the one already typed."""
    words = arguments
    if "_TUNERY_COMPLETE" in os.environ:
        words = (os.environ.get("_TYPER_COMPLETE_ARGS") or os.environ.get("COMP_WORDS") or "").split()[1:]
    verb = next((word for word in words if not word.startswith("-")), None)
    return verb if verb in VERBS else None


def _run_without_parser(arguments: list[str]) -> bool:
    """Runs a plain ``check`` or ``fetch``, which people, editors and scripts run all the time.

    typer imports pydantic for any command with parameters, which takes longer than checking a config.
    """
    module = {"check": "checking", "fetch": "fetching"}.get(arguments[0] if arguments else "")
    if module is None:
        return False
    done: bool = importlib.import_module(f"workloads.cli.{module}").run_plain(arguments[1:])
    return done


def main(argv: list[str] | None = None) -> None:
    """Runs one command line and exits with its code."""
    arguments = sys.argv[1:] if argv is None else argv
    try:
        if not _run_without_parser(arguments):
            build(_verb_of(arguments))(arguments, prog_name="tunery")
    except SystemExit as stop:
        # typer leaves with 2 for a command line that it cannot read, which is input that is wrong
        code = int(ExitCode.INPUT) if stop.code == 2 else stop.code
    except TuneryError as error:
        code = int(error.exit_code)
        if "--json" in arguments:
            from workloads.cli.output import print_json

            print_json({"ok": False, "problems": [problem.as_dict() for problem in error.problems]})
        else:
            from workloads.cli.output import show_error

            show_error(error)
    except KeyboardInterrupt:
        code = 130
    else:
        code = int(ExitCode.OK)
    sys.exit(code)
