"""Plays one fault on one system until it is done or gives up, and says what it came to."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.faults.attempts import LIMIT_SECONDS, Attempt, Forked, all_steps
from benchmarks.faults.strikes import Strike
from benchmarks.faults.systems import MAX_STEPS, SAVE_STEPS, System

MOST_ATTEMPTS = 6
"""A Job's default is six retries; whoever fails that often, each time in the same way, needs a human."""

_NO_MATTER = 1e-6

Play = Callable[[System, Path, "Fault"], list[Attempt]]


@dataclass(frozen=True)
class Fault:
    """One row of the table.

    Attributes:
        what, when, how: in words: the fault, its moment, and how it is brought about.
        strikes: one an attempt, beginning with the first; later attempts go undisturbed.
        damage: what becomes of the checkpoints' folder between the first attempt and the second.
        losses: how many save intervals it may cost: one for each loss that the row brings about.
        bound: how far apart the final weights may be; 0 asks for the same bits.
        kind: which pair of systems plays it.
        play: how, when it is not by starting again and again.
        limit: seconds after which an attempt that has not ended counts as hung; nobody starts that again.
    """

    what: str
    when: str
    how: str
    strikes: Sequence[Strike] = ()
    damage: Callable[[Path], None] | None = None
    losses: int = 1
    bound: float = 0.0
    environ: Mapping[str, str] = field(default_factory=dict)
    kind: str = "process"
    play: Play | None = None
    limit: float = LIMIT_SECONDS

    @property
    def name(self) -> str:
        """What tells it from the other rows."""
        return f"{self.what}, {self.when}"


@dataclass(frozen=True)
class Outcome:
    """What a fault came to.

    Attributes:
        ended: how each attempt ended.
        steps_lost: optimizer steps that were computed and had to be computed again, or in vain.
        seconds_lost: wall time beyond that of an undisturbed run.
        success: whether the last attempt said so.
        state: ``same bits``, ``differs by N``, or ``none``.
        difference: the largest of the final weights; None when there are none.
        all_steps: whether every step was trained, and none beyond the last.
    """

    ended: tuple[str, ...]
    steps_lost: int
    seconds_lost: float
    success: bool
    difference: float | None
    all_steps: bool

    @property
    def restarts(self) -> int:
        """How often it was started again."""
        return len(self.ended) - 1

    @property
    def state(self) -> str:
        """How the final weights compare with those of an undisturbed run."""
        if self.difference is None:
            return "none"
        return "same bits" if self.difference == 0 else f"differs by {self.difference:.1g}"

    def right(self, bound: float) -> bool:
        """Whether it ended with what an undisturbed run ends with."""
        return self.success and self.all_steps and self.difference is not None and self.difference <= bound

    def wrong_success(self, bound: float) -> bool:
        """Whether it said success, and is none; what no measure of a model would show is not called so."""
        return self.success and not self.right(max(bound, _NO_MATTER))

    def meets_goal(self, fault: Fault) -> bool:
        """Whether it lost no more than the save intervals of the fault, and needed nobody."""
        return self.right(fault.bound) and self.steps_lost <= fault.losses * SAVE_STEPS


@dataclass(frozen=True)
class Reference:
    """An undisturbed run of a system: its weights, and how long it takes."""

    weights: Path
    seconds: float


def play(system: System, fault: Fault, folder: Path, reference: Reference) -> Outcome:
    """Plays a fault in a new folder."""
    system.begin(folder)
    attempts = (fault.play or restarting)(system, folder, fault)
    last = attempts[-1]
    steps = all_steps(folder)
    success = last.code == 0
    result = system.result(folder) if success else None
    return Outcome(
        ended=tuple(attempt.ended for attempt in attempts),
        steps_lost=len(steps) - MAX_STEPS if success else len(steps),
        seconds_lost=sum(attempt.seconds for attempt in attempts) - reference.seconds,
        success=success,
        difference=None if result is None else difference(result, reference.weights),
        all_steps=set(steps) == set(range(1, MAX_STEPS + 1)),
    )


def restarting(system: System, folder: Path, fault: Fault) -> list[Attempt]:
    """Starts again whatever ended and may be started again."""
    attempts: list[Attempt] = []
    while len(attempts) < MOST_ATTEMPTS:
        strike = fault.strikes[len(attempts)] if len(attempts) < len(fault.strikes) else None
        attempts.append(Forked(lambda: system.work(folder), folder, strike, fault.environ).wait(fault.limit))
        if attempts[-1].code is None or not system.restarts(attempts[-1].code):
            break
        if fault.damage is not None and len(attempts) == 1:
            fault.damage(system.checkpoints(folder))
    return attempts


def two_at_once(system: System, folder: Path, fault: Fault) -> list[Attempt]:
    """A second process begins in the same folder while the first one trains."""
    first = Forked(lambda: system.work(folder), folder, None, fault.environ)
    deadline = time.perf_counter() + 60
    while not first.steps() and time.perf_counter() < deadline:
        time.sleep(0.005)
    second = Forked(lambda: system.work(folder), folder, None, fault.environ, name=f"{folder.name}.second").wait()
    return [second, first.wait()]


def difference(weights: Path, reference: Path) -> float:
    """The largest difference of two files of weights; infinite when they do not hold the same tensors."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        found, expected = load_file(weights), load_file(reference)
    except (SafetensorError, OSError):
        return float("inf")
    if found.keys() != expected.keys():
        return float("inf")
    return max(float(abs(found[name] - expected[name]).max()) for name in expected)
