"""What ``tunery check`` does, without the command line parser: importing that takes longer than checking."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from workloads.errors import InputError, Problem
from workloads.run_spec_loader import is_run_spec, load_run_spec
from workloads.training_config import LoadedConfig, apply_overrides, check_config, load_config, shared_output_dirs

_SWITCHES = {"--json": ("as_json", True), "--data": ("data", True), "--no-data": ("data", False)}


def run_plain(arguments: Sequence[str]) -> bool:
    """Runs ``tunery check`` for a command line of files, overrides and its own switches.

    Returns:
        Whether it did; any other command line, such as one that asks for help, is left to the parser.

    Raises:
        InputError: there are errors.
    """
    options = [text for text in arguments if text.startswith("-")]
    if len(options) == len(arguments) or not _SWITCHES.keys() >= set(options):
        return False
    run([text for text in arguments if text not in options], **dict(_SWITCHES[text] for text in options))
    return True


def run(arguments: Sequence[str], *, as_json: bool = False, data: bool = True) -> None:
    """Checks configs and reports warnings; errors are raised.

    Args:
        arguments: files, and ``key=value`` for all of them; a file's name may hold ``=``.
        as_json: print the report as JSON.
        data: read the data sets row by row.

    Raises:
        InputError: there are errors.
    """
    overrides = [text for text in arguments if "=" in text and not Path(text).is_file()]
    files = list(dict.fromkeys(Path(text) for text in arguments if text not in overrides))
    if not files:
        raise InputError.of("No config file is named.", "write for example: tunery check config.yaml")
    problems = _check_all(files, overrides, data=data)
    errors = [problem for problem in problems if not problem.is_warning]
    if as_json:
        _report_json(problems, failed=bool(errors))
    else:
        _report(files, problems, errors)


def _check_all(files: Sequence[Path], overrides: Sequence[str], *, data: bool) -> list[Problem]:
    """The problems of all files; one that cannot be read does not hide those of the others."""
    problems: list[Problem] = []
    trainings: list[LoadedConfig] = []
    for file in files:
        try:
            training, found = _check_one(file, overrides, data=data)
        except InputError as error:
            problems += error.problems
        else:
            trainings.append(training)
            problems += found
    problems += shared_output_dirs(trainings)
    return list(dict.fromkeys(problems))  # configs may share overrides and data


def _check_one(file: Path, overrides: Sequence[str], *, data: bool) -> tuple[LoadedConfig, list[Problem]]:
    config = load_config(file)
    if is_run_spec(config):
        resolved = load_run_spec(file, overrides)
        return resolved.training, resolved.check(data=data)
    config = apply_overrides(config, overrides)
    return config, check_config(config, data=data)


def _report_json(problems: list[Problem], *, failed: bool) -> None:
    if failed:
        raise InputError(problems)
    from workloads.cli.output import print_json

    print_json({"ok": True, "problems": [problem.as_dict() for problem in problems]})


def _report(files: Sequence[Path], problems: Sequence[Problem], errors: Sequence[Problem]) -> None:
    warnings = [problem for problem in problems if problem.is_warning]
    for problem in warnings:
        _say(f"{problem.where}: {problem.message}", "yellow")
        if problem.suggestion:
            _say(f"    did you mean {problem.suggestion!r}?", "yellow")
        _say(f"    fix: {problem.fix}", "default")
    if errors:
        raise InputError(errors)
    names = ", ".join(str(file) for file in files)
    counted = f" ({len(warnings)} warning{'s' if len(warnings) > 1 else ''})" if warnings else ""
    _say(f"{names}: no errors{counted}", "green")


def _say(text: str, style: str) -> None:
    """Prints a line; rich is imported only where colours can be seen."""
    if sys.stdout.isatty():
        from workloads.cli.output import console

        console().print(text, style=style, markup=False)
    else:
        sys.stdout.write(text + "\n")
