"""Every name that is derived from an environment, once. Pure: settings in, strings out.

The contract (``contract.py``) carries to the workloads those that both halves must agree on.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import get_args

from infra.settings import Environment
from infra.settings_types import Capacity, OptionalSecret

DOMAIN = "tunery.dev"
COMPUTE_CLASS_LABEL = "cloud.google.com/compute-class"
"""GKE's own label and taint key: it adds the toleration to pods that select the class."""
POOL_LABEL = f"{DOMAIN}/pool"
CAPACITY_LABEL = f"{DOMAIN}/capacity"
TEAM_LABEL = f"{DOMAIN}/team"
RUN_LABEL = f"{DOMAIN}/run"
STAGE_LABEL = f"{DOMAIN}/stage"
SPOT_TAINT = "cloud.google.com/gke-spot"
GPU_TAINT = "nvidia.com/gpu"

SYSTEM_POOL = "system"
CPU_POOL = "cpu"

ROLES: dict[str, str] = {
    "stager": "fetch: reads the hub, writes models and runs",
    "trainer": "prepare, train, evaluate, export: reads models, writes runs; its one secret is the tracker's key",
    "publisher": "publish, and the trial serving after it: reads and writes runs, writes to the hub",
    "server": "endpoints, which outsiders reach: reads the hub and models, no runs",
    "runner": "Argo's executor: creates the Jobs and JobSets of its namespace, nothing in Google Cloud",
    "board": "the web board: reads models, reads and writes runs",
}
"""A Kubernetes service account of every team namespace, and what it is for."""

STAGE_ROLES: dict[str, str] = {
    "fetch": "stager",
    "prepare": "trainer",
    "train": "trainer",
    "evaluate": "trainer",
    "export": "trainer",
    "publish": "publisher",
    "serve": "publisher",
}
"""The role that each stage of a run works as."""

SECRETS: dict[str, tuple[str, ...]] = {
    "artifactory-token": ("stager", "publisher", "server"),
    "hf-token": ("stager",),
    "wandb-key": ("trainer",),
    "api-keys": ("server",),
    "signing-key": ("publisher",),
    "repository-token": (),
}
"""A Secret Manager secret, and the roles that read it."""

OPTIONAL_SECRETS: tuple[OptionalSecret, ...] = get_args(OptionalSecret)
"""Of these, pods mount only those that the environment says it has: the add-on starts no pod while a secret that it
mounts has no value."""

BUILD_SECRETS: dict[str, str] = {
    "repository-token": "builder",
    "artifactory-token": "submitter",
}
"""A secret that Cloud Build reads too, and the account that does: one opens the pull requests that lock images, the
other looks up base models."""

PRIORITIES: dict[str, int] = {"low": -100, "normal": 0, "high": 100}
"""Kueue's WorkloadPriorityClasses: who is admitted first. A running pod is never preempted by them directly."""

CONTROLLER_NAMESPACES: dict[str, str] = {
    "argo-workflows": "argo",
    "jobset": "jobset-system",
    "kueue": "kueue-system",
    "keda": "keda",
    "argo-cd": "argocd",
    "platform": "tunery-system",
}

KEYS = ("cluster", "storage", "registry", "secrets")
"""The Cloud KMS keys, named after what they encrypt."""

BUCKETS: dict[str, str] = {
    "models": "base models, filled once by the fetch stage",
    "runs": "run directories: configs, prepared data, checkpoints, adapters, reports",
    "logs": "access logs and build logs",
}

UPSTREAMS: dict[str, str] = {
    "dockerhub": "https://registry-1.docker.io",
    "ghcr": "https://ghcr.io",
    "k8s": "https://registry.k8s.io",
    "quay": "https://quay.io",
}
"""A public registry of container images, and its address; the environment proxies each of them."""

POD_PRIORITIES: dict[str, int] = {"controllers": 1_000_000, "endpoints": 1_000}
"""Kubernetes PriorityClasses, by what they are for; a run's pods have none, which counts as 0."""


