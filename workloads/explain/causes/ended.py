"""The run has ended as it should, or because somebody wanted it to."""

from __future__ import annotations

from workloads.explain.cause import Act, Found, cause, found
from workloads.explain.evidence import ENDED_WELL, Evidence
from workloads.explain.objects import part, text


@cause("finished", "The run has done all that its spec asks for.", Act.NOBODY, "tunery status {run}")
def finished(e: Evidence) -> Found | None:
    last = e.history[-1].get("event") if e.history and e.workflow is None else None
    if e.phase != ENDED_WELL and e.local_state != "finished" and last != "run_finished":
        return None
    published = next((each for each in reversed(e.history) if each.get("event") == "published"), {})
    reference = text(published.get("reference"))
    said = f" and its model is published as {reference}" if reference else ""
    return found(f"The run {e.run} has finished{said}.", _ended(e), reference and f"published: {reference}")


@cause(
    "cancelled",
    "A person stopped the run; what it saved is kept.",
    Act.DEVELOPER,
    "to go on from the last checkpoint: {again}",
)
def cancelled(e: Evidence) -> Found | None:
    shutdown = text(part(e.workflow, "spec", "shutdown"))
    if not shutdown:
        return None
    saved = next((each for each in reversed(e.history) if each.get("event") == "preempted"), None)
    kept = f"the checkpoint of step {saved.get('step')} is kept" if saved else None
    state = "was stopped" if not e.going else "is being stopped"
    return found(f"The run {e.run} {state} by a person.", f"workflow {e.run}: shutdown={shutdown}", _ended(e), kept)


@cause(
    "stopped",
    "The run's process on this machine was stopped or killed; what it saved is kept.",
    Act.DEVELOPER,
    "to go on from the last checkpoint: {again}",
)
def stopped(e: Evidence) -> Found | None:
    if e.local_state not in ("stopped", "created"):
        return None
    last = e.history[-1] if e.history else {}
    if last.get("event") == "preempted":
        return found(
            f"The run {e.run} was told to stop and saved step {last.get('step')} first.",
            f"last event: preempted at step {last.get('step')} of {last.get('max_steps')}",
        )
    if not last:
        return found(f"No stage of {e.run} has started.", "its event log is empty")
    return found(
        f"The process of {e.run} is gone without a word; the system does that when memory runs out.",
        f"last event: {last.get('event')} of stage {e.stage}",
    )


def _ended(e: Evidence) -> str | None:
    if e.workflow is None:
        return None
    said = text(part(e.workflow, "status", "message"))
    at = text(part(e.workflow, "status", "finishedAt"))
    return f"workflow {e.run}: {e.phase or 'no phase'}" + (f" at {at}" if at else "") + (f": {said}" if said else "")
