"""Where a run stands: its stages, its training, and what became of its accelerators' time. Pure: facts in, status out.

Two sources tell of a run. Its run directory (here, or fetched from the store) says what the stages said themselves;
the Workflow, when there is one, says what Kubernetes made of them, and knows of a stage that never got to speak.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from workloads.engines.remote_sweep import SweepNow, read_now
from workloads.engines.sweep_status import in_a_line, live, time_of, train_node, waited
from workloads.report.costs import Kind, read_costs
from workloads.report.source import RunSource, mapping, number, read_run, text
from workloads.report.tally import Tally, read_tally
from workloads.report.timeline import Outcome, read_timeline
from workloads.storage.atomic import read_json

APPROVAL = "approve"
ENDED = ("finished", "failed", "stopped")
_PHASES = {
    "": "waiting",
    "Pending": "starting",
    "Running": "running",
    "Succeeded": "finished",
    "Failed": "failed",
    "Error": "failed",
    "Omitted": "not run",
    "Skipped": "not run",
}
_OUTCOMES = {
    Outcome.FINISHED: "finished",
    Outcome.FAILED: "failed",
    Outcome.PREEMPTED: "stopped",
    Outcome.CUT: "stopped",
    Outcome.OPEN: "running",
}
_HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class StageStatus:
    """One stage, and where it stands.

    Attributes:
        state: waiting, queued, starting, running, finished, failed, stopped or not run.
        seconds: of work on it so far, all attempts together; None before the first.
        note: what it waits for, or what was said when it failed.
    """

    name: str
    state: str
    seconds: float | None = None
    note: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {"name": self.name, "state": self.state, "seconds": self.seconds, "note": self.note}


@dataclass(frozen=True, slots=True)
class Hours:
    """Hours of accelerators; of processes where the run has no accelerator.

    Attributes:
        waiting: for quota, nodes and images, or between attempts; nothing is held then.
    """

    useful: float
    lost: float
    waiting: float

    def as_dict(self) -> dict[str, float]:
        """For ``--json``."""
        return {name: round(getattr(self, name), 4) for name in ("useful", "lost", "waiting")}


@dataclass(frozen=True, slots=True)
class RunStatus:
    """A run as ``tunery status`` shows it."""

    id: str
    place: str
    state: str
    stages: tuple[StageStatus, ...]
    progress: dict[str, Any]
    hours: Hours
    problems: tuple[dict[str, Any], ...]
    note: str = ""
    tally: Tally = field(default_factory=Tally)
    sweep: dict[str, Any] | None = None
    """Of a run with a sweep: its trials and rungs, as sweep.json has them, and which trials are at work now."""

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        keys = ("step", "max_steps", "loss", "tokens_per_second", "eta_seconds")
        return {
            "id": self.id,
            "place": self.place,
            "state": self.state,
            "stages": [stage.as_dict() for stage in self.stages],
            **{key: self.progress.get(key) for key in keys},
            "gpu_hours": self.hours.as_dict(),
            "training": self.tally.as_dict(),
            "problems": list(self.problems),
            "note": self.note,
            **({} if self.sweep is None else {"sweep": self.sweep}),
        }


@dataclass(frozen=True, slots=True)
class Queue:
    """What Kueue says of the stage that wants accelerators now."""

    admitted: bool
    note: str


def read_status(
    run_dir: Path,
    place: str,
    *,
    now: float,
    workflow: dict[str, Any] | None = None,
    queue: Queue | None = None,
    queued: Mapping[str, str] | None = None,
    local_state: str = "",
) -> RunStatus:
    """The status of a run.

    Args:
        run_dir: its run directory, or what the store has of it.
        place: ``this machine`` or the environment.
        now: seconds since the epoch.
        workflow: the Workflow as the cluster has it.
        queued: of a sweep, the trials' Jobs that wait in the queue, and what it says of each.
        local_state: the state that the local engine knows, for a run without a Workflow.
    """
    source = read_run(run_dir)
    timeline = read_timeline(source)
    nodes = _nodes(workflow)
    run_id = text(source.record.get("id")) or run_dir.name
    trials = read_now(run_dir)
    sweep = None if trials is None else live(trials, run_id, workflow, queued or {})
    if trials is not None and (train := train_node(workflow, len(trials.rounds))) is not None:
        nodes["train"] = train
    names = list(source.planned)
    if "serve" in names and mapping(source.spec.get("serve")).get("approval") and workflow is not None:
        names.insert(names.index("serve"), APPROVAL)
    worked: dict[str, float] = {}
    ended: dict[str, str] = {}
    for span in timeline.spans:
        going = span.outcome is Outcome.OPEN
        worked[span.stage] = worked.get(span.stage, 0.0) + (max(0.0, now - span.start) if going else span.seconds)
        ended[span.stage] = _OUTCOMES[span.outcome]
    stages = tuple(_stage(name, nodes.get(name), worked.get(name), ended.get(name), queue) for name in names)
    hours = _hours(source, nodes, now)
    if trials is not None and sweep is not None and trials.in_pods:
        stages = tuple(_of_sweep(stage, sweep) if stage.name == "train" else stage for stage in stages)
        hours = _with_trials(hours, trials, workflow, now)
    return RunStatus(
        id=run_id,
        place=place,
        state=_run_state(workflow, stages, local_state),
        stages=stages,
        progress=mapping(read_json(source.paths.progress)),
        hours=hours,
        problems=_problems(source),
        note=_note(workflow, stages),
        tally=read_tally(source.events),
        sweep=sweep,
    )


def _of_sweep(stage: StageStatus, sweep: dict[str, Any]) -> StageStatus:
    """The train stage of a sweep whose trials work in pods: it runs as soon as one of them does."""
    states = {row["state"] for row in sweep["trials"]}
    spent = sum(row["seconds"] for row in sweep["trials"])
    state = stage.state
    if state in ("queued", "starting") and (spent or "running" in states):
        state = "running"
    elif state == "starting" and "starting" not in states and "queued" in states:
        state = "queued"
    ended = state in ("finished", "failed")
    return replace(stage, state=state, seconds=spent or stage.seconds, note=stage.note if ended else in_a_line(sweep))


def _with_trials(hours: Hours, trials: SweepNow, workflow: dict[str, Any] | None, now: float) -> Hours:
    """With the hours of trials, of which each has one accelerator."""
    times = [time_of(trials, number) for number in range(len(trials.results))]
    return Hours(
        hours.useful + sum(time.useful for time in times) / _HOUR,
        hours.lost + sum(time.lost for time in times) / _HOUR,
        hours.waiting + waited(trials, workflow, now) / _HOUR,
    )


def _nodes(workflow: dict[str, Any] | None) -> dict[str, dict[str, Any]]:
    """Stage -> its node; of a stage that is tried again, the node of all tries."""
    found: dict[str, dict[str, Any]] = {}
    nodes = mapping(mapping(workflow).get("status")).get("nodes")
    for node in mapping(nodes).values():
        if isinstance(node, dict) and node.get("type") in ("Pod", "Retry", "Suspend", "Skipped"):
            found.setdefault(text(node.get("displayName")), node | _last_words(node, mapping(nodes)))
    return found


def _last_words(node: dict[str, Any], nodes: dict[str, Any]) -> dict[str, str]:
    """The message of a step's last try: the node of all tries says only that there is no other."""
    tries = node.get("children") or () if node.get("type") == "Retry" else ()
    return {"message": text(mapping(nodes.get(tries[-1])).get("message"))} if tries else {}


