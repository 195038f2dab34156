"""What every benchmark ends with: a table, a file of results, and an exit code."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Row:
    """One measure: what, the figure, the goal in words, and whether it is met."""

    measure: str
    tunery: float
    plain: float | None
    unit: str
    goal: str
    met: bool


def report(rows: Sequence[Row], path: Path) -> int:
    """Prints the table and writes it as JSON; 1 when a goal is not met, else 0."""
    print(f"{'measure':<40}{'tunery':>10}{'plain':>10}{'ratio':>8}  goal")
    for row in rows:
        plain = "" if row.plain is None else f"{row.plain:.2f}"
        ratio = "" if row.plain is None else f"{row.plain / row.tunery:.1f}"
        mark = "met" if row.met else "NOT MET"
        print(f"{row.measure:<40}{row.tunery:>8.3f} {row.unit:<5}{plain:>6}{ratio:>8}  {row.goal}: {mark}")
    machine = {"cpus": os.cpu_count(), "python": platform.python_version(), "system": platform.machine()}
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"machine": machine, "rows": [asdict(row) for row in rows]}, indent=2) + "\n")
    return 0 if all(row.met for row in rows) else 1
