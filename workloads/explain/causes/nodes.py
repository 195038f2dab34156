"""The pods wait for a node, or have lost theirs.

Messages of the scheduler, of the cluster autoscaler (kubernetes/autoscaler, GKE's words for failures of Compute Engine
included) and of the controllers that mark pods with DisruptionTarget.
"""

from __future__ import annotations

import re

from workloads.explain.cause import Act, Found, cause, found
from workloads.explain.evidence import Evidence
from workloads.explain.objects import Object, condition, event_time, happened_line, holds, name_of, part, text

_BY = {
    "TerminationByKubelet": "its node shuts down",
    "DeletionByPodGC": "its node is gone",
    "DeletionByTaintManager": "its node was tainted",
    "EvictionByEvictionAPI": "its node was drained",
    "PreemptionByScheduler": "a pod of a higher priority took its place",
}


@cause(
    "gce-quota",
    "The Google Cloud project has no quota for another such node.",
    Act.OPERATIONS,
    "ask for more quota of the GPU and of CPUs in the region (IAM and admin, Quotas); the autoscaler tries again by "
    "itself",
)
def gce_quota(e: Evidence) -> Found | None:
    return _failed_scale_up(e, r"quota exceeded|QUOTA_EXCEEDED", "The project's quota is used up")


@cause(
    "stockout",
    "Google Cloud has no such machine free in these zones now.",
    Act.NOBODY,
    "it is tried again, in other zones and ways of buying too; more zones or pools are operations' "
    "(configs/environments/{environment}.yaml)",
)
def stockout(e: Evidence) -> Found | None:
    pattern = r"out of resources|STOCKOUT|RESOURCE_POOL_EXHAUSTED|does not have enough resources"
    return _failed_scale_up(e, pattern, "Google Cloud has no such machine free")


@cause(
    "no-addresses",
    "The cluster's network has no addresses left for another node.",
    Act.OPERATIONS,
    "make the pod or node address range of {environment} larger (network in configs/environments/{environment}.yaml)",
)
def no_addresses(e: Evidence) -> Found | None:
    return _failed_scale_up(e, r"IP space exhausted|IP_SPACE_EXHAUSTED", "There are no addresses left for a node")


@cause(
    "pool-full",
    "The pool has as many nodes as it may have.",
    Act.OPERATIONS,
    "raise max of the pool in configs/environments/{environment}.yaml and deploy, or wait until a node is free",
)
def pool_full(e: Evidence) -> Found | None:
    event = _scaling(e)
    said = text(event.get("message"))
    if not e.pending or "max node group size reached" not in said:
        return None
    return found(f"{_pods(e)} for a node, and the pool may not grow.", happened_line(event), _scheduler(e))


@cause(
    "scale-up-failed",
    "The autoscaler could not add a node, for another reason.",
    Act.OPERATIONS,
    "look for it in the autoscaler's log of the cluster (Logs Explorer, container.googleapis.com/cluster-autoscaler)",
)
def scale_up_failed(e: Evidence) -> Found | None:
    return _failed_scale_up(e, "", "The autoscaler could not add a node")


@cause(
    "node-coming",
    "A node is being added for the pod.",
    Act.NOBODY,
    "it starts when the node is ready, in some minutes",
)
def node_coming(e: Evidence) -> Found | None:
    event = _scaling(e)
    if not e.pending or event.get("reason") != "TriggeredScaleUp":
        return None
    group = re.search(r"instanceGroups/([\w-]+) (\d+)->(\d+)", text(event.get("message")))
    more = f" ({group[1]}, {group[2]} to {group[3]})" if group else ""
    return found(f"{_pods(e)} for a node, which is being added{more}.", happened_line(event))


@cause(
    "no-such-node",
    "No pool has the labels that the pod asks for.",
    Act.OPERATIONS,
    "tunery env show {environment} lists its pools; deploy the environment, or name a pool that it has "
    "(resources.pool)",
)
def no_such_node(e: Evidence) -> Found | None:
    return _unfit(e, r"didn't match Pod's node affinity/selector", "no node has the labels that it asks for")


@cause(
    "taint",
    "Every node has a taint that the pod does not tolerate.",
    Act.OPERATIONS,
    "kubectl get nodes -o custom-columns=NAME:.metadata.name,TAINTS:.spec.taints; tunery's pods tolerate the taints "
    "of the platform contract, so the contract and the cluster differ: deploy the environment",
)
def taint(e: Evidence) -> Found | None:
    return _unfit(e, r"untolerated taint", "it does not tolerate the taints of the nodes")


