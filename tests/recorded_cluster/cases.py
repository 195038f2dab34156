"""For every cause the evidence of a run that it explains."""

from __future__ import annotations

from typing import Any

from recorded_cluster.builders import (
    IMAGE,
    NAMESPACE,
    NOW,
    RUN,
    Object,
    ago,
    condition,
    ended,
    event,
    failure,
    holder,
    job,
    node,
    not_reserved,
    pending,
    pod,
    queue,
    running,
    told,
    waiting,
    workflow,
    workload,
)
from workloads.explain.evidence import Evidence


def seen(**more: Any) -> Evidence:
    """A run whose training is under way, but for what is named."""
    values: dict[str, Any] = {
        "run": RUN,
        "environment": "prod",
        "now": NOW,
        "team": "research",
        "namespace": NAMESPACE,
        "workflow": workflow("Running", node("fetch", "Succeeded"), node("train", "Running")),
    }
    return Evidence(**(values | more))


def failed(history: tuple[Object, ...] = (), *, stage: str = "train", message: str = "", **more: Any) -> Evidence:
    """A run that failed in a stage."""
    flow = workflow("Failed", node(stage, "Failed", "Retry", message))
    return seen(**({"workflow": flow, "history": history} | more))


def refused(message: str) -> Evidence:
    """A run whose training could not be made, in Argo's words."""
    tries = node("train", "Failed", "Retry", "retryStrategy.expression evaluated to false")
    one = node("train(0)", "Failed", message=message)
    return seen(workflow=workflow("Failed", tries | {"children": [one["id"]]}, one))


def queued(*conditions: Object, others: tuple[Object, ...] = (), **more: Any) -> Evidence:
    """A run in the queue."""
    mine = workload(*conditions, **{key: more.pop(key) for key in ("spec", "requeueState") if key in more})
    return seen(job=job(suspend=True), workload=mine, workloads=(mine, *others), cluster_queue=queue(), **more)


def unplaced(
    *events: Object, said: str = "0/4 nodes are available: 4 Insufficient nvidia.com/gpu.", **more: Any
) -> Evidence:
    """A run whose pod waits for a node."""
    tail = " preemption: 0/4 nodes are available: 4 No preemption victims found for incoming pod."
    return seen(job=job(), pods=(pending(said + tail),), events=events, **more)


def unmade(reason: str, message: str, *events: Object) -> Evidence:
    """A run whose pod has a node and no container."""
    return seen(job=job(), pods=(waiting(reason, message),), events=events)


def steps(count: int, every: float, since: float, **last: Any) -> tuple[Object, ...]:
    """A training that logged steps, the last of them ``since`` seconds ago."""
    start = since + every * count
    begun = (told("stage_started", start + 9, stage="train"), told("inputs_ready", start + 5, stage="train"))
    logs = [told("log", since + every * (count - n), step=n, max_steps=500, loss=2.0 - n / 100) for n in range(count)]
    logs.append(told("log", since, step=count, max_steps=500, **({"loss": 1.1} | last)))
    return (*begun, told("train_started", start + 1, step=0, max_steps=500), *logs)


_UNUSED = (
    "couldn't assign flavors to pod set main: insufficient unused quota for nvidia.com/gpu in flavor l4x1, "
    "1 more needed"
)
_SCALE = (
    "Node scale up in zones europe-west4-a, europe-west4-b associated with this pod failed: {}. "
    "Pod is at risk of not being scheduled."
)
_GROUP = (
    "https://www.googleapis.com/compute/v1/projects/example/zones/europe-west4-a/instanceGroups/"
    "gke-tunery-l4x1-7c2d-grp 0->1 (max: 3)"
)
_CSI = (
    'MountVolume.SetUp failed for volume "secrets" : rpc error: code = Unknown desc = failed to mount secrets store '
    f"objects for pod {NAMESPACE}/{RUN}-t-8xk2p, err: rpc error: code = Internal desc = rpc error: code = {{}}"
)
_TAKEN = condition(
    "DisruptionTarget", "True", "TerminationByKubelet", "Pod was terminated in response to imminent node shutdown."
)
_PULL = 'failed to pull and unpack image "{0}": failed to resolve reference "{0}": {1}'
_LOST_NODE: Object = {
    "metadata": {"name": "gke-tunery-l4x1-7c2d-x1y2"},
    "status": {
        "conditions": [condition("Ready", "Unknown", "NodeStatusUnknown", "Kubelet stopped posting node status.")]
    },
}

