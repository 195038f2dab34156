"""How long the trials of a sweep train before they are compared, and which of them go on.

Successive halving: all trials train to the first rung, the best of them to the next, and so on; the last rung is the
end of the training. A rung is decided when all its trials are measured, so the same trials go on whatever the order or
the number of machines.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from workloads.run_spec import METRICS, Sweep


@dataclass(frozen=True, slots=True)
class Rung:
    """One round of a sweep.

    Attributes:
        number: from 0.
        steps: the step at which its trials are measured; None for the end of the training.
        trials: how many trials reach it.
    """

    number: int
    steps: int | None
    trials: int


def rungs(sweep: Sweep, trials: int) -> list[Rung]:
    """The rounds of a sweep; a grid and random trials have one.

    Args:
        trials: how many trials there are.
    """
    found: list[Rung] = []
    if sweep.method == "asha" and sweep.min_steps is not None:
        steps = sweep.min_steps
        while trials >= sweep.reduction:
            found.append(Rung(len(found), steps, trials))
            trials //= sweep.reduction
            steps *= sweep.reduction
    return [*found, Rung(len(found), None, trials)]


def ranked(sweep: Sweep, metrics: Mapping[int, float | None]) -> list[int]:
    """Trial numbers, the best first; of equal ones the lower number, and those without a finite metric last."""
    sign = -1.0 if METRICS[sweep.metric] else 1.0

    def key(number: int) -> tuple[bool, float, int]:
        value = metrics[number]
        usable = value is not None and math.isfinite(value)
        return (not usable, sign * value if usable and value is not None else 0.0, number)

    return sorted(metrics, key=key)


def promoted(sweep: Sweep, metrics: Mapping[int, float | None], keep: int) -> list[int]:
    """The trials that go on to the next rung, in the order of their numbers; none without a finite metric does."""
    usable = {number: value for number, value in metrics.items() if value is not None and math.isfinite(value)}
    return sorted(ranked(sweep, usable)[:keep])
