"""The manifest of docs/multi-node.md: the training of a golden as an MPIJob of the MPI Operator.

Made of the same pods as the JobSet that tunery sends, so that it shows what would be left to do, and stays true.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from workloads.render.failure import CONTAINER
from workloads.render.pods import stage_pod
from workloads.render.run import ClusterRun
from workloads.render.text import to_documents
from workloads.render.training import gpu_stage

API = "kubeflow.org/v2beta1"
FILE = Path(__file__).parents[1] / "docs" / "examples" / "mpijob.yaml"

_SSH = "/scratch/home/.ssh"
_SSHD = ["/usr/sbin/sshd", "-De"]
_NOTE = "# Made by `make goldens` of the JobSet's own pods; docs/multi-node.md says what it needs and what it lacks.\n"


def render(run: ClusterRun) -> dict[Path, str]:
    """Path -> text of the example."""
    return {FILE: _NOTE + to_documents([mpi_job(run)])}


def mpi_job(run: ClusterRun) -> dict[str, Any]:
    """A run's training as an MPIJob: a launcher without a GPU, and a worker for each node."""
    queued = gpu_stage(run, "train", f"{run.id}-t")
    name = queued["metadata"]["name"]
    worker = stage_pod(run, "train", nodes=run.nodes, coordinator=f"{name}-worker-0.{name}")
    container = worker["containers"][0]
    names = [each["name"] for each in container["env"]]
    launcher = {
        "name": CONTAINER,
        "image": container["image"],
        "command": ["mpirun", "--map-by", "ppr:1:node", *(part for each in names for part in ("-x", each))],
        # The rank that MPI gives to a process is the number of the node that the stage asks for.
        "args": ["sh", "-c", f"JOB_COMPLETION_INDEX=$OMPI_COMM_WORLD_RANK exec {' '.join(container['command'])}"],
        "env": container["env"],
        "resources": {"requests": {"cpu": "500m", "memory": "512Mi"}, "limits": {"memory": "512Mi"}},
        "securityContext": container["securityContext"],
        "volumeMounts": [each for each in container["volumeMounts"] if each["name"] == "scratch"],
    }
    server = {key: value for key, value in container.items() if key not in ("command", "env")}
    return {
        "apiVersion": API,
        "kind": "MPIJob",
        "metadata": queued["metadata"],
        "spec": {
            "mpiImplementation": "OpenMPI",
            "slotsPerWorker": 1,  # torchrun starts the processes of a node
            "sshAuthMountPath": _SSH,
            "launcherCreationPolicy": "WaitForWorkersReady",
            "runPolicy": {
                "suspend": True,  # Kueue starts it
                "cleanPodPolicy": "Running",
                "backoffLimit": 0,
                "activeDeadlineSeconds": _deadline(queued),
            },
            "mpiReplicaSpecs": {
                "Launcher": _replica(run, 1, {**_without_gpu(worker), "containers": [launcher]}),
                "Worker": _replica(run, run.nodes, {**worker, "containers": [server | {"command": _SSHD}]}),
            },
        },
    }


def _replica(run: ClusterRun, count: int, pod: dict[str, Any]) -> dict[str, Any]:
    template = {"metadata": {"labels": run.labels("train")}, "spec": pod}
    return {"replicas": count, "restartPolicy": "Never", "template": template}


def _without_gpu(pod: dict[str, Any]) -> dict[str, Any]:
    kept = ("securityContext", "serviceAccountName", "automountServiceAccountToken", "enableServiceLinks")
    volumes = [each for each in pod["volumes"] if each["name"] == "scratch"]
    return {key: pod[key] for key in kept} | {"restartPolicy": "Never", "volumes": volumes}


def _deadline(jobset: dict[str, Any]) -> int:
    found: int = jobset["spec"]["replicatedJobs"][0]["template"]["spec"]["activeDeadlineSeconds"]
    return found
