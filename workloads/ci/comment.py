"""A plan as Markdown, ready to be the comment on a pull request."""

from __future__ import annotations

import re
from collections.abc import Sequence

from workloads.ci.planning import Planned
from workloads.errors import Problem

_GB = 1e9
MARK = "<!-- tunery ci plan -->"
"""By which a bot finds its own comment again, to change it instead of adding another."""


def comment(planned: Sequence[Planned], unchanged: int, environment: str | None) -> str:
    """The comment: what stands against the push, then what each run would take."""
    refused = [each for each in planned if each.refused]
    lines = [MARK, f"### tunery: {_verdict(planned, refused)}", ""]
    if refused:
        lines += _table(
            ("File", "Line", "Key", "What is wrong", "How to fix it"),
            [_problem_row(each, problem) for each in refused for problem in each.problems],
        )
    if planned:
        headings = ("Config", "Changed", *(("Team", "Pool", "GPUs", "Memory a GPU", "Cost") if environment else ()), "")
        lines += _table(headings, [_row(each, environment is not None) for each in planned])
    for note in dict.fromkeys(note for each in planned for note in each.notes):
        lines += [f"Note: {_text(note)}", ""]
    if environment:
        lines.append(f"On {environment}. Cost is the training's alone, at its longest (`resources.max_hours`).")
    lines.append(f"{unchanged} config{'' if unchanged == 1 else 's'} without a change.")
    return "\n".join(lines) + "\n"


def _verdict(planned: Sequence[Planned], refused: Sequence[Planned]) -> str:
    runs = sum(each.change.config.is_run for each in planned)
    if refused:
        return f"{len(refused)} of {len(planned)} changed configs refused"
    if not planned:
        return "no run changed"
    return f"{runs} run{'' if runs == 1 else 's'} would start, nothing stands against it"


def _problem_row(planned: Planned, problem: Problem) -> tuple[str, ...]:
    suggestion = f" Did you mean {_code(problem.suggestion)}?" if problem.suggestion else ""
    row = f" row {problem.row}" if problem.row is not None else ""
    return (
        _code(problem.file or planned.change.config.place) + row,
        str(problem.line or ""),
        _code(problem.key) if problem.key else "",
        _text(problem.message) + suggestion,
        _text(problem.fix),
    )


def _row(planned: Planned, on_environment: bool) -> tuple[str, ...]:
    run, memory, cost = planned.run, planned.memory, planned.cost
    place = (_code(planned.change.config.place), _text(", ".join(planned.change.what)))
    end = "refused" if planned.refused else "ok" if planned.change.config.is_run else "ok (checked only)"
    if not on_environment:
        return (*place, end)
    if run is None:
        return (*place, "", "", "", "", "", end)
    spent = "unknown"
    if cost is not None:
        spent = f"{cost.rate.expected:,.2f} {cost.currency} an hour, at most {cost.high:,.2f}"
        if run.team.budget is not None:
            spent += f" of {run.team.budget:,.2f} a month"
    needs = f"{memory.needs / _GB:.1f} of {memory.accelerator.bytes / _GB:.1f} GB" if memory else "unknown"
    return (*place, run.team_name, run.pool_name, str(run.gpus * run.nodes), needs, spent, end)


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [_line(headings), _line(["---"] * len(headings)), *map(_line, rows), ""]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _text(text: str) -> str:
    """Text that ends no cell, starts no HTML, link or code, and notifies nobody: part of it is from a pull request."""
    return re.sub(r"[|<>@`*\[\]\\&]", lambda found: f"&#{ord(found[0])};", " ".join(text.split()))


def _code(text: str) -> str:
    """Text in the typeface of code, where only the signs that end it or the cell matter."""
    return f"`{' '.join(text.split()).replace('`', '').replace('|', chr(0xA6))}`"
