"""What rendering is given: one run, and the environment that it runs on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from workloads.errors import InputError, did_you_mean
from workloads.platform import Platform, Pool, Team
from workloads.run_spec import RunSpec

CPU_POOL = "cpu"
FIRING = "{{workflow.name}}"
"""Argo's own variable: the name that it gives to a firing of a schedule, ``NAME-`` and ten digits of the time."""

_RUN_ID = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_RUN_ID_LENGTH = 51
"""A run spec's name of 40 characters, and the digest."""
_POD_NAME_LENGTH = 63
_BY_DIGEST = re.compile(r"[a-z0-9][a-z0-9./:_-]*@sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class ClusterRun:
    """A run as it is sent to an environment.

    Attributes:
        id: names the run directory and every object; a DNS label of at most 51 characters.
        base_gb: size of the base model's files in GB, for scratch space and memory.
        data_gb: size of the data sets that the fetch stage brings, in GB.
        images: image name (stager, trainer, server) -> reference by digest.
        trial_hours: how many hours of trials the cost in a sweep's budget buys.
    """

    id: str
    spec: RunSpec
    team_name: str
    platform: Platform
    images: Mapping[str, str]
    base_gb: float = 1.0
    trial_hours: float | None = None
    data_gb: float = 0.0

    def __post_init__(self) -> None:
        """Nothing that could mean something else in YAML, a shell or Argo's templates gets into a manifest.

        Raises:
            InputError: the id, the team or an image is not what it must be.
        """
        if not _RUN_ID.fullmatch(self.id) or len(self.id) > _RUN_ID_LENGTH:
            raise InputError.of(f"{self.id!r} cannot name a run.", "use lower-case letters, digits and '-', at most 51")
        if self._last_pod_length > _POD_NAME_LENGTH:
            raise InputError.of(
                f"The name of a run on {self.nodes} nodes is too long: pods' names have at most 63 characters.",
                f"shorten the run spec's name by {self._last_pod_length - _POD_NAME_LENGTH}",
                key="name",
            )
        if self.team_name not in self.platform.teams:
            raise InputError.of(
                f"The environment {self.platform.environment} has no team {self.team_name!r}.",
                f"name one of {', '.join(self.platform.teams)} as team in the run spec",
                key="team",
                suggestion=did_you_mean(self.team_name, self.platform.teams),
            )
        for name, reference in self.images.items():
            if not _BY_DIGEST.fullmatch(reference) and self.platform.local is None:
                raise InputError.of(
                    f"The image {name} is not named by its digest: {reference!r}.",
                    "build the images (configs/images.lock.json gets their digests), or name one with @sha256:",
                    file="configs/images.lock.json",
                    key=name,
                )

    @property
    def instance(self) -> str:
        """What the run's pods work on: its id; of a spec with a schedule, the firing's name, which Argo fills in.

        A spec's name has at most 40 characters, so a firing's has at most 51, as an id.
        """
        return self.id if self.spec.schedule is None else FIRING

    @property
    def _last_pod_length(self) -> int:
        """Of the last pod of a gang, as JobSet checks it: ``ID-t-w-0-NN-xxxxx``; a single pod's name is cut to fit."""
        if self.nodes == 1:
            return 0
        name = len(self.id) if self.spec.schedule is None else len(self.spec.name) + len("-1764000000")
        return name + len("-t-w-0-") + len(str(self.nodes - 1)) + len("-xxxxx")

    @property
    def team(self) -> Team:
        """The team's namespace and queue."""
        return self.platform.teams[self.team_name]

    @property
    def pool_name(self) -> str:
        """The pool of the training's pods."""
        return choose_pool(self.spec, self.platform)

    @property
    def pool(self) -> Pool:
        """The nodes of the training's pods."""
        return self.platform.pools[self.pool_name]

    @property
    def nodes(self) -> int:
        """Pods of the training."""
        return self.spec.resources.nodes

    @property
    def gpus(self) -> int:
        """GPUs of each pod of the training; none on a pool without any."""
        return min(self.spec.resources.count, self.pool.gpus)

    def labels(self, stage: str | None = None) -> dict[str, str]:
        """What every object of the run carries: who pays, and what it belongs to.

        With a stage, the labels of what works on it: there the run is the firing, and not the schedule.
        """
        keys = self.platform.labels
        found = {keys.team: self.team_name, keys.run: self.id, "app.kubernetes.io/managed-by": "tunery"}
        return found if stage is None else {**found, keys.run: self.instance, keys.stage: stage}


def choose_pool(spec: RunSpec, platform: Platform) -> str:
    """The pool that a spec names, or the smallest with the accelerator and enough GPUs a node.

    Raises:
        InputError: there is none.
    """
    resources = spec.resources
    if resources.pool is not None:
        pool = platform.pools.get(resources.pool)
        if pool is None:
            raise InputError.of(
                f"The environment {platform.environment} has no pool {resources.pool!r}.",
                f"name one of {', '.join(platform.pools)}",
                key="resources.pool",
                suggestion=did_you_mean(resources.pool, platform.pools),
            )
        if pool.gpus < resources.count and pool.gpus:
            raise InputError.of(
                f"A node of pool {resources.pool} has {pool.gpus} GPUs, not {resources.count}.",
                "ask for fewer GPUs a pod and more nodes, or name a larger pool",
                key="resources.count",
            )
        return resources.pool
    wanted = (resources.accelerator or "").lower()
    fitting = [
        (pool.gpus, pool.cpus, name)
        for name, pool in platform.pools.items()
        if pool.gpus >= resources.count and wanted in (pool.accelerator or "")
    ]
    if not fitting:
        offered = ", ".join(
            f"{name} ({pool.gpus} x {pool.accelerator})" for name, pool in platform.pools.items() if pool.gpus
        )
        raise InputError.of(
            f"No pool of {platform.environment} has {resources.count} GPUs {wanted or ''} a node.".replace("  ", " "),
            f"it offers {offered or 'no GPUs'}; name one with resources.pool",
            key="resources",
        )
    return min(fitting)[2]
