"""The work waits in Kueue's queue."""

from __future__ import annotations

import re

from workloads.explain.cause import Act, Found, cause, found
from workloads.explain.evidence import Evidence
from workloads.explain.objects import (
    Object,
    condition,
    condition_line,
    holds,
    name_of,
    part,
    rows,
    seconds,
    table,
    text,
)

_QUEUED_SECONDS = 60.0
"""Kueue makes a Workload within a second; a controller that starts needs longer."""
_SHOWN = 8


@cause(
    "queue-missing",
    "The team's queue, or the quota behind it, does not exist.",
    Act.OPERATIONS,
    "deploy the platform stack again (cdktf deploy platform-{environment}); the run then starts by itself",
)
def queue_missing(e: Evidence) -> Found | None:
    said = _pending(e)
    if "Queue" not in said or "doesn't exist" not in said:
        return None
    return found(f"{e.run} waits for a queue that is not there: {said}", condition_line(e.workload, "QuotaReserved"))


@cause(
    "queue-stopped",
    "Operations have stopped the queue: it admits nothing now.",
    Act.OPERATIONS,
    "ask why; it goes on with stopPolicy None on the queue that is named",
)
def queue_stopped(e: Evidence) -> Found | None:
    if not _waits(e):
        return None
    held = next((q for q in (e.local_queue, e.cluster_queue) if _stop(q) not in ("", "None")), None)
    said = _pending(e)
    if held is None and "is stopped" not in said:
        return None
    which = f"{held.get('kind', 'queue')} {name_of(held)}" if held else "queue"
    line = f"{which}: stopPolicy={_stop(held)}" if held else None
    return found(f"The {which} is stopped, so {e.run} is not admitted.", line, _line(e))


@cause(
    "queue-inactive",
    "The quota behind the queue cannot be used: something that it refers to is missing.",
    Act.OPERATIONS,
    "deploy the platform stack again (cdktf deploy platform-{environment}); the run then starts by itself",
)
def queue_inactive(e: Evidence) -> Found | None:
    if not _waits(e):
        return None
    off = next((q for q in (e.cluster_queue, e.local_queue) if condition(q, "Active").get("status") == "False"), None)
    if off is None and "is inactive" not in _pending(e):
        return None
    said = _pending(e) or text(condition(off, "Active").get("message"))
    line = condition_line(off, "Active") if off else None
    return found(f"The queue of {e.run} is inactive: {said}", line, _line(e))


@cause(
    "not-in-quota",
    "The pods ask for a kind of resource that the team's quota does not know.",
    Act.OPERATIONS,
    "add the resource to the quota, or to resources.excludeResourcePrefixes of Kueue (infra/values/kueue.py), and "
    "deploy; the run then starts by itself",
)
def not_in_quota(e: Evidence) -> Found | None:
    said = _pending(e)
    if "unavailable in ClusterQueue" not in said:
        return None
    resource = re.search(r"resource (\S+) unavailable in ClusterQueue", said)
    return found(f"The quota {_quota_name(e)} does not know {resource[1] if resource else 'a resource'}.", _line(e))


@cause(
    "too-large",
    "The run asks for more than the team can ever hold.",
    Act.DEVELOPER,
    "ask for fewer GPUs (resources.nodes, resources.count) and send the changed spec, or let operations raise "
    "teams.{team}.gpus; tunery cancel {run}",
)
def too_large(e: Evidence) -> Found | None:
    said = _pending(e)
    if "maximum capacity" not in said:
        return None
    return found(f"{e.run} asks for more than {_quota_name(e)} can ever give: {said}", _line(e), *_quotas(e))


@cause(
    "requeued-out",
    "Kueue has given up on the run: its pods were not ready in time, again and again.",
    Act.OPERATIONS,
    "see why no node came: kubectl -n {namespace} get events --field-selector reason=FailedScaleUp; then {again}",
)
def requeued_out(e: Evidence) -> Found | None:
    evicted = condition(e.workload, "Evicted")
    off = part(e.workload, "spec", "active") is False
    if not off and not text(evicted.get("reason")).startswith("Deactivated"):
        return None
    count = part(e.workload, "status", "requeueState", "count")
    times = f" after {count} tries" if isinstance(count, int) else ""
    return found(f"Kueue does not try {e.run} again{times}.", condition_line(e.workload, "Evicted"))


@cause(
    "not-ready-in-time",
    "The pods were not all ready in time, so the run gave its quota back and queues again.",
    Act.NOBODY,
    "it is tried again by itself; see what the pods waited for: tunery why {run} while they wait",
)
def not_ready_in_time(e: Evidence) -> Found | None:
    evicted = holds(e.workload, "Evicted")
    if not _waits(e) or evicted.get("reason") != "PodsReadyTimeout":
        return None
    again = part(e.workload, "status", "requeueState", "requeueAt")
    when = f"next try at {again}" if again else None
    return found(
        f"The pods of {e.run} were not ready in time; it queues again.", condition_line(e.workload, "Evicted"), when
    )


@cause(
    "preempted-in-queue",
    "Work of a higher priority, or a team that took its own GPUs back, has the run's GPUs now.",
    Act.NOBODY,
    "it goes on from its last checkpoint when GPUs are free; resources.priority decides who goes first",
)
def preempted_in_queue(e: Evidence) -> Found | None:
    by = holds(e.workload, "Preempted")
    if not _waits(e) or not by:
        return None
    return found(f"{e.run} had to give its GPUs away.", condition_line(e.workload, "Preempted"), _line(e), *_holders(e))


