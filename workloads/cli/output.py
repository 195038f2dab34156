"""How verbs talk: people read a rich console, machines read JSON on standard output."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from workloads.errors import Problem, TuneryError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_WIDTH_OF_A_PIPE = 1000  # rich assumes 80 columns, which would break lines and table rows that a program reads


def console(*, stderr: bool = False) -> Console:
    """A console that obeys ``NO_COLOR`` and prints plain text when it is not a terminal."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, highlight=False, width=None if stream.isatty() else _WIDTH_OF_A_PIPE)


def plain_table(*headings: str) -> Table:
    """A plain table; a heading that begins with ``>`` is of a column of numbers."""
    from rich.table import Table

    found = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in headings:
        found.add_column(heading.lstrip(">"), justify="right" if heading.startswith(">") else "left")
    return found


def print_json(value: Any) -> None:
    """Prints one JSON document, and nothing else, on standard output."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def show_error(error: TuneryError) -> None:
    """Prints each problem of ``error`` on standard error: what, where, how to fix it."""
    out = console(stderr=True)
    count = len(error.problems)
    if count > 1:
        out.print(f"{count} problems:", style="bold", markup=False)
    for problem in error.problems:
        out.print(f"{problem.where}: " if problem.where else "error: ", style="bold red", end="", markup=False)
        out.print(problem.message, markup=False)
        if problem.suggestion:
            out.print(f"    did you mean {problem.suggestion!r}?", style="yellow", markup=False)
        if problem.fix:
            out.print(f"    fix: {problem.fix}", style="green", markup=False)


def show_warnings(problems: Iterable[Problem]) -> None:
    """Prints what is not wrong but worth knowing, on standard error."""
    out = console(stderr=True)
    for problem in problems:
        if problem.is_warning:
            out.print(f"note: {problem}", style="yellow", markup=False)
