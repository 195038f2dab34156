"""An environment, as operations describe it in ``configs/environments/<env>.yaml``.

Unknown keys are refused; a field has a default unless only the company can know it. What crosses fields is in
``settings_checks``, reading a file and naming its errors in ``settings_loader``.
"""

from __future__ import annotations

from ipaddress import IPv4Network
from typing import Annotated, Literal

from pydantic import Field

from infra.settings_types import LABEL, Capacity, Day, Email, Name, OptionalSecret, PublicKeys, Settings, Severity, Zone


class AuthorizedNetwork(Settings):
    """A range of addresses that may reach the cluster's control plane by its private endpoint."""

    name: Annotated[str, Field(min_length=1, max_length=60)]
    """What it is, for whoever reads the firewall."""
    cidr: IPv4Network
    """The range, such as 10.0.0.0/8."""


class Network(Settings):
    """The address ranges of the environment; they must not overlap."""

    nodes: IPv4Network = IPv4Network("10.10.0.0/20")
    """Addresses of nodes: /20 holds 4,092."""
    pods: IPv4Network = IPv4Network("10.64.0.0/14")
    """Addresses of pods: each node takes a /24 of it."""
    services: IPv4Network = IPv4Network("10.20.0.0/20")
    """Addresses of Kubernetes Services."""
    control_plane: IPv4Network = IPv4Network("172.16.0.0/28")
    """Addresses of the control plane; always a /28."""
    authorized: tuple[AuthorizedNetwork, ...] = ()
    """Who may reach the control plane by its private address; the DNS endpoint asks IAM instead."""
    egress: bool = True
    """Cloud NAT for pods; without it everything comes from the registries of the environment."""


class Exclusion(Settings):
    """A time in which GKE does not upgrade."""

    name: Name
    """What it is for."""
    start: Day
    """The first day, UTC."""
    end: Day
    """The last day, UTC."""
    scope: Literal["NO_UPGRADES", "NO_MINOR_UPGRADES", "NO_MINOR_OR_NODE_UPGRADES"] = "NO_MINOR_OR_NODE_UPGRADES"
    """What is held back."""


class Maintenance(Settings):
    """When GKE may upgrade."""

    start: Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")] = "02:00"
    """Start of the window, UTC."""
    hours: Annotated[int, Field(ge=4, le=24)] = 6
    """Length of the window."""
    days: Annotated[tuple[Literal["MO", "TU", "WE", "TH", "FR", "SA", "SU"], ...], Field(min_length=1)] = ("SA", "SU")
    """On which days; GKE asks for at least 48 hours in any 92 days."""
    exclusions: Annotated[tuple[Exclusion, ...], Field(max_length=20)] = ()
    """Times without upgrades."""


class Cluster(Settings):
    """The GKE cluster."""

    release_channel: Literal["RAPID", "REGULAR", "STABLE"] = "REGULAR"
    """How soon new versions of Kubernetes arrive."""
    min_version: Annotated[str, Field(pattern=r"^1\.\d+$")] | None = None
    """The oldest minor version of Kubernetes that the control plane may start with."""
    maintenance: Maintenance = Maintenance()
    """When GKE may upgrade."""
    deletion_protection: bool = True
    """Terraform refuses to destroy the cluster, its keys and its buckets."""
    high_availability: bool = False
    """Two or three replicas of every controller."""


class Pool(Settings):
    """Nodes of one machine type. Each capacity becomes a node pool of its own, tried in the order written."""

    machine: str
    """A Compute Engine machine type, such as g2-standard-8."""
    gpus: Annotated[int, Field(ge=0, le=8)] = 0
    """GPUs of a node; a G2 machine type has a fixed number of them."""
    min: Annotated[int, Field(ge=0, le=1000)] = 0
    """Nodes that always run, in all zones together; they need `on-demand` or `reservation`."""
    max: Annotated[int, Field(ge=1, le=1000)] = 3
    """The most nodes of each capacity, in all zones together."""
    capacity: Annotated[tuple[Capacity, ...], Field(min_length=1)] = ("spot", "on-demand")
    """How nodes are bought, the preferred way first."""
    reservation: Annotated[str, Field(pattern=LABEL, max_length=63)] | None = None
    """Name of the Compute Engine reservation, when capacity has `reservation`."""
    zones: tuple[Zone, ...] = ()
    """Zones of this pool; all zones of the environment when empty."""
    disk_gb: Annotated[int, Field(ge=50, le=4000)] = 100
    """Boot disk of a node; a GPU image takes 15 GB of it."""
    preload: Annotated[str, Field(pattern=r"^projects/[a-z][a-z0-9-]+/global/images/[a-z][a-z0-9-]*$")] | None = None
    """A disk image with container images on it, so that a new node starts without pulling them:
    projects/PROJECT/global/images/IMAGE."""


