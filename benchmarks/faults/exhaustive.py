"""SIGKILL at every write boundary: which there are, found by an undisturbed run, and what all of them came to."""

from __future__ import annotations

import re
import signal
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.faults.attempts import Forked
from benchmarks.faults.boundaries import Boundaries, Boundary
from benchmarks.faults.playing import Fault, Outcome
from benchmarks.faults.strikes import KillAt
from benchmarks.faults.systems import System

_CHECKPOINT = re.compile(r"checkpoint-8/|checkpoint-8$")
_LAST = re.compile(r"checkpoint-12")
_ANY = re.compile(r"checkpoint-\d+")
_CALM = re.compile(r"events\.jsonl|progress\.json|trainer_log\.jsonl")
"""Files that are written all the time; the boundaries of a checkpoint have enough of them between."""


@dataclass(frozen=True)
class Region:
    """A part of a training, by the boundaries that it begins and ends with."""

    what: str
    kinds: tuple[str, ...]

    def contains(self, boundary: Boundary) -> bool:
        """Whether it is a boundary of this kind."""
        return boundary.kind in self.kinds


REGIONS = (
    Region("before each creation of a file or folder", ("open", "write", "mkdir")),
    Region("in the middle of each large file", ("half of",)),
    Region("before each fsync", ("fsync",)),
    Region("before each rename and removal", ("rename to", "remove", "rmdir")),
)


def boundaries(system: System, folder: Path) -> list[Boundary]:
    """Every boundary of an undisturbed training, in order."""
    system.begin(folder)
    found = folder.with_name(f"{folder.name}.boundaries")

    def note(place: Path) -> None:
        stream = found.open("w")

        def meet(boundary: Boundary) -> None:
            stream.write(f"{boundary.kind}\t{boundary.path}\n")
            stream.flush()

        Boundaries(place, meet).install()

    attempt = Forked(lambda: system.work(folder), folder, note, {}).wait()
    if attempt.code != 0:
        raise RuntimeError(f"an undisturbed training ended with {attempt.ended}: see {folder}.log")
    return [Boundary(*line.split("\t")) for line in found.read_text().splitlines()]


def kills(found: Sequence[Boundary], *, end: bool) -> list[tuple[Boundary, KillAt]]:
    """A kill for each boundary of checkpoint-8, or with ``end`` of what the end of the training writes."""
    # By their paths: a checkpoint is committed in the background, while the training goes on and even ends.
    ending = next(number for number, each in enumerate(found) if _LAST.search(each.path))
    seen: Counter[str] = Counter()
    chosen = []
    for number, boundary in enumerate(found):
        after = number > ending and not _ANY.search(boundary.path) and not _CALM.search(boundary.path)
        if after if end else _CHECKPOINT.search(boundary.path):
            chosen.append((boundary, KillAt(boundary.name, seen[boundary.name])))
        seen[boundary.name] += 1
    return chosen


def fault(strike: KillAt) -> Fault:
    """The fault of one boundary."""
    return Fault(f"SIGKILL at {strike.name}", str(strike.nth), "", [strike])


def worst(outcomes: Sequence[Outcome]) -> Outcome:
    """One outcome that is as bad as any of them in each respect."""
    differences = [each.difference for each in outcomes]
    codes = Counter(each.ended for each in outcomes)
    struck = sum(signal.SIGKILL.name in each.ended for each in outcomes)
    longest = max(codes, key=len)
    return Outcome(
        ended=(f"{struck} times SIGKILL", *longest[1:]),
        steps_lost=max(each.steps_lost for each in outcomes),
        seconds_lost=max(each.seconds_lost for each in outcomes),
        success=all(each.success for each in outcomes),
        difference=None if None in differences else max(each for each in differences if each is not None),
        all_steps=all(each.all_steps for each in outcomes),
    )
