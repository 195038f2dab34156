"""The table of faults: docs/faults.md for people, benchmarks/results/faults.json for programs."""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.faults.campaign import Result
from benchmarks.faults.playing import Fault, Outcome
from benchmarks.faults.systems import MAX_STEPS, SAVE_STEPS

_ROOT = Path(__file__).parents[2]
PAGE = _ROOT / "docs" / "faults.md"
RESULTS = _ROOT / "benchmarks" / "results" / "faults.json"
_TUNERY = "tunery"
_COLUMNS = (_TUNERY, "plain, as its examples", "plain, told to resume")
_INTRODUCTION = """\
# What faults cost

Made by `make faults`, which plays every row; do not edit.

Each fault strikes a training of {steps} steps with a checkpoint every {save} steps, once by tunery and once by plain
`llamafactory-cli train` {llamafactory}. Both are started again as a Job does it: until they end with 0, and tunery also
until it ends with 64, which says that no restart will help. Plain is played in two ways: *as its examples*, most of
which have `overwrite_output_dir: true`, and *told to resume*, with `false`. Save interval, seed and data are the same.

The goals: no row of tunery loses more steps than the save interval (for each loss that the row brings about), none
needs a human, and none ends with success when not all steps are done.

{verdict}

{summary}

How to read a cell: how each attempt ended (its exit code, or the signal that ended it); **steps** that were computed in
vain; **seconds** beyond an undisturbed run; and the final weights against those of an undisturbed run of the same
system, bit by bit. **NEEDS A HUMAN** stands where {attempts} attempts did not help, **WRONG SUCCESS** where the last
attempt ended with 0 and the result is not that of the training, *no store* where plain has nothing that could fail, and
*not played* where plain begins at step 0 whatever happens. Exit codes of tunery: 69 a service or resource is not there,
70 a fault of its own or of the machine, 75 stopped after a checkpoint.
"""
_ENDING = """
## How the faults are made

`benchmarks/faults/` holds them. A process imports the training stack once and forks an attempt at a time, so that an
attempt takes about a second; several ranks, and what has a parent, are processes of their own. The code under test has
no hooks: Python announces each change of a file to an audit hook, which ends the process there; fsync and what torch
and safetensors write by themselves are wrapped. *SIGKILL at every write boundary* first lists the boundaries of an
undisturbed training, and then plays one attempt for each; its cells show the worst of them. Pods work with an emulator
of Cloud Storage and begin with an empty disk; their waits pass {haste:.0f} times faster than real time. Seconds differ
from run to run by some tenths, and more on a machine that does other things besides. Where a parent is struck, its
children live on as on any machine; in a pod they end with their container.
"""


def write(results: Sequence[Result], seconds: float, *, whole: bool) -> int:
    """Writes both when all rows were played; 1 when tunery misses a goal.

    Args:
        seconds: how long it took.
    """
    missed = [each for each in results if not each.outcomes[_TUNERY].meets_goal(each.fault)]
    if whole:
        PAGE.write_text(page(results))
        RESULTS.write_text(json.dumps(_values(results, seconds), indent=2, ensure_ascii=False) + "\n")
    print(f"{len(results)} rows in {seconds / 60:.1f} minutes; goals missed by {len(missed)}")
    for each in missed:
        print(f"  {each.group}: {each.fault.name}: {_cell(each.fault, each.outcomes[_TUNERY])}")
    return 1 if missed else 0


def page(results: Sequence[Result]) -> str:
    """The page in Markdown."""
    from benchmarks.faults.connection import HASTE
    from benchmarks.faults.playing import MOST_ATTEMPTS

    missed = [each for each in results if not each.outcomes[_TUNERY].meets_goal(each.fault)]
    verdict = f"All {len(results)} rows meet them."
    if missed:
        names = "".join(f"\n- {each.fault.name}" for each in missed)
        verdict = f"**{len(missed)} of {len(results)} rows miss them:**\n{names}"
    facts = {"steps": MAX_STEPS, "save": SAVE_STEPS, "attempts": MOST_ATTEMPTS}
    text = _INTRODUCTION.format(
        llamafactory=version("llamafactory"), verdict=verdict, summary=_summary(results), **facts
    )
    for group in dict.fromkeys(each.group for each in results):
        text += f"\n## {group}\n\n| fault | how | {' | '.join(_COLUMNS)} |\n|{' --- |' * (len(_COLUMNS) + 2)}\n"
        for each in (each for each in results if each.group == group):
            cells = [_column(each, column) for column in _COLUMNS]
            text += f"| **{each.fault.what}**, {each.fault.when} | {each.fault.how} | {' | '.join(cells)} |\n"
    return text + _ENDING.format(haste=HASTE)