def _stage(
    name: str, node: dict[str, Any] | None, seconds: float | None, ended: str | None, queue: Queue | None
) -> StageStatus:
    if node is None:
        return StageStatus(name, ended or "waiting", seconds)
    state, note = _PHASES.get(text(node.get("phase")), "running"), text(node.get("message"))
    if name == APPROVAL:
        waits = state == "running"
        return StageStatus(name, "waiting" if waits else state, None, "a person must approve" if waits else note)
    if state == "running" and ended is None:
        state = "starting" if queue is None or queue.admitted else "queued"
        note = queue.note if queue is not None else note
    if state == "finished":
        note = ""
    return StageStatus(name, state, seconds, note)


def _run_state(workflow: dict[str, Any] | None, stages: tuple[StageStatus, ...], local_state: str) -> str:
    if workflow is None:
        if local_state:
            return local_state
        return (
            "failed"
            if any(stage.state == "failed" for stage in stages)
            else ("finished" if stages and all(stage.state == "finished" for stage in stages) else "unknown")
        )
    phase = text(mapping(workflow.get("status")).get("phase"))
    if phase in ("Failed", "Error") and mapping(workflow.get("spec")).get("shutdown"):
        return "stopped"
    state = _PHASES.get(phase, "running")
    return "waiting" if state == "running" and any(_approves(stage) for stage in stages) else state


def _approves(stage: StageStatus) -> bool:
    return stage.name == APPROVAL and stage.state == "waiting" and bool(stage.note)


def _note(workflow: dict[str, Any] | None, stages: tuple[StageStatus, ...]) -> str:
    message = text(mapping(mapping(workflow).get("status")).get("message"))
    current = next((f"{each.name}: {each.note}" for each in stages if each.note and each.state != "failed"), "")
    return current or message


def _problems(source: RunSource) -> tuple[dict[str, Any], ...]:
    """What the last failure said, when nothing went on after it."""
    for event in reversed(source.events):
        if event.kind in ("stage_started", "stage_finished", "run_finished"):
            return ()
        if event.kind == "stage_failed":
            found = event.fields.get("problems")
            return tuple(each for each in found if isinstance(each, dict)) if isinstance(found, list) else ()
    return ()


def _hours(source: RunSource, nodes: dict[str, dict[str, Any]], now: float) -> Hours:
    timeline = read_timeline(source)
    costs = read_costs(source, timeline)
    resources = mapping(source.spec.get("resources"))
    devices = (number(resources.get("count")) or 1.0) * (number(resources.get("nodes")) or 1.0)

    def held(kind: Kind) -> float:
        return sum(part.seconds for part in costs.parts if part.kind is kind and part.on_device)

    waiting = costs.seconds(Kind.STOPPED)
    for stage in ("evaluate",) if source.spec.get("sweep") else ("train", "evaluate"):
        began = seconds_of(mapping(nodes.get(stage)).get("startedAt"))
        if began is None:
            continue
        first = min(
            (span.start for span in timeline.spans if span.stage == stage and span.start >= began), default=None
        )
        until = seconds_of(mapping(nodes.get(stage)).get("finishedAt")) or now
        waiting += max(0.0, (until if first is None else first) - began)
    return Hours(*(seconds * devices / _HOUR for seconds in (held(Kind.USEFUL), held(Kind.LOST), waiting)))


def seconds_of(stamp: Any) -> float | None:
    """Seconds since the epoch of a time as Kubernetes writes it; None when it is none."""
    try:
        return datetime.fromisoformat(str(stamp)).timestamp() if stamp else None
    except ValueError:
        return None
