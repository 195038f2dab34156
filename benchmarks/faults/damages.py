"""What can happen to checkpoints on a disk while nobody trains."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


def newest(output: Path, back: int = 0) -> Path:
    """The newest checkpoint's folder, or one that is ``back`` older."""
    folders = sorted(output.glob("checkpoint-*"), key=lambda each: int(each.name.rpartition("-")[2]))
    return folders[-1 - back]


@dataclass(frozen=True)
class Damage:
    """Something that happens to one file of the newest checkpoint, or of several of them."""

    name: str
    do: Callable[[Path], None]
    checkpoints: int = 1

    def __call__(self, output: Path) -> None:
        for back in range(self.checkpoints):
            path = newest(output, back) / self.name
            if path.exists():
                self.do(path)


def truncate(path: Path) -> None:
    """Half of it is missing."""
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    """It has no content."""
    os.truncate(path, 0)


def remove(path: Path) -> None:
    """It is gone."""
    path.unlink()


def flip(path: Path) -> None:
    """One bit in the middle of it is another."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def flip_weight(path: Path) -> None:
    """One bit of a weight, its exponent's highest but one, is another."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 0x20
    path.write_bytes(content)


def hollow(output: Path) -> None:
    """The newest checkpoint is an empty folder."""
    folder = newest(output)
    shutil.rmtree(folder)
    folder.mkdir()