CASES: dict[str, Evidence] = {
    "finished": seen(
        workflow=workflow("Succeeded", node("train", "Succeeded")),
        history=(told("published", 60, reference="support/llama3@v3"), told("run_finished", 59)),
    ),
    "cancelled": seen(
        workflow=workflow(
            "Failed", node("train", "Failed"), message="Stopped with strategy 'Terminate'", shutdown="Terminate"
        ),
        history=(told("preempted", 40, step=120, max_steps=500),),
    ),
    "gate-failed": failed(
        failure(64, "rougeL is 0.31 and must be at least 0.4.", "evaluate", code="gate"), stage="evaluate"
    ),
    "gpu-memory": failed(
        failure(64, "The accelerator's memory was too small in train."),
        advice=("estimate: 27.4 GB on each accelerator", "change: quantization_bit=4 saves 11.2 GB"),
    ),
    "no-loss": seen(pods=(running(),), history=steps(40, 2.0, 5, loss=None)),
    "rank-absent": failed(failure(69, "Of 2 nodes, node 1 did not arrive within 300 s; there are 0 (llama3-w-0-0).")),
    "peer-lost": failed(
        failure(69, "Another process of the training is gone: Connection closed by peer [10.8.0.5]:29500")
    ),
    "no-name": failed(
        failure(69, "https://artifactory.example.com: [Errno -3] Temporary failure in name resolution", "fetch"),
        stage="fetch",
    ),
    "hub-token": failed(
        failure(69, "https://artifactory.example.com answers 401 Unauthorized.", "fetch"), stage="fetch"
    ),
    "blocked": failed(
        failure(69, "https://artifactory.example.com cannot be reached: Connection timed out", "fetch"), stage="fetch"
    ),
    "disk-full": failed(failure(69, "The disk became full during train.")),
    "store-refused": failed(failure(64, "Cloud Storage refuses access: 403 storage.objects.create", "prepare")),
    "store-away": failed(failure(69, "Cloud Storage does not answer as it should: 503 backend error", "prepare")),
    "damaged": failed(failure(70, "The base model is not the one of its name.", code="damaged")),
    "hub-away": failed(failure(69, "The hub answers 503 Service Unavailable.", "fetch"), stage="fetch"),
    "wrong-config": failed(failure(64, "lora_rank is 'abc' and must be a whole number.", key="lora_rank")),
    "service-away": failed(failure(69, "There is no answer from the metrics server.")),
    "host-memory": failed(job=job(), pods=(ended(137, "OOMKilled"),)),
    "evicted-disk": seen(
        pods=(
            ended(
                137,
                "Error",
                name=f"{RUN}-t-aaaaa",
                created=900,
                reason="Evicted",
                message="Pod ephemeral local storage usage exceeds the total limit of containers 110Gi. ",
            ),
            running(),
        ),
    ),
    "shared-memory": failed(
        pods=(
            ended(137, "Error", reason="Evicted", message='Usage of EmptyDir volume "shm" exceeds the limit "8Gi". '),
        )
    ),
    "evicted": failed(
        pods=(
            ended(
                137,
                "Error",
                reason="Evicted",
                message="The node was low on resource: memory. Threshold quantity: 100Mi, available: 60Mi. ",
            ),
        )
    ),
    "deadline": failed(
        job=job(condition("Failed", "True", "DeadlineExceeded", "Job was active longer than specified deadline")),
        progress={"step": 410, "max_steps": 500},
    ),
    "webhook-away": refused(
        'Error from server (InternalError): Internal error occurred: failed calling webhook "mjobset.kb.io": failed to '
        'call webhook: Post "https://jobset-webhook-service.jobset-system.svc:443/mutate-jobset-x-k8s-io-v1alpha2-'
        'jobset?timeout=10s": no endpoints available for service "jobset-webhook-service"'
    ),
    "kind-missing": refused(
        'error: resource mapping not found for name: "x-t" namespace: "team-research" from "manifest.yaml": no matches '
        'for kind "JobSet" in version "jobset.x-k8s.io/v1alpha2"'
    ),
    "pod-security": seen(
        job=job(),
        events=(
            event(
                "FailedCreate",
                f'Error creating: pods "{RUN}-t-4x7tq" is forbidden: violates PodSecurity "restricted:latest": '
                'allowPrivilegeEscalation != false (container "istio-init" must set '
                "securityContext.allowPrivilegeEscalation=false)",
                about=f"{RUN}-t",
                kind="Job",
            ),
        ),
    ),
    "policy": refused(
        "jobs.batch is forbidden: ValidatingAdmissionPolicy 'tunery-queue' with binding 'tunery-queue' denied request: "
        "a Job needs a queue"
    ),
    "account-missing": seen(
        job=job(),
        events=(
            event(
                "FailedCreate",
                f'Error creating: pods "{RUN}-t-4x7tq" is forbidden: error looking up service account '
                'team-research/trainer: serviceaccount "trainer" not found',
                about=f"{RUN}-t",
                kind="Job",
            ),
        ),
    ),
    "quota-object": seen(
        workflow=workflow(
            "Running",
            node(
                "prepare",
                "Pending",
                message=(
                    'pods "x" is forbidden: exceeded quota: objects, requested: pods=1, used: pods=200, '
                    "limited: pods=200"
                ),
            ),
        )
    ),
    "rights": refused(
        'jobs.batch is forbidden: User "system:serviceaccount:team-research:runner" cannot create resource "jobs" in '
        'API group "batch" in the namespace "team-research"'
    ),
    "fault": failed(failure(70, "train failed: KeyError: 'labels'"), log=("Traceback", "KeyError: 'labels'")),
    "restarts-spent": failed(
        job=job(
            condition("Failed", "True", "ReachedMaxRestarts", "jobset failed due to reaching max number of restarts"),
            kind="JobSet",
            restarts=4,
        ),
        pods=(ended(1, rank=0),),
    ),
    "killed": failed(pods=(ended(137),)),
    "stopped": Evidence(
        RUN,
        "this machine",
        NOW,
        local_state="stopped",
        history=(told("stage_started", 90, stage="train"), told("preempted", 40, step=12, max_steps=40)),
    ),
    "controller-away": seen(workflow=workflow("")),
    "approval": seen(workflow=workflow("Running", node("publish", "Succeeded"), node("approve", "Running", "Suspend"))),
    "requeued-out": queued(
        condition(
            "Evicted",
            "True",
            "DeactivatedDueToRequeuingLimitExceeded",
            "The workload is deactivated due to exceeding the maximum number of re-queuing retries",
        ),
        not_reserved("The workload is deactivated"),
        spec={"active": False},
        requeueState={"count": 5},
    ),
    "queue-stopped": queued(
        not_reserved("LocalQueue l4x1 is stopped", "Inadmissible"), local_queue=queue("LocalQueue", "Hold")
    ),
    "queue-missing": queued(not_reserved("LocalQueue runs doesn't exist", "Inadmissible")),
    "queue-inactive": queued(not_reserved("ClusterQueue team-research-l4x1 is inactive", "Inadmissible")),
    "not-in-quota": queued(
        not_reserved("couldn't assign flavors to pod set main: resource ephemeral-storage unavailable in ClusterQueue")
    ),
    "too-large": queued(
        not_reserved(
            "couldn't assign flavors to pod set w: insufficient quota for nvidia.com/gpu in flavor l4x1, previously "
            "considered podsets requests (0) + current podset request (8) > maximum capacity (2)"
        )
    ),
    "not-ready-in-time": queued(
        condition("Evicted", "True", "PodsReadyTimeout", f"Exceeded the PodsReady timeout {NAMESPACE}/job-x"),
        not_reserved(f"Exceeded the PodsReady timeout {NAMESPACE}/job-x"),
        requeueState={"count": 1, "requeueAt": ago(-60)},
    ),
    "preempted-in-queue": queued(
        condition(
            "Preempted",
            "True",
            "InClusterQueue",
            "Preempted to accommodate a workload (UID: 77, JobUID: 78) due to prioritization in the ClusterQueue",
        ),
        condition("Evicted", "True", "Preempted", "Preempted to accommodate a workload (UID: 77, JobUID: 78)"),
        not_reserved(_UNUSED),
        others=(holder("urgent-9f8e7d6c5b", priority=100),),
    ),
    "behind-others": queued(
        others=(
            workload(not_reserved(_UNUSED), run="urgent-9f8e7d6c5b", uid="u2", priority=100),
            holder("nightly-1122334455"),
        ),
    ),
    "quota-full": queued(not_reserved(_UNUSED), others=(holder("nightly-1122334455"), holder("sweep-aabbccddee"))),
    "queue-away": seen(job=job(suspend=True)),
    "queued": queued(not_reserved("Waiting for all pending admission checks", "WaitingForQuota")),
    "gce-quota": unplaced(event("FailedScaleUp", _SCALE.format("GCE quota exceeded"))),
    "stockout": unplaced(
        event("TriggeredScaleUp", f"pod triggered scale-up: [{{{_GROUP}}}]", seconds=300),
        event("FailedScaleUp", _SCALE.format("GCE out of resources"), seconds=200),
        event("NotTriggerScaleUp", "pod didn't trigger scale-up: 1 in backoff after failed scale-up"),
    ),
    "no-addresses": unplaced(event("FailedScaleUp", _SCALE.format("IP space exhausted"))),
    "scale-up-failed": unplaced(event("FailedScaleUp", _SCALE.format("Internal error"))),
    "pool-full": unplaced(
        event(
            "NotTriggerScaleUp",
            "pod didn't trigger scale-up: 2 node(s) had untolerated taint(s), 1 max node group size reached",
        )
    ),
    "node-coming": unplaced(
        event("FailedScaleUp", _SCALE.format("GCE out of resources"), seconds=300),
        event("TriggeredScaleUp", f"pod triggered scale-up: [{{{_GROUP}}}]"),
    ),
    "node-taken": seen(
        job=job(),
        pods=(
            ended(75, "Error", _TAKEN, name=f"{RUN}-t-aaaaa", created=900, reason="Terminated"),
            pending("0/3 nodes are available: 3 Insufficient nvidia.com/gpu.", created=20),
        ),
        history=(told("stage_started", 800, stage="train"), told("preempted", 60, step=120, max_steps=500)),
    ),
    "no-such-node": unplaced(said="0/4 nodes are available: 4 node(s) didn't match Pod's node affinity/selector."),
    "taint": unplaced(said="0/4 nodes are available: 4 node(s) had untolerated taint {nvidia.com/gpu: present}."),
    "nodes-full": unplaced(),
    "node-away": seen(
        job=job(),
        pods=(pod({"running": {"startedAt": ago(400)}}, condition("Ready", "False", "NodeNotReady")),),
        nodes=(_LOST_NODE,),
    ),
    "image-missing": unmade(
        "ImagePullBackOff",
        f'Back-off pulling image "{IMAGE}": ErrImagePull: ' + _PULL.format(IMAGE, f"{IMAGE}: not found"),
    ),
    "image-denied": unmade(
        "ErrImagePull",
        _PULL.format(
            IMAGE,
            "failed to authorize: failed to fetch oauth token: unexpected status from GET request to "
            "https://europe-west4-docker.pkg.dev/v2/token: 403 Forbidden",
        ),
    ),
    "image-unreachable": unmade(
        "ImagePullBackOff",
        f'Back-off pulling image "{IMAGE}"',
        event("Failed", f'Failed to pull image "{IMAGE}": dial tcp 142.250.1.82:443: i/o timeout'),
    ),
    "secret-empty": unmade(
        "ContainerCreating",
        "",
        event(
            "FailedMount",
            _CSI.format(
                "NotFound desc = Secret [projects/123456789/secrets/tunery-prod-artifactory-token] not found or has no "
                "versions."
            ),
        ),
    ),
    "secret-denied": unmade(
        "ContainerCreating",
        "",
        event(
            "FailedMount",
            _CSI.format(
                "PermissionDenied desc = Permission 'secretmanager.versions.access' denied for resource "
                "'projects/example/secrets/tunery-prod-artifactory-token/versions/latest' (or it may not exist)."
            ),
        ),
    ),
    "mount-failed": unmade(
        "ContainerCreating",
        "",
        event("FailedMount", 'MountVolume.SetUp failed for volume "kube-root-ca" : configmap "kube-root-ca" not found'),
    ),
    "container-refused": unmade(
        "CreateContainerError",
        'failed to create containerd task: exec: "python": executable file not found in $PATH',
    ),
    "image-pulling": unmade("ContainerCreating", "", event("Pulling", f'Pulling image "{IMAGE}"', seconds=95)),
    "container-starting": unmade("ContainerCreating", ""),
    "stalled": seen(
        job=job(),
        pods=(running(4000),),
        history=steps(30, 2.0, 1800),
        progress={"step": 30, "max_steps": 500},
        log=("step 30",),
    ),
    "bringing-inputs": seen(job=job(), pods=(running(20),), history=(told("stage_finished", 90, stage="prepare"),)),
    "running": seen(
        job=job(kind="JobSet", restarts=1),
        pods=(running(rank=0), running(name=f"{RUN}-t-w-0-1", rank=1)),
        history=steps(30, 2.0, 1),
        progress={"step": 30, "max_steps": 500, "loss": 1.1},
    ),
    "between-stages": seen(),
    "unknown": failed(message="OOPS"),
}