class SystemPool(Settings):
    """Nodes for the controllers: always there, without GPUs, never spot."""

    machine: str = "e2-standard-4"
    """A Compute Engine machine type."""
    min: Annotated[int, Field(ge=1, le=100)] = 1
    """Nodes that always run, in all zones together."""
    max: Annotated[int, Field(ge=1, le=100)] = 4
    """The most nodes, in all zones together."""
    disk_gb: Annotated[int, Field(ge=50, le=4000)] = 100
    """Boot disk of a node."""


class Team(Settings):
    """Who runs trainings: a namespace, a queue and a share of the GPUs."""

    group: Email | None = None
    """The Google group of its people; they may submit and watch runs in the team's namespace."""
    gpus: Annotated[int, Field(ge=0, le=1000)] = 1
    """GPUs that are the team's own whenever it asks."""
    borrow: Annotated[int, Field(ge=0, le=1000)] | None = None
    """GPUs it may use beyond its own while others leave them idle; all when absent."""
    weight: Annotated[float, Field(gt=0, le=100)] = 1.0
    """Its share of what is borrowed, against other teams."""
    cpus: Annotated[int, Field(ge=1, le=10000)] = 32
    """CPU cores of the stages without a GPU."""
    memory_gb: Annotated[int, Field(ge=1, le=100000)] = 128
    """Memory of the stages without a GPU, in GiB."""
    budget: Annotated[float, Field(gt=0)] | None = None
    """What its runs may cost in a month, in the currency of the budget; tunery refuses runs beyond it."""


class Artifactory(Settings):
    """The company's JFrog Artifactory: where models come from and go to."""

    url: Annotated[str, Field(pattern=r"^https://[A-Za-z0-9.-]+(:\d+)?(/[A-Za-z0-9._~-]+)*$")]
    """Its address without a slash at the end, such as https://artifactory.example.com/artifactory."""
    models: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")] = "huggingface"
    """The repository of the Hugging Face kind that base models come from."""
    published: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")] = "tunery-models"
    """The generic repository that results go to."""
    signing_keys: PublicKeys | None = None
    """Public keys in PEM: only what the owner of one of them has signed is fetched; all is when they are absent."""


class Registry(Settings):
    """Container images, in Artifact Registry."""

    repository: Name = "gke-llm"
    """The Docker repository of the company's own images."""
    keep_versions: Annotated[int, Field(ge=1, le=1000)] = 20
    """Versions of each image that a cleanup never removes."""
    delete_untagged_days: Annotated[int, Field(ge=1, le=3650)] = 30
    """Age at which an image that no tag names is removed."""
    charts: Annotated[str, Field(pattern=r"^oci://[a-z0-9.-]+(:\d+)?(/[a-z0-9._-]+)*$")] | None = None
    """An OCI registry with mirrors of the charts, for a site whose deploying machine has no egress; upstream when
    absent. The cluster itself never fetches a chart."""
    images: Annotated[str, Field(pattern=r"^[a-z0-9.-]+(:\d+)?(/[a-z0-9._-]+)*$")] | None = None
    """A registry with mirrors of the controllers' images; the remote repositories of the environment when absent."""


class Storage(Settings):
    """How long bytes are kept in Cloud Storage."""

    run_days: Annotated[int, Field(ge=7, le=3650)] = 90
    """Age at which a run's checkpoints and scratch are removed; published models stay."""
    log_days: Annotated[int, Field(ge=30, le=3650)] = 400
    """Age at which logs are removed."""
    soft_delete_days: Annotated[int, Field(ge=7, le=90)] = 7
    """For how long a deleted object can be restored."""


