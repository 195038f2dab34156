"""The run is under way, or nothing says otherwise."""

from __future__ import annotations

from itertools import pairwise
from statistics import median

from workloads.explain.cause import Act, Found, cause, found
from workloads.explain.evidence import Evidence
from workloads.explain.objects import holds, main_status, name_of, part, seconds, text
from workloads.render.workflow import APPROVAL

_TAKEN_UP_SECONDS = 60.0
"""Argo takes a workflow up within a second; a controller that starts needs longer."""
_SLOW = 20.0
"""So many times the usual time between two steps that are logged, and a training stands still."""
_LEAST_STILL = 600.0
"""Seconds; a checkpoint or an evaluation between two steps takes minutes."""


@cause(
    "approval",
    "The spec asks for a person's word before the model is served.",
    Act.DEVELOPER,
    "look at tunery report {run}, then: tunery approve {run}",
)
def approval(e: Evidence) -> Found | None:
    if not e.going or e.step.get("type") != "Suspend" or e.stage != APPROVAL:
        return None
    since = text(e.step.get("startedAt"))
    return found(
        f"{e.run} waits for a person to approve that it is served.", f"workflow: {APPROVAL} waits since {since}"
    )


@cause(
    "controller-away",
    "Argo has not taken the workflow up: its controller is down or does not watch the namespace.",
    Act.OPERATIONS,
    "kubectl get pods -A -l app.kubernetes.io/name=argo-workflows-workflow-controller; the run starts by itself",
)
def controller_away(e: Evidence) -> Found | None:
    if e.workflow is None or e.phase:
        return None
    age = e.now - seconds(part(e.workflow, "metadata", "creationTimestamp"))
    if age < _TAKEN_UP_SECONDS:
        return None
    return found(f"Argo has not looked at {e.run} for {age:.0f} s.", f"workflow {e.run}: it has no status")


@cause(
    "stalled",
    "The training has not done a step for many times as long as one takes.",
    Act.DEVELOPER,
    "read the log: tunery logs {run} --stage train; tunery cancel {run} saves what it can, and {again} goes on",
)
def stalled(e: Evidence) -> Found | None:
    logs = [float(each["time"]) for each in e.history if each.get("event") == "log" and _is_time(each.get("time"))]
    working = bool(e.running) or e.local_state == "running"
    last = e.history[-1].get("event") if e.history else ""
    if not working or len(logs) < 3 or last not in ("log", "checkpoint_saved", "checkpoint_stored"):
        return None
    usual = median(after - before for before, after in pairwise(logs))
    still = e.now - float(e.history[-1].get("time", e.now))
    if still < max(_LEAST_STILL, _SLOW * usual):
        return None
    return found(
        f"The training of {e.run} has said nothing for {still / 60:.0f} minutes.",
        f"usual between two logs: {usual:.1f} s",
        _progress(e),
        f"last line of the log: {e.log[-1]}" if e.log else None,
    )


@cause(
    "bringing-inputs",
    "The pod reads what its stage needs (base model, data, checkpoint) from the store.",
    Act.NOBODY,
    "it starts by itself; a model of 15 GB takes about a minute",
)
def bringing_inputs(e: Evidence) -> Found | None:
    if not e.running or e.stage in ("", "fetch"):
        return None
    began = max(seconds(part(main_status(pod), "state", "running", "startedAt")) for pod in e.running)
    news = [each for each in e.history if _is_time(each.get("time")) and float(each["time"]) >= began]
    if any(each.get("stage") == e.stage for each in news) or any(each.get("event") == "train_started" for each in news):
        return None
    names = ", ".join(name_of(pod) for pod in e.running)
    return found(
        f"{names} brings the inputs of {e.stage}, for {e.now - began:.0f} s.", f"stage {e.stage}: no inputs_ready"
    )


@cause("running", "It works.", Act.NOBODY, "tunery status {run}")
def running(e: Evidence) -> Found | None:
    if not e.running and e.local_state != "running":
        return None
    pods = ", ".join(f"{name_of(pod)} on {text(part(pod, 'spec', 'nodeName')) or 'a node'}" for pod in e.running)
    taken = sum(1 for pod in e.stage_pods if holds(pod, "DisruptionTarget"))
    restarts = part(e.job, "status", "restarts")
    again = f"started again {restarts or taken} times after a node was taken" if restarts or taken else None
    return found(f"The stage {e.stage} of {e.run} works.", pods and f"running: {pods}", _progress(e), again)


@cause(
    "between-stages",
    "One stage has ended or is being set up, and the next has no pod yet.",
    Act.NOBODY,
    "tunery status {run} --follow",
)
def between_stages(e: Evidence) -> Found | None:
    if not e.going:
        return None
    said = text(e.step.get("message"))
    line = f"workflow {e.run}: {e.phase or 'not taken up yet'}" + (f", {e.stage}: {said}" if said else "")
    return found(f"{e.run} goes on to {e.stage or 'its first stage'}.", line)


@cause(
    "unknown",
    "None of the known causes fits what could be read.",
    Act.OPERATIONS,
    "tunery status {run} and tunery logs {run} show more; add what you find to workloads/explain",
)
def unknown(e: Evidence) -> Found | None:
    said = text(part(e.workflow, "status", "message"))
    node = text(e.step.get("message"))
    state = e.phase or e.local_state or "not on the cluster any more"
    lines = [f"workflow {e.run}: {state}" + (f": {said}" if said else ""), f"{e.stage}: {node}" if node else None]
    last = e.history[-1] if e.history else {}
    lines += [f"last event: {last.get('event')}" if last else None, *e.log[-3:]]
    return found(f"{e.run} is {state}, and nothing says why.", *lines)


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _progress(e: Evidence) -> str | None:
    step, most = e.progress.get("step"), e.progress.get("max_steps")
    if step is None:
        return None
    loss = e.progress.get("loss")
    return f"training: step {step} of {most}" + (f", loss {loss}" if loss is not None else "")
