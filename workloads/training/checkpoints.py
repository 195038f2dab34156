"""Which checkpoint a training resumes from, and which ones it keeps.

A checkpoint counts when its manifest verifies. LLaMA-Factory would take the newest folder, torn or not, so damaged
ones are moved out of its sight, where a person can look at them.

The manifest is written in the background. A process that is killed before it is there leaves a folder that is sealed:
its files' sizes, and the boot of the machine. What a process has written outlives it as long as the machine runs, so
on the same boot a sealed folder whose sizes are right is whole, and gets its manifest then.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from workloads.storage import manifest
from workloads.storage.atomic import read_json, write_json

_FOLDER = re.compile(r"checkpoint-(\d+)")
_SEAL = ".tunery-sealed.json"  # hidden, so that no manifest lists it
_BOOT = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One checkpoint folder and the optimizer step it was saved at.

    Attributes:
        completed: whether it got its manifest only now, after its process was killed.
    """

    folder: Path
    step: int
    completed: bool = False


@dataclass(frozen=True, slots=True)
class Damaged:
    """A checkpoint that does not count, where it lies now, and why."""

    folder: Path
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Retention:
    """Which checkpoints stay: the newest ``keep``, and those of every ``every`` steps for good."""

    keep: int
    every: int | None = None

    def is_lasting(self, step: int) -> bool:
        """Whether the checkpoint of this step stays for good."""
        return self.every is not None and step % self.every == 0

    def superfluous(self, steps: list[int]) -> list[int]:
        """Of committed checkpoints, newest first, those that need not stay."""
        return [step for step in steps[self.keep :] if not self.is_lasting(step)]


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


def list_committed(output_dir: Path) -> list[Checkpoint]:
    """Those that have a manifest, newest first; whether it verifies is not looked at."""
    return [each for each in list_checkpoints(output_dir) if manifest.read(each.folder) is not None]


def newest_verified(output_dir: Path, damaged_dir: Path) -> tuple[Checkpoint | None, list[Damaged]]:
    """The newest checkpoint that verifies, and the damaged newer ones, moved to ``damaged_dir``."""
    damaged: list[Damaged] = []
    for checkpoint in list_checkpoints(output_dir):
        if _is_sealed(checkpoint.folder):
            manifest.commit(checkpoint.folder)
            return Checkpoint(checkpoint.folder, checkpoint.step, completed=True), damaged
        reasons = manifest.damage(checkpoint.folder)
        if not reasons:
            return checkpoint, damaged
        damaged.append(Damaged(set_aside(checkpoint.folder, damaged_dir), tuple(reasons)))
    return None, damaged


def set_aside(folder: Path, damaged_dir: Path) -> Path:
    """Moves a checkpoint out of the trainer's sight; where it lies then."""
    damaged_dir.mkdir(parents=True, exist_ok=True)
    place = damaged_dir / folder.name
    number = 2
    while place.exists():
        place = damaged_dir / f"{folder.name}.{number}"
        number += 1
    folder.rename(place)
    return place


def seal(folder: Path) -> None:
    """Says that every file of a checkpoint is written, though not yet that it is on the disk."""
    write_json(folder / _SEAL, {"boot": _boot(), "files": _sizes(folder)}, durable=False)


def _is_sealed(folder: Path) -> bool:
    if (folder / manifest.MANIFEST_NAME).exists():
        return False
    found, boot = read_json(folder / _SEAL), _boot()
    return isinstance(found, dict) and boot is not None and found == {"boot": boot, "files": _sizes(folder)}


def _sizes(folder: Path) -> dict[str, int]:
    return {
        path.relative_to(folder).as_posix(): path.stat().st_size
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".") and path.name != manifest.MANIFEST_NAME
    }


def _boot() -> str | None:
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return None


def retain(output_dir: Path, retention: Retention, held: Collection[Path]) -> None:
    """Removes what need not stay once a newer checkpoint is committed.

    Args:
        held: folders that somebody needs now.
    """
    committed = list_committed(output_dir)
    if not committed:
        return
    superfluous = set(retention.superfluous([each.step for each in committed]))
    steps = {each.step for each in committed}
    for each in list_checkpoints(output_dir):
        torn = each.step not in steps and each.step < committed[0].step
        if (each.step in superfluous or torn) and each.folder not in held:
            (each.folder / manifest.MANIFEST_NAME).unlink(missing_ok=True)  # half a folder does not count
            shutil.rmtree(each.folder)