@dataclass(frozen=True)
class Names:
    """The names of one environment."""

    environment: Environment

    @property
    def env(self) -> str:
        """Its short name."""
        return self.environment.name

    @cached_property
    def prefix(self) -> str:
        """What every resource's name starts with."""
        return f"tunery-{self.env}"

    @property
    def cluster_stack(self) -> str:
        """The Terraform stack of everything in Google Cloud."""
        return f"cluster-{self.env}"

    @property
    def platform_stack(self) -> str:
        """The Terraform stack of what runs on the cluster."""
        return f"platform-{self.env}"

    @property
    def cluster(self) -> str:
        """The GKE cluster."""
        return self.prefix

    @property
    def workload_pool(self) -> str:
        """The Workload Identity pool of the project."""
        return f"{self.environment.project}.svc.id.goog"

    @property
    def registry(self) -> str:
        """Where the company's images are, without a trailing slash."""
        return self._registry_address(self.environment.registry.repository)

    def _registry_address(self, repository: str) -> str:
        return f"{self.environment.region}-docker.pkg.dev/{self.environment.project}/{repository}"

    def remote_registry(self, upstream: str) -> str:
        """The repository that proxies an upstream registry, such as ``gke-llm-quay``."""
        if upstream not in UPSTREAMS:
            raise KeyError(upstream)
        return f"{self.environment.registry.repository}-{upstream}"

    def remote_address(self, upstream: str) -> str:
        """What takes the upstream registry's host in an image's name, without a trailing slash."""
        return self._registry_address(self.remote_registry(upstream))

    def image_host(self, upstream: str) -> str:
        """Where images of an upstream registry are pulled from: the mirror, or the repository that proxies it."""
        return self.environment.registry.images or self.remote_address(upstream)

    def priority_class(self, purpose: str) -> str:
        """A Kubernetes PriorityClass, by what it is for."""
        if purpose not in POD_PRIORITIES:
            raise KeyError(purpose)
        return f"tunery-{purpose}"

    @property
    def chart_registry(self) -> str:
        """The repository of mirrored Helm charts."""
        return f"{self.environment.registry.repository}-charts"

    def bucket(self, kind: str) -> str:
        """A bucket; names are unique in the whole of Google Cloud, so the project is part of them."""
        if kind not in BUCKETS:
            raise KeyError(kind)
        return f"{self.environment.project}-{self.env}-{kind}"

    def node_pool(self, pool: str, capacity: Capacity) -> str:
        """A GKE node pool: one for each capacity of a pool."""
        return f"{pool}-{capacity}"

    @property
    def node_tag(self) -> str:
        """The network tag of every node: what firewall rules aim at."""
        return f"{self.prefix}-node"

    def secret(self, name: str) -> str:
        """A Secret Manager secret."""
        if name not in SECRETS:
            raise KeyError(name)
        return f"{self.prefix}-{name}"

    def google_account(self, role: str) -> str:
        """The account id of a Google service account: ``nodes``, ``builder``, ``submitter``."""
        return f"{self.prefix}-{role}"

    def google_email(self, role: str) -> str:
        """The e-mail address of a Google service account."""
        return f"{self.google_account(role)}@{self.environment.project}.iam.gserviceaccount.com"

    def team_namespace(self, team: str) -> str:
        """The Kubernetes namespace of a team."""
        return f"team-{team}"

    def team_folder(self, team: str) -> str:
        """The folder of the bucket ``runs`` that only the team can read and write: ``<team>/<run id>/...``."""
        return f"{team}/"

    def cluster_queue(self, team: str, pool: str) -> str:
        """Kueue's ClusterQueue with the team's quota in a pool."""
        return f"team-{team}-{pool}"

    def local_queue(self, pool: str) -> str:
        """Kueue's LocalQueue for a pool, of the same name in every team namespace."""
        return pool

    @property
    def cohort(self) -> str:
        """Kueue's cohort: the teams that lend to one another."""
        return self.prefix

    def mounted_secrets(self, role: str) -> tuple[str, ...]:
        """The secrets that the pods of a role mount: what they need, and what the environment has beyond that."""
        return tuple(name for name, roles in SECRETS.items() if role in roles and not self.does_without(name))

    def does_without(self, secret: str) -> bool:
        """Whether a secret is optional and has no value in the environment."""
        there = {*self.environment.optional_secrets}
        if self.environment.artifactory.signing_keys is not None:
            there.add("signing-key")
        return secret in OPTIONAL_SECRETS and secret not in there

    def secret_class(self, role: str) -> str:
        """The SecretProviderClass that mounts a role's secrets."""
        return f"{role}-secrets"

    def principal(self, project_number: str, namespace: str, account: str) -> str:
        """The IAM principal of a Kubernetes service account (Workload Identity Federation for GKE)."""
        return (
            f"principal://iam.googleapis.com/projects/{project_number}/locations/global/workloadIdentityPools/"
            f"{self.workload_pool}/subject/ns/{namespace}/sa/{account}"
        )

    def labels(self) -> dict[str, str]:
        """Google Cloud labels of every resource that takes them."""
        return {**self.environment.labels, **self.own_labels()}

    def own_labels(self) -> dict[str, str]:
        """The labels that an environment may not set itself."""
        return {"environment": self.env, "managed-by": "tunery"}
