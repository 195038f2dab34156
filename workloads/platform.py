"""The platform contract: the names and limits of an environment, which the infrastructure publishes as JSON.

``infra/contract.py`` writes ``configs/platform/<env>.json``; this module is the only reader. A field that one side
has and the other does not is an error, and so is another version: neither half guesses what the other means.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from workloads.errors import InputError, Problem, did_you_mean
from workloads.runtime import ENV_PLATFORM, platform_dir

VERSION = 1
"""The version of the contract that this tunery reads."""

Capacity = Literal["on-demand", "spot", "flex-start", "reservation"]

_REGENERATE = "regenerate it with `make goldens`, and use tunery and the contract of the same commit"


class Part(BaseModel):
    """A frozen model that knows all its keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Artifactory(Part):
    """Where models come from and go to."""

    url: str
    models: str
    """The repository of base models, of the Hugging Face kind."""
    published: str
    """The generic repository of results."""
    signing_keys: str | None
    """The public keys, in PEM, of who may sign what is published; None where nobody signs."""


class Labels(Part):
    """Keys of Kubernetes labels."""

    pool: str
    capacity: str
    compute_class: str
    team: str
    run: str
    stage: str


class Taints(Part):
    """Keys of node taints."""

    spot: str
    gpu: str
    compute_class: str


class Secret(Part):
    """A Secret Manager secret and the roles that may read it."""

    secret: str
    roles: tuple[str, ...]
    optional: bool
    """It need not have a value here: pods start without it, and mount it nowhere."""


class RetentionDays(Part):
    """After how many days bytes in Cloud Storage are removed."""

    runs: int
    logs: int
    deleted: int
    """For how long a deleted object can be restored, and is paid for."""


class Budget(Part):
    """What the environment may cost in a month before people are told."""

    amount: int
    currency: str


class System(Part):
    """Nodes for the controllers. Memory in GiB, disk in GB; min and max count nodes of all zones together."""

    machine: str
    cpus: int
    memory_gb: int
    min: int
    max: int
    disk_gb: int


class Pool(Part):
    """Nodes of one machine type. Memory in GiB, disk and scratch in GB; min and max count nodes of each capacity."""

    machine: str
    cpus: int
    memory_gb: int
    gpus: int
    accelerator: str | None
    scratch_gb: int
    """Local SSD of a node."""
    disk_gb: int
    capacity: tuple[Capacity, ...]
    """How its nodes are bought, the preferred way first."""
    reservation: str | None
    min: int
    max: int
    zones: tuple[str, ...]
    compute_class: str
    queue: str
    """The LocalQueue for its nodes, in every team's namespace."""


class Team(Part):
    """A namespace, a queue for each pool, and a share of the GPUs."""

    namespace: str
    folder: str
    """The managed folder of the runs bucket that the team's runs are in."""
    cluster_queues: dict[str, str]
    """Pool -> the ClusterQueue with the team's quota in it."""
    group: str | None
    gpus: int
    borrow: int | None
    weight: float
    budget: float | None


class HostMount(Part):
    """A folder of the node that pods see at the same path."""

    path: str
    read_only: bool = True


class LocalCluster(Part):
    """A cluster of one's own (kind, k3s, minikube): folders of its nodes take the place of Google Cloud's services."""

    store: str
    """The folder of run directories, on a volume that every node mounts."""
    python: str = "python"
    """The interpreter in the image that has tunery."""
    images: dict[str, str] = {}
    """Image name (stager, trainer, server) -> full reference, as the nodes have it."""
    user: int | None = None
    """The user that owns the store, as whom pods then work; that of tunery's images when absent."""
    environment: dict[str, str] = {}
    """Further variables of every pod, such as TUNERY_HUB."""
    mounts: tuple[HostMount, ...] = ()
    """Folders of the node; one of them holds the store."""


class Platform(Part):
    """One environment, as the workloads see it."""

    version: Literal[1]
    environment: str
    project: str
    region: str
    zones: tuple[str, ...]
    cluster: str
    registry: str
    state_bucket: str
    buckets: dict[str, str]
    keys: tuple[str, ...]
    """The Cloud KMS keys, named after what they encrypt."""
    artifactory: Artifactory
    labels: Labels
    taints: Taints
    service_accounts: tuple[str, ...]
    stages: dict[str, str]
    """Stage -> the service account that it works as."""
    secrets: dict[str, Secret]
    secret_classes: dict[str, str]
    """Service account -> the SecretProviderClass that mounts its secrets."""
    priorities: dict[str, int]
    controllers: dict[str, str]
    """Controller -> its namespace."""
    egress: bool
    high_availability: bool
    deletion_protection: bool
    retention_days: RetentionDays
    budget: Budget | None
    grace_seconds: dict[str, int]
    """Capacity -> seconds that a pod has after SIGTERM."""
    system: System
    pools: dict[str, Pool]
    teams: dict[str, Team]
    local: LocalCluster | None = None
    """Set when the environment is not on Google Cloud."""

    def store(self, team: str) -> str:
        """Where a team's run directories are: its managed folder of the runs bucket, or a folder of a local cluster."""
        root = self.local.store if self.local else f"gs://{self.buckets['runs']}"
        return f"{root}/{self.teams[team].folder.rstrip('/')}"

    @property
    def models_store(self) -> str:
        """Where base models are kept by revision."""
        return f"{self.local.store}/models" if self.local else f"gs://{self.buckets['models']}/models"

    def secrets_of(self, role: str) -> tuple[str, ...]:
        """The secrets that the pods of a service account mount."""
        return tuple(name for name, secret in self.secrets.items() if role in secret.roles and not secret.optional)


def environments(folder: Path | None = None) -> list[str]:
    """The environments that have a contract, in the order of the alphabet.

    Raises:
        InputError: when there is no such folder.
    """
    folder = folder or platform_dir()
    if not folder.is_dir():
        raise InputError.of(
            "There is no folder of platform contracts here.",
            f"run tunery in the repository, or point {ENV_PLATFORM} at its configs/platform",
            file=folder,
        )
    return sorted(path.stem for path in folder.glob("*.json"))


def load(environment: str, folder: Path | None = None) -> Platform:
    """Reads the contract of an environment.

    Raises:
        InputError: when the environment is unknown, or the contract is of another version or wrong.
    """
    folder = folder or platform_dir()
    known = environments(folder)
    if environment not in known:
        raise InputError.of(
            f"There is no environment {environment!r}.",
            f"known: {', '.join(known) or 'none'}; a new one is a file in configs/environments, then `make goldens`",
            file=folder,
            suggestion=did_you_mean(environment, known),
        )
    path = folder / f"{environment}.json"
    values = _read(path)
    if values.get("version") != VERSION:
        raise InputError.of(
            f"The contract has version {values.get('version')!r}, and this tunery reads version {VERSION}.",
            _REGENERATE,
            file=path,
            key="version",
        )
    try:
        return Platform.model_validate(values)
    except ValidationError as error:
        raise InputError([_problem(detail, path) for detail in error.errors()]) from None


def _read(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError.of(f"It is no readable JSON: {error}.", _REGENERATE, file=path) from error
    if not isinstance(values, dict):
        raise InputError.of("It holds no JSON object.", _REGENERATE, file=path)
    return values


def _problem(detail: Any, path: Path) -> Problem:
    key = ".".join(str(part) for part in detail["loc"])
    return Problem(f"{detail['msg']}.", _REGENERATE, file=str(path), key=key, code="contract")