def _summary(results: Sequence[Result]) -> str:
    lines = [
        f"| | {' | '.join(_COLUMNS)} |",
        "| --- " * (len(_COLUMNS) + 1) + "|",
    ]
    measures: dict[str, Callable[[list[tuple[Fault, Outcome]]], str]] = {
        "rows played": lambda rows: str(len(rows)),
        "rows that need a human": lambda rows: str(sum(not outcome.success for _, outcome in rows)),
        "rows with a wrong success": lambda rows: str(sum(outcome.wrong_success(f.bound) for f, outcome in rows)),
        "rows with the same bits at the end": lambda rows: str(sum(o.success and o.difference == 0 for _, o in rows)),
        "steps lost, most in a row": lambda rows: str(max(outcome.steps_lost for _, outcome in rows)),
        "steps lost, all rows": lambda rows: str(sum(outcome.steps_lost for _, outcome in rows)),
    }
    played = {
        column: [(each.fault, each.outcomes[column]) for each in results if column in each.outcomes]
        for column in _COLUMNS
    }
    for name, measure in measures.items():
        lines.append(f"| {name} | {' | '.join(measure(rows) if rows else '' for rows in played.values())} |")
    return "\n".join(lines)


def _column(result: Result, column: str) -> str:
    if column in result.outcomes:
        return _cell(result.fault, result.outcomes[column])
    return "*no store*" if result.fault.kind == "pod" else "*not played*"


def _cell(fault: Fault, outcome: Outcome) -> str:
    parts = [_ended(outcome.ended)]
    if not outcome.success:
        parts.append("**NEEDS A HUMAN**")
    elif outcome.wrong_success(fault.bound):
        parts.append("**WRONG SUCCESS**")
    parts.append(f"{outcome.steps_lost} steps")
    if outcome.success:
        parts += [f"{max(outcome.seconds_lost, 0.0):.1f} s", outcome.state]
    return "; ".join(parts)


def _ended(codes: Sequence[str]) -> str:
    """The codes, with those that repeat counted."""
    counted: list[list[Any]] = []
    for code in codes:
        if counted and counted[-1][0] == code:
            counted[-1][1] += 1
        else:
            counted.append([code, 1])
    return ", ".join(code if times == 1 else f"{times} x {code}" for code, times in counted)


def _values(results: Sequence[Result], seconds: float) -> dict[str, Any]:
    rows = [
        {
            "group": each.group,
            "fault": each.fault.what,
            "when": each.fault.when,
            "how": each.fault.how,
            "allowed_steps": each.fault.losses * SAVE_STEPS,
            "goal_met": each.outcomes[_TUNERY].meets_goal(each.fault),
            "outcomes": {column: _outcome(each.fault, outcome) for column, outcome in each.outcomes.items()},
        }
        for each in results
    ]
    machine = {"cpus": os.cpu_count(), "python": platform.python_version(), "system": platform.machine()}
    return {"machine": machine, "seconds": round(seconds, 1), "rows": rows}


def _outcome(fault: Fault, outcome: Outcome) -> dict[str, Any]:
    values = asdict(outcome) | {"seconds_lost": round(outcome.seconds_lost, 2), "restarts": outcome.restarts}
    finite = outcome.difference is not None and math.isfinite(outcome.difference)  # JSON has no other numbers
    values["difference"] = outcome.difference if finite else None
    return values | {"state": outcome.state, "wrong_success": outcome.wrong_success(fault.bound)}
