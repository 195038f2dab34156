"""Which checkpoint a training resumes from.

A checkpoint counts when its manifest verifies. LLaMA-Factory would take the newest folder, torn or not, so damaged
ones are moved out of its sight, where a person can look at them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from workloads.storage import manifest

_FOLDER = re.compile(r"checkpoint-(\d+)")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One checkpoint folder and the optimizer step it was saved at."""

    folder: Path
    step: int


@dataclass(frozen=True, slots=True)
class Damaged:
    """A checkpoint that does not count, where it lies now, and why."""

    folder: Path
    reasons: tuple[str, ...]


def list_checkpoints(output_dir: Path) -> list[Checkpoint]:
    """Every checkpoint folder under ``output_dir``, newest first, whether it counts or not."""
    if not output_dir.is_dir():
        return []
    found = [
        Checkpoint(folder, int(match[1]))
        for folder in output_dir.iterdir()
        if folder.is_dir() and (match := _FOLDER.fullmatch(folder.name))
    ]
    return sorted(found, key=lambda checkpoint: checkpoint.step, reverse=True)


def newest_verified(output_dir: Path, damaged_dir: Path) -> tuple[Checkpoint | None, list[Damaged]]:
    """The newest checkpoint that verifies, and the damaged newer ones, moved to ``damaged_dir``."""
    damaged: list[Damaged] = []
    for checkpoint in list_checkpoints(output_dir):
        reasons = manifest.damage(checkpoint.folder)
        if not reasons:
            return checkpoint, damaged
        damaged_dir.mkdir(parents=True, exist_ok=True)
        place = damaged_dir / checkpoint.folder.name
        number = 2
        while place.exists():
            place = damaged_dir / f"{checkpoint.folder.name}.{number}"
            number += 1
        checkpoint.folder.rename(place)
        damaged.append(Damaged(place, tuple(reasons)))
    return None, damaged