@cause(
    "behind-others",
    "Runs of a higher priority, or that came earlier, wait for the same GPUs.",
    Act.NOBODY,
    "it starts when they are done; to go first, run the spec with resources.priority: high",
)
def behind_others(e: Evidence) -> Found | None:
    said = _pending(e)
    if e.workload is None or not _waits(e) or (said and "insufficient unused quota" not in said):
        return None
    mine = _turn(e.workload)
    # Kueue looks at the head of the queue only. A run of which it says something was there, and only one of a higher
    # priority can have come before it since.
    known = 1 if said else len(mine)
    ahead = sorted((each for each in e.workloads if _queued(each) and _turn(each)[:known] < mine[:known]), key=_turn)
    if not ahead:
        return None
    names = ", ".join(_label(each) for each in ahead[:_SHOWN])
    what = f"{len(ahead)} of the team's runs go before {e.run}, which has priority {_priority(e.workload)}."
    return found(what, f"before it: {names}", _line(e), *_holders(e))


@cause(
    "quota-full",
    "The GPUs that the team may use are all in use.",
    Act.NOBODY,
    "it starts when GPUs are free; tunery list --on {environment} shows what runs, and tunery cancel stops one",
)
def quota_full(e: Evidence) -> Found | None:
    if "insufficient unused quota" not in _pending(e):
        return None
    holders = _holders(e)
    who = ", ".join(_label(each) for each in e.workloads if _admitted(each)) or "runs of other teams"
    return found(f"The quota {_quota_name(e)} is full: {who} hold it.", _line(e), *_quotas(e), *holders)


@cause(
    "queue-away",
    "The Job waits for Kueue, and Kueue has not taken it up.",
    Act.OPERATIONS,
    "kubectl -n kueue-system get pods; the run starts by itself when Kueue works",
)
def queue_away(e: Evidence) -> Found | None:
    if not e.going or e.job is None or e.workload is not None or part(e.job, "spec", "suspend") is not True:
        return None
    age = e.now - seconds(part(e.job, "metadata", "creationTimestamp"))
    if age < _QUEUED_SECONDS:
        return None
    line = f"{e.job.get('kind', 'Job')} {name_of(e.job)}: suspended for {age:.0f} s, and there is no Workload of it"
    return found(f"Kueue has not seen {name_of(e.job)} yet.", line)


@cause(
    "queued",
    "The run waits in the queue for another reason.",
    Act.NOBODY,
    "kubectl -n {namespace} describe workloads shows all that Kueue says",
)
def queued(e: Evidence) -> Found | None:
    if not _waits(e):
        return None
    return found(f"{e.run} waits in the queue: {_pending(e) or 'Kueue has not said why'}", _line(e))


def _waits(e: Evidence) -> bool:
    return (
        e.going and e.workload is not None and not holds(e.workload, "Admitted") and not holds(e.workload, "Finished")
    )


def _pending(e: Evidence) -> str:
    """Why Kueue has not reserved quota; empty when it has, or does not say."""
    if not _waits(e):
        return ""
    reserved = condition(e.workload, "QuotaReserved")
    return text(reserved.get("message")) if reserved.get("status") == "False" else ""


def _line(e: Evidence) -> str | None:
    return condition_line(e.workload, "QuotaReserved") if condition(e.workload, "QuotaReserved") else None


def _stop(queue: Object | None) -> str:
    return text(part(queue, "spec", "stopPolicy"))


def _quota_name(e: Evidence) -> str:
    return name_of(e.cluster_queue) or text(part(e.local_queue, "spec", "clusterQueue")) or f"of {e.team}"


def _quotas(e: Evidence) -> list[str]:
    """What of the quota is reserved, by flavor and resource."""
    lines = []
    for flavor in rows(part(e.cluster_queue, "status", "flavorsReservation")):
        for amount in rows(flavor.get("resources")):
            if str(amount.get("total", "0")) not in ("0", ""):
                used = f"{amount.get('total')} of {amount.get('name')}"
                lines.append(f"quota {_quota_name(e)}: {used} reserved in {flavor.get('name')}")
    return lines[:_SHOWN]


def _holders(e: Evidence) -> list[str]:
    """Who holds the team's quota."""
    return [f"holds quota: {_label(each)}" for each in e.workloads if _admitted(each)][:_SHOWN]


def _label(workload: Object) -> str:
    owners = rows(part(workload, "metadata", "ownerReferences"))
    labels = table(part(workload, "metadata", "labels"))
    name = text(owners[0].get("name")) if owners else name_of(workload)
    run = next((text(value) for key, value in labels.items() if key.endswith("/run")), "")
    return run or name


def _admitted(workload: Object) -> bool:
    return bool(holds(workload, "QuotaReserved")) and not holds(workload, "Finished")


def _queued(workload: Object) -> bool:
    return not holds(workload, "QuotaReserved") and not holds(workload, "Finished")


def _turn(workload: Object) -> tuple[int, str]:
    """What orders a queue: priority, then age. Kubernetes' timestamps sort as texts."""
    return -_priority(workload), text(part(workload, "metadata", "creationTimestamp"))


def _priority(workload: Object | None) -> int:
    value = part(workload, "spec", "priority")
    return value if isinstance(value, int) else 0
