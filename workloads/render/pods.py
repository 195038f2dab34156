"""From a stage to its pod: one pure function for every kind of pod that a run has.

Every pod runs without root, without capabilities, on a root file system that cannot be written; what it may write is
its scratch space. Nothing secret is in it: a role's secrets are files that Secret Manager's CSI driver mounts.
"""

from __future__ import annotations

import math
from typing import Any

from workloads import runtime
from workloads.hub import hub_environment
from workloads.render.failure import CONTAINER
from workloads.render.huggingface import huggingface_environment
from workloads.render.run import CPU_POOL, ClusterRun
from workloads.render.steps import STEPS, Step

USER_ID = 10001
"""The fixed user of tunery's images."""

INIT = ("/usr/bin/tini", "--")
"""What is process 1 in a pod: the entry point of tunery's images."""

_DRAIN_SECONDS = 5
"""What is kept of the grace for the kubelet and for the upload that is already under way."""
_MODULE = "workloads.stages.pod"


def stage_pod(run: ClusterRun, stage: str, *, nodes: int = 1, coordinator: str | None = None) -> dict[str, Any]:
    """The PodSpec of a stage.

    Args:
        nodes: pods that work together; more than one is a gang whose rank is JOB_COMPLETION_INDEX.
        coordinator: the DNS name of rank 0, for a gang.
    """
    step = STEPS[stage]
    on_gpu = step.device == "gpu" and run.gpus > 0
    capacity = _capacity(run, step)
    spec: dict[str, Any] = {
        "serviceAccountName": run.platform.stages[stage],
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": run.platform.grace_seconds[capacity],
        "securityContext": _user(run),
        "containers": [_container(run, step, nodes, coordinator, on_gpu=on_gpu, capacity=capacity)],
        "volumes": _volumes(run, step, on_gpu=on_gpu),
    }
    if run.platform.local is None:
        spec |= _placement(run, step)
    return spec


def _user(run: ClusterRun) -> dict[str, Any]:
    """Never root; but on a cluster of one's own, a store that belongs to root can be written by nobody else."""
    local = run.platform.local
    user = USER_ID if local is None or local.user is None else local.user
    return {
        "runAsNonRoot": user != 0,
        "runAsUser": user,
        "runAsGroup": user,
        "fsGroup": user,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def _container(
    run: ClusterRun, step: Step, nodes: int, coordinator: str | None, *, on_gpu: bool, capacity: str
) -> dict[str, Any]:
    local = run.platform.local
    environment = {
        "HOME": f"{runtime.POD_SCRATCH}/home",
        "TMPDIR": f"{runtime.POD_SCRATCH}/temporary",
        "HF_HOME": f"{runtime.POD_SCRATCH}/huggingface",
        "MPLCONFIGDIR": f"{runtime.POD_SCRATCH}/matplotlib",
        "HF_HUB_OFFLINE": "1",
        "PYTHONUNBUFFERED": "1",
        runtime.ENV_SCRATCH: runtime.POD_SCRATCH,
        runtime.ENV_CACHE: f"{runtime.POD_SCRATCH}/cache",
        runtime.ENV_STORE: run.platform.store(run.team_name),
        runtime.ENV_MODELS_STORE: run.platform.models_store,
        runtime.ENV_GRACE: str(run.platform.grace_seconds[capacity] - _DRAIN_SECONDS),
    }
    if on_gpu and local is None:
        environment[runtime.ENV_GPUS] = str(run.gpus)
    if run.platform.secrets_of(run.platform.stages[step.stage]) and local is None:
        environment[runtime.ENV_SECRETS] = runtime.POD_SECRETS
    if runtime.ARTIFACTORY_SECRET in run.platform.secrets_of(run.platform.stages[step.stage]) and local is None:
        environment |= hub_environment(run.platform) | huggingface_environment(run.platform)
    if run.spec.schedule is not None:
        environment[runtime.ENV_BUNDLE] = run.id
    if step.stage == "train":
        environment[runtime.ENV_PROCESSES] = str(max(run.gpus, 1))
        if nodes > 1 and coordinator is not None:
            environment |= _rendezvous(nodes, coordinator)
    if local is not None:
        environment |= local.environment
    return {
        "name": CONTAINER,
        "image": run.images[step.image],
        "imagePullPolicy": "IfNotPresent",
        # A command takes the place of the image's entry point. tini reaps what a training leaves behind, and passes
        # SIGTERM on to the module, which takes it itself.
        "command": [*([local.python] if local else [*INIT, "python"]), "-m", _MODULE, step.stage, run.instance],
        "env": [{"name": name, "value": value} for name, value in sorted(environment.items())],
        "resources": _resources(run, step, on_gpu=on_gpu),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": _mounts(run, step),
    }


def _rendezvous(nodes: int, coordinator: str) -> dict[str, str]:
    # G2 nodes have one network interface and no RDMA: NCCL and gloo talk TCP over it.
    return {
        "NNODES": str(nodes),
        "MASTER_ADDR": coordinator,
        "MASTER_PORT": str(runtime.MASTER_PORT),
        "NCCL_SOCKET_IFNAME": "eth0",
        "GLOO_SOCKET_IFNAME": "eth0",
    }


def _resources(run: ClusterRun, step: Step, *, on_gpu: bool) -> dict[str, Any]:
    """A share of a node that leaves room for GKE's own pods; limits equal requests, so nobody is evicted for another.

    Kubelet and system pods of GKE take about a tenth of a node's CPU and memory.
    """
    if on_gpu:
        share = run.gpus / run.pool.gpus
        cpus, memory = math.floor(run.pool.cpus * 0.85 * share), math.floor(run.pool.memory_gb * 0.8 * share)
        accelerators = {run.platform.taints.gpu: str(run.gpus)}
    else:
        node = run.platform.pools[CPU_POOL]
        cpus = max(1, min(4, math.floor(node.cpus * 0.85)))
        wanted = 4 + 2 * run.base_gb if step.base == "weights" else 8
        memory, accelerators = min(math.ceil(wanted), math.floor(node.memory_gb * 0.8)), {}
    scratch = math.ceil(step.scratch_gb + max(1, run.base_gb * step.models) + run.data_gb * step.datasets)
    amounts = {"memory": f"{memory}Gi", "ephemeral-storage": f"{scratch}Gi", **accelerators}
    if run.platform.local is not None:  # small machines: ask for little, and let the kernel share
        return {"requests": {"cpu": "100m", "memory": "256Mi"}}
    return {"requests": {"cpu": str(cpus), **amounts}, "limits": amounts}


def _volumes(run: ClusterRun, step: Step, *, on_gpu: bool) -> list[dict[str, Any]]:
    volumes: list[dict[str, Any]] = [{"name": "scratch", "emptyDir": {}}]
    if step.device == "gpu":
        # NCCL and the data loader's workers share memory; the default of 64 MB is too small for both.
        size = f"{max(1, run.pool.memory_gb // 4)}Gi" if on_gpu else "1Gi"
        volumes.append({"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": size}})
    role = run.platform.stages[step.stage]
    local = run.platform.local
    if local is not None:
        volumes += [
            {"name": f"host-{number}", "hostPath": {"path": mount.path}} for number, mount in enumerate(local.mounts)
        ]
    elif run.platform.secrets_of(role):
        volumes.append(
            {
                "name": "secrets",
                "csi": {
                    "driver": "secrets-store-gke.csi.k8s.io",
                    "readOnly": True,
                    "volumeAttributes": {"secretProviderClass": run.platform.secret_classes[role]},
                },
            }
        )
    return volumes


