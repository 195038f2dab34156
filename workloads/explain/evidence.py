"""Everything that is known about one run at one time, as the sources have it, and the questions that causes ask of it.

Kubernetes objects are dicts as the API server writes them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

from workloads.explain.objects import (
    Object,
    condition,
    event_time,
    exit_code,
    main_status,
    name_of,
    owner,
    part,
    seconds,
    table,
    text,
    told,
)
from workloads.render.sweep import CHOOSE, TRIAL

_RANK = "batch.kubernetes.io/job-completion-index"
"""The number of a pod in its Job; pods that replace one another have the same."""

ENDED_WELL = "Succeeded"
ENDED_BADLY = ("Failed", "Error")


@dataclass(frozen=True)
class Evidence:
    """One run.

    Attributes:
        now: when all of it was read, in seconds since the epoch.
        workflow: Argo's Workflow; None when the cluster has none, or the run is on this machine.
        job: the Job or JobSet of the stage at hand, and ``jobs`` the Jobs of a JobSet.
        workload: Kueue's Workload of that Job or JobSet; ``workloads`` are all of the team.
        pods: of the run, without those in which Argo waits for a Job; the newest is the last.
        events: Kubernetes events about any of these objects.
        nodes: those that the run's pods are on.
        history: the last lines of the run's events.jsonl.
        log: the last lines that the worker printed.
        advice: what the memory estimate says, and changes that need less; read only after memory ran out.
        hidden: what could not be read, and why.
        local_state: of a run on this machine, what the local engine says of it.
        sweep: of a run with a sweep, where it stands and which trial all of this is about, in a line.
    """

    run: str
    environment: str
    now: float
    team: str = ""
    namespace: str = ""
    workflow: Object | None = None
    job: Object | None = None
    jobs: tuple[Object, ...] = ()
    workload: Object | None = None
    workloads: tuple[Object, ...] = ()
    local_queue: Object | None = None
    cluster_queue: Object | None = None
    pods: tuple[Object, ...] = ()
    events: tuple[Object, ...] = ()
    nodes: tuple[Object, ...] = ()
    history: tuple[Object, ...] = ()
    progress: Object = field(default_factory=dict)
    log: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()
    local_state: str = ""
    stage_label: str = "tunery.dev/stage"
    sweep: str = ""

    @cached_property
    def phase(self) -> str:
        """The Workflow's phase; empty when Argo has not taken it up, or there is none."""
        return text(part(self.workflow, "status", "phase"))

    @cached_property
    def going(self) -> bool:
        """Whether the run has not ended."""
        if self.local_state:
            return self.local_state == "running"
        return self.workflow is not None and self.phase not in (ENDED_WELL, *ENDED_BADLY)

    @cached_property
    def failed(self) -> bool:
        """Whether the run has ended badly."""
        return self.local_state == "failed" or self.phase in ENDED_BADLY

    @cached_property
    def step(self) -> Object:
        """The Workflow's node of the stage at hand: the one that failed, or else the one that is under way."""
        nodes = part(self.workflow, "status", "nodes")
        found = [each for each in table(nodes).values() if table(each).get("type") in ("Pod", "Retry", "Suspend")]
        for phases in (ENDED_BADLY, ("Running", "Pending", "")):
            fitting = [each for each in found if text(each.get("phase")) in phases]
            # Of a stage that is tried again, the node of all tries says where it stands.
            if fitting:
                return max(fitting, key=lambda each: (each["type"] != "Pod", seconds(each.get("startedAt"))))
        return {}

    @cached_property
    def stage(self) -> str:
        """The stage at hand; empty when none is."""
        if self.step.get("templateName") in (TRIAL, CHOOSE):  # which take the place of the training
            return "train"
        named = text(self.step.get("displayName")).partition("(")[0]
        if named:
            return named
        return next((text(each.get("stage")) for each in reversed(self.history) if each.get("stage")), "")

    @cached_property
    def stage_pods(self) -> tuple[Object, ...]:
        """The pods of the stage at hand."""
        found = tuple(pod for pod in self.pods if self.stage_of(pod) in ("", self.stage))
        return found if self.workflow is not None else ()

    @cached_property
    def newest_pods(self) -> tuple[Object, ...]:
        """Of the pods of the stage, those of its newest try: one, or all of a gang."""
        if not self.stage_pods:
            return ()
        job = owner(self.stage_pods[-1])
        by_rank = {text(part(pod, "metadata", "labels", _RANK)): pod for pod in self.stage_pods if owner(pod) == job}
        return tuple(by_rank.values())

    def stage_of(self, pod: Object) -> str:
        """The stage that a pod works on."""
        return text(part(pod, "metadata", "labels", self.stage_label))

    @cached_property
    def failure(self) -> Object | None:
        """What a stage said when it failed, if nothing has gone on since."""
        for event in reversed(self.history):
            if event.get("event") in ("stage_started", "stage_finished", "stage_skipped", "run_finished"):
                return None
            if event.get("event") == "stage_failed":
                return event
        return None

    @cached_property
    def problems(self) -> tuple[Object, ...]:
        """The problems of that failure."""
        found = table(self.failure).get("problems")
        return tuple(each for each in found if isinstance(each, dict)) if isinstance(found, list) else ()

    @cached_property
    def exit_code(self) -> int | None:
        """The exit code of the failure, as the stage said it or as Kubernetes saw it."""
        said = table(self.failure).get("exit_code")
        if isinstance(said, int):
            return said
        return next((code for pod in reversed(self.newest_pods) if (code := exit_code(pod)) is not None), None)

    def problem(self, pattern: str) -> str | None:
        """The first problem, with where and how to fix it, whose message matches a regular expression."""
        for each in self.problems:
            if re.search(pattern, text(each.get("message")), re.IGNORECASE):
                return told(each)
        return None

    def logged(self, pattern: str) -> str | None:
        """The last line of the log that matches a regular expression."""
        return next((line.strip()[:500] for line in reversed(self.log) if re.search(pattern, line)), None)

    def happened(self, *reasons: str) -> list[Object]:
        """The Kubernetes events of these reasons about the stage's newest pods and what owns them, newest last."""
        newest = {name_of(pod) for pod in self.newest_pods}
        found = [each for each in self.events if each.get("reason") in reasons and _concerns(each, newest)]
        return sorted(found, key=event_time)

    def refusals(self) -> Iterator[str]:
        """What the API server answered to those who make the run's objects."""
        yield text(self.step.get("message"))
        tries = self.step.get("children") or () if self.step.get("type") == "Retry" else ()
        for name in reversed(tries):  # the node of all of them says only that there is no other
            yield text(part(self.workflow, "status", "nodes", name, "message"))
        yield text(part(self.workflow, "status", "message"))
        if not self.newest_pods or self.failed:
            for event in reversed(self.happened("FailedCreate", "JobCreationFailed", "WorkflowFailed")):
                yield text(event.get("message"))

    def refused(self, pattern: str) -> str | None:
        """The first of these answers that matches a regular expression."""
        return next((said[:500] for said in self.refusals() if re.search(pattern, said)), None)

    @cached_property
    def pending(self) -> tuple[Object, ...]:
        """The newest pods that no node has been found for."""
        return tuple(
            pod
            for pod in self.newest_pods
            if part(pod, "status", "phase") == "Pending" and condition(pod, "PodScheduled").get("status") == "False"
        )

    @cached_property
    def running(self) -> tuple[Object, ...]:
        """The newest pods whose process works."""
        return tuple(pod for pod in self.newest_pods if "running" in table(main_status(pod).get("state")))

    @cached_property
    def waiting(self) -> tuple[tuple[str, str, str], ...]:
        """Pod, reason and message of the newest pods whose container waits on its node."""
        found = []
        for pod in self.newest_pods:
            state = table(table(main_status(pod).get("state")).get("waiting"))
            if state and pod not in self.pending:
                found.append((name_of(pod), text(state.get("reason")), text(state.get("message"))))
        return tuple(found)


def _concerns(event: Object, pods: set[str]) -> bool:
    about = table(event.get("involvedObject"))
    return about.get("kind") != "Pod" or text(about.get("name")) in pods
