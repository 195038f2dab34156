"""Where the time of a run went, and which of it was lost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from workloads.report.source import Event, RunSource, mapping, number, text
from workloads.report.timeline import Outcome, Span, Timeline
from workloads.runtime import STAGES


class Kind(StrEnum):
    """What a part of the time was good for."""

    USEFUL = "useful"
    LOST = "lost"
    """Spent on work that had to be done again."""
    STOPPED = "stopped"
    """No process worked on the run."""


@dataclass(frozen=True, slots=True)
class Part:
    """Seconds that went into one thing; ``share`` of the whole run, from 0 to 1."""

    label: str
    kind: Kind
    seconds: float
    on_device: bool
    share: float = 0.0


@dataclass(frozen=True, slots=True)
class Costs:
    """All parts; together they make the time from the run's first start to its last end.

    Attributes:
        devices: how many accelerators the run spec asks for, and which, such as ``2 x l4``; None for a CPU.
        device_count: accelerators that are held while a part is ``on_device``.
    """

    parts: tuple[Part, ...]
    devices: str | None
    device_count: int

    def seconds(self, kind: Kind) -> float:
        """Seconds of all parts of one kind."""
        return sum(part.seconds for part in self.parts if part.kind is kind)

    def device_seconds(self, kind: Kind) -> float:
        """Accelerator-seconds: each second in which devices are held, times how many."""
        held = sum(part.seconds for part in self.parts if part.kind is kind and part.on_device)
        return held * self.device_count

    @property
    def efficiency(self) -> float | None:
        """The useful share of the time in which a process worked; None when none did."""
        useful, lost = self.seconds(Kind.USEFUL), self.seconds(Kind.LOST)
        return useful / (useful + lost) if useful + lost else None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at the training.

    Attributes:
        span: from the stage's start to its end.
        begun: when its first step began; the span's end when it never did.
        first_step: the step that it continued from.
        kept_until: until when its work was not done again.
        saves: when each checkpoint was on disk and how long that took, in seconds.
        progress: when which step was known to be done.
    """

    span: Span
    begun: float
    first_step: float
    kept_until: float
    saves: tuple[tuple[float, float], ...]
    progress: tuple[tuple[float, float], ...]


def read_costs(source: RunSource, timeline: Timeline) -> Costs:
    """Adds up the timeline; a second of training is lost when a later attempt began before it."""
    found: list[Part] = []
    for span in timeline.spans:
        if span.stage != "train":
            done = span.outcome in (Outcome.FINISHED, Outcome.OPEN)
            label = span.stage if done else f"{span.stage}, not brought to its end"
            kind = Kind.USEFUL if done else Kind.LOST
            found.append(Part(label, kind, span.seconds, on_device=span.stage == "evaluate"))
    for index, attempt in enumerate(read_attempts(source.events, timeline.spans)):
        found += _training_parts(attempt, again=index > 0)
    known = sum(part.seconds for part in found) + timeline.stopped
    total = timeline.end - timeline.start
    found.append(Part("between stages", Kind.USEFUL, max(0.0, total - known), on_device=False))
    found.append(Part("stopped", Kind.STOPPED, timeline.stopped, on_device=False))
    resources = mapping(source.spec.get("resources"))
    accelerator, count = text(resources.get("accelerator")), number(resources.get("count")) or 1
    devices = f"{count:g} x {accelerator}" if accelerator else None
    return Costs(_merge(found), devices, int(count))


def read_attempts(events: Sequence[Event], spans: Iterable[Span]) -> list[Attempt]:
    """The attempts at the training, each with how much of it was kept."""
    attempts: list[Attempt] = []
    for span in spans:
        if span.stage != "train":
            continue
        inside = [event for event in events if span.start <= event.time <= span.end]
        attempt = _attempt(span, inside)
        if attempt.begun < span.end:
            attempts = [_keep(each, attempt.first_step) for each in attempts]
        attempts.append(attempt)
    return attempts


def _attempt(span: Span, inside: Sequence[Event]) -> Attempt:
    begins = [event for event in inside if event.kind == "train_started"]
    logs = [event for event in inside if event.kind == "log"]
    begun = begins[0].time if begins else logs[0].time if logs else span.end
    saved = [event for event in inside if event.kind == "checkpoint_saved" and event.time >= begun]
    saves = tuple((event.time, max(0.0, number(event.fields.get("seconds")) or 0.0)) for event in saved)
    kept_until = span.end
    if span.outcome is Outcome.FAILED:  # the next attempt can only continue from its last checkpoint
        kept_until = saved[-1].time if saved else begun
    progress = tuple((event.time, event.step) for event in (*logs, *saved) if event.step is not None)
    return Attempt(span, begun, (begins[0].step or 0.0) if begins else 0.0, kept_until, saves, progress)


def _keep(attempt: Attempt, step: float) -> Attempt:
    """The attempt when a later one has continued from ``step``."""
    kept = [time for time, done in attempt.progress if attempt.first_step < done <= step]
    return replace(attempt, kept_until=min(attempt.kept_until, max(kept, default=attempt.begun)))


def _training_parts(attempt: Attempt, *, again: bool) -> list[Part]:
    span = attempt.span
    saving = sum(seconds for time, seconds in attempt.saves if time <= attempt.kept_until)
    kept = attempt.kept_until - attempt.begun
    saving = min(saving, kept)
    loading = Part(
        "loading again after an interruption" if again else "loading software and model",
        Kind.LOST if again else Kind.USEFUL,
        attempt.begun - span.start,
        on_device=True,
    )
    return [
        loading,
        Part("training", Kind.USEFUL, kept - saving, on_device=True),
        Part("saving checkpoints", Kind.USEFUL, saving, on_device=True),
        Part("training done again", Kind.LOST, span.end - attempt.kept_until, on_device=True),
    ]


def _merge(parts: Iterable[Part]) -> tuple[Part, ...]:
    """One part a label, in the order of the stages, with shares; parts that took no time are left out."""
    merged: dict[str, Part] = {}
    for part in parts:
        before = merged.get(part.label)
        merged[part.label] = part if before is None else replace(part, seconds=before.seconds + part.seconds)
    total = sum(part.seconds for part in merged.values())
    worth_showing = [part for part in merged.values() if part.seconds >= 0.0005]
    ordered = sorted(worth_showing, key=_place)
    return tuple(replace(part, share=part.seconds / total) for part in ordered)


def _place(part: Part) -> tuple[int, float]:
    kinds = list(Kind)
    before_training = part.label in STAGES[: STAGES.index("train")]
    if part.kind is not Kind.USEFUL:
        return 10 + kinds.index(part.kind), 0.0
    if part.label in STAGES:
        return (0 if before_training else 2), float(STAGES.index(part.label))
    return (3, 0.0) if part.label == "between stages" else (1, 0.0)