def _mounts(run: ClusterRun, step: Step) -> list[dict[str, Any]]:
    mounts: list[dict[str, Any]] = [{"name": "scratch", "mountPath": runtime.POD_SCRATCH}]
    if step.device == "gpu":
        mounts.append({"name": "shm", "mountPath": "/dev/shm"})  # noqa: S108 a memory file system of the pod's own
    local = run.platform.local
    if local is not None:
        mounts += [
            {"name": f"host-{number}", "mountPath": mount.path, "readOnly": mount.read_only}
            for number, mount in enumerate(local.mounts)
        ]
    elif run.platform.secrets_of(run.platform.stages[step.stage]):
        mounts.append({"name": "secrets", "mountPath": runtime.POD_SECRETS, "readOnly": True})
    return mounts


def _capacity(run: ClusterRun, step: Step) -> str:
    """``spot`` when a pod may be on a node that is taken away with short notice: its grace is then that of spot."""
    pool = run.pool if step.device == "gpu" else run.platform.pools[CPU_POOL]
    wants_any = run.spec.resources.capacity == "any" or step.device == "cpu"
    return "spot" if wants_any and "spot" in pool.capacity else "on-demand"


def _placement(run: ClusterRun, step: Step) -> dict[str, Any]:
    """Node selector and tolerations. GKE's ComputeClass falls back from spot to what the pool lists next."""
    keys, taints = run.platform.labels, run.platform.taints
    name = run.pool_name if step.device == "gpu" else CPU_POOL
    pool = run.platform.pools[name]
    selector = {keys.compute_class: pool.compute_class}
    if step.device == "gpu" and run.spec.resources.capacity == "on-demand":
        selector[keys.capacity] = "on-demand"
    tolerations = [
        {"key": taints.compute_class, "operator": "Equal", "value": pool.compute_class, "effect": "NoSchedule"}
    ]
    if pool.gpus:
        tolerations.append({"key": taints.gpu, "operator": "Exists", "effect": "NoSchedule"})
    if "spot" in pool.capacity:
        tolerations.append({"key": taints.spot, "operator": "Equal", "value": "true", "effect": "NoSchedule"})
    return {"nodeSelector": selector, "tolerations": tolerations}