@cause(
    "nodes-full",
    "Nodes that would fit have not enough free, and no autoscaler has said that it adds one.",
    Act.OPERATIONS,
    "wait until something ends, or add a node; tunery list --on {environment} shows what runs",
)
def nodes_full(e: Evidence) -> Found | None:
    return _unfit(e, r"Insufficient |Too many pods", "the nodes have not enough free")


@cause(
    "node-away",
    "The pod's node does not answer; until it is gone or back, its pod counts as running.",
    Act.NOBODY,
    "it goes on when Kubernetes has removed the node, in some minutes; to hurry: kubectl delete node NODE",
)
def node_away(e: Evidence) -> Found | None:
    if not e.going:
        return None
    for pod in e.newest_pods:
        node = text(part(pod, "spec", "nodeName"))
        known = next((each for each in e.nodes if name_of(each) == node), None)
        ready = condition(known, "Ready")
        lost = known is not None and ready.get("status") in ("Unknown", "False")
        events = [each for each in e.happened("NodeNotReady") if part(each, "involvedObject", "name") == name_of(pod)]
        if (
            (lost or events)
            and condition(pod, "Ready").get("status") != "True"
            and part(pod, "status", "phase") == "Running"
        ):
            line = f"node {node}: Ready={ready.get('status')}: {ready.get('message')}" if lost else None
            return found(
                f"The node {node} of pod {name_of(pod)} does not answer.", line, *map(happened_line, events[-1:])
            )
    return None


@cause(
    "node-taken",
    "The pod's node was taken away (preempted, drained or replaced); the work starts again on another.",
    Act.NOBODY,
    "it goes on from its last checkpoint by itself; resources.capacity: on-demand is never preempted",
)
def node_taken(e: Evidence) -> Found | None:
    if not e.going or e.running:
        return None
    taken = [pod for pod in e.stage_pods if holds(pod, "DisruptionTarget")]
    if not taken:
        return None
    pod = taken[-1]
    why = holds(pod, "DisruptionTarget")
    reason = _BY.get(text(why.get("reason")), "its node is needed")
    saved = next((each for each in reversed(e.history) if each.get("event") in ("preempted", "checkpoint_stored")), {})
    return found(
        f"Pod {name_of(pod)} was ended because {reason}; {e.stage} starts again.",
        f"pod {name_of(pod)}: DisruptionTarget ({why.get('reason')}): {why.get('message')}",
        f"last checkpoint: step {saved['step']}" if saved.get("step") is not None else None,
    )


def _scaling(e: Evidence) -> Object:
    """What the autoscaler said last about the pods that wait."""
    events = e.happened("TriggeredScaleUp", "FailedScaleUp", "NotTriggerScaleUp")
    return events[-1] if events else {}


def _failed_scale_up(e: Evidence, pattern: str, what: str) -> Found | None:
    """The last failure to add a node, unless another try has begun since."""
    failed = [each for each in e.happened("FailedScaleUp") if re.search(pattern, text(each.get("message")))]
    begun = e.happened("TriggeredScaleUp")
    if not e.pending or not failed or (begun and event_time(begun[-1]) > event_time(failed[-1])):
        return None
    zones = re.search(r"in zones? ([\w, -]+?) associated", text(failed[-1].get("message")))
    where = f" in {zones[1]}" if zones else ""
    return found(f"{what}{where}; {_pods(e).lower()}.", happened_line(failed[-1]), _scheduler(e))


def _unfit(e: Evidence, pattern: str, what: str) -> Found | None:
    if not e.pending:
        return None
    said = _scheduling(e.pending[-1])
    autoscaler = _scaling(e)
    if not re.search(pattern, said):
        return None
    line = happened_line(autoscaler) if autoscaler else None
    return found(f"{_pods(e)} for a node: {what}.", _scheduler(e), line)


def _scheduling(pod: Object) -> str:
    """Why the scheduler found no node, without what it says about preemption."""
    return text(condition(pod, "PodScheduled").get("message")).partition("preemption:")[0].strip()


def _scheduler(e: Evidence) -> str | None:
    if not e.pending:
        return None
    pod = e.pending[-1]
    return f"pod {name_of(pod)}: Unschedulable: {_scheduling(pod)}"


def _pods(e: Evidence) -> str:
    names = [name_of(pod) for pod in e.pending]
    return f"Pod {names[0]} waits" if len(names) == 1 else f"{len(names)} pods of {e.stage} wait"
