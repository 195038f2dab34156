"""What a training went through, counted from the event log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

from workloads.report.source import Event

_COUNTED = {
    "train_started": "starts",
    "checkpoint_saved": "saves",
    "checkpoint_stored": "uploads",
    "preempted": "preemptions",
    "resumed": "resumes",
    "rolled_back": "rollbacks",
    "stalled": "stalls",
    "checkpoint_damaged": "damaged",
}
_ONE = {name: name if name == "damaged" else name.removesuffix("s") for name in _COUNTED.values()}


@dataclass(frozen=True, slots=True)
class Tally:
    """How often each thing happened to a training.

    Attributes:
        starts: of the training itself, once software and model were loaded.
        uploads: checkpoints that reached the store.
        damaged: checkpoints that did not verify.
        steps_lost: steps that were done and had to be done again, as far as the log tells.
    """

    starts: int = 0
    saves: int = 0
    uploads: int = 0
    preemptions: int = 0
    resumes: int = 0
    rollbacks: int = 0
    stalls: int = 0
    damaged: int = 0
    steps_lost: int = 0

    def as_dict(self) -> dict[str, int]:
        """For ``--json``."""
        return asdict(self)

    @property
    def words(self) -> str:
        """One sentence, of what happened at all."""
        named = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "steps_lost"}
        happened = [f"{count:,} {_ONE[name] if count == 1 else name}" for name, count in named.items() if count]
        if not happened:
            return ""
        lost = f"{self.steps_lost:,} step{'s' if self.steps_lost != 1 else ''} done again"
        return f"{', '.join(happened)}; {lost}."


def read_tally(events: Sequence[Event]) -> Tally:
    """Counts the events of a training; what it lost shows where it starts the next time."""
    counts = dict.fromkeys(_COUNTED.values(), 0)
    reached = lost = 0.0
    for event in events:
        if event.kind in _COUNTED:
            counts[_COUNTED[event.kind]] += 1
        if event.step is None:
            continue
        if event.kind == "train_started":
            lost += max(0.0, reached - event.step)
            reached = event.step
        elif event.kind in ("log", "checkpoint_saved", "stalled"):
            reached = max(reached, event.step)
        elif event.kind == "preempted":
            reached = max(reached, event.step + _count(event.fields.get("lost")))
    return Tally(**counts, steps_lost=int(lost))


def _count(value: object) -> float:
    return float(value) if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1e12 else 0.0