class Source(Settings):
    """The repository whose pushes build images and submit runs."""

    owner: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9-]{0,38}$")]
    """The organisation or user on GitHub."""
    repository: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,100}$")]
    """The repository."""
    branch: Annotated[str, Field(pattern=r"^[A-Za-z0-9._/-]{1,100}$")] = "main"
    """The branch whose pushes build and submit."""


class Builds(Settings):
    """Cloud Build."""

    source: Source | None = None
    """The repository; without it there are no triggers."""
    private_pool: bool = False
    """Build on machines inside the network, without public addresses."""
    machine: str = "e2-standard-8"
    """Machine type of the private pool."""
    severity: Severity = "HIGH"
    """The vulnerability from which on an image is refused."""
    approval: bool = False
    """A person approves each build and each submission before it starts; checks of pull requests never wait."""


class Budget(Settings):
    """What the environment may cost in a month before people are told."""

    amount: Annotated[int, Field(ge=1)]
    """The amount, in whole units of the currency."""
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] = "EUR"
    """The currency of the billing account."""
    billing_account: Annotated[str, Field(pattern=r"^[0-9A-F]{6}-[0-9A-F]{6}-[0-9A-F]{6}$")]
    """The billing account's id."""
    emails: Annotated[tuple[Email, ...], Field(min_length=1, max_length=5)]
    """Who is told; Google allows five."""
    thresholds: Annotated[tuple[Annotated[float, Field(gt=0, le=10)], ...], Field(min_length=1)] = (0.5, 0.8, 1.0)
    """At which shares of the amount."""


class Alerts(Settings):
    """When people are told that something is wrong."""

    pending_minutes: Annotated[int, Field(ge=5, le=1380)] = 30
    """A pod that waits longer; Cloud Monitoring looks back 23.5 hours at most."""
    idle_gpu_minutes: Annotated[int, Field(ge=10, le=1380)] = 30
    """A GPU that is paid for and does nothing."""


class Controllers(Settings):
    """What runs on the cluster beside Argo Workflows, JobSet and Kueue."""

    keda: bool = True
    """Scale endpoints by their queue, to zero when a run asks for it."""
    argo_cd: bool = False
    """Deliver rendered runs from git."""


class Environment(Settings):
    """One environment."""

    name: Annotated[str, Field(pattern=LABEL, min_length=2, max_length=12)]
    """The environment's name: that of its file."""
    project: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{4,28}[a-z0-9]$")]
    """The Google Cloud project's id; each environment has a project of its own."""
    region: Annotated[str, Field(pattern=r"^[a-z]+-[a-z]+\d+$")]
    """The region, such as europe-west4."""
    zones: Annotated[tuple[Zone, ...], Field(min_length=1, max_length=4)]
    """The zones of its nodes; all must offer the GPUs of its pools."""
    state_bucket: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{1,61}[a-z0-9]$")]
    """The bucket of Terraform's state, made by scripts/bootstrap."""
    network: Network = Network()
    """Address ranges."""
    cluster: Cluster = Cluster()
    """The cluster."""
    system: SystemPool = SystemPool()
    """Nodes for the controllers."""
    pools: Annotated[dict[Name, Pool], Field(min_length=1)]
    """Nodes for runs. `cpu` is for the stages without a GPU."""
    teams: Annotated[dict[Name, Team], Field(min_length=1)]
    """Who runs trainings."""
    artifactory: Artifactory
    """Where models come from and go to."""
    optional_secrets: tuple[OptionalSecret, ...] = ()
    """Those of the optional secrets that have a value here. Pods mount them, and start without the others."""
    registry: Registry = Registry()
    """Container images."""
    storage: Storage = Storage()
    """Bytes of runs and models."""
    builds: Builds = Builds()
    """Cloud Build."""
    budget: Budget | None = None
    """Alerts by cost."""
    alerts: Alerts = Alerts()
    """Alerts by state."""
    controllers: Controllers = Controllers()
    """Optional controllers."""
    labels: Annotated[
        dict[
            Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$")],
            Annotated[str, Field(pattern=r"^[a-z0-9_-]{0,63}$")],
        ],
        Field(default_factory=dict, max_length=60),
    ]
    """Labels on everything, for the company's own bookkeeping."""
