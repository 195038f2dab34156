"""Everything that an environment fetches from elsewhere: images, charts, providers, packages; each with its version.

A digest is there where a file of this repository has one. Images that charts name by tag alone have none: a mirror
with immutable tags is what pins their bytes.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from infra import names as n
from infra.charts import installed
from infra.parts.builds import CHECKS, CONFIGS, IMAGES
from infra.settings import Environment
from infra.values.argo_cd import REDIS

ROOT = Path(__file__).parents[1]
INDEX, NPM = "Python package index", "npm registry"
"""Packages have no host here: which one a site uses is its own affair (pip's and npm's configuration name it)."""

TERRAFORM = "registry.terraform.io"
_NAMED = {"dockerhub": "docker.io"}
_IMAGES: dict[str, tuple[tuple[str, str], ...]] = {
    "argo-workflows": (
        ("quay", "argoproj/workflow-controller"),
        ("quay", "argoproj/argocli"),
        ("quay", "argoproj/argoexec"),
    ),
    "jobset": (("k8s", "jobset/jobset"),),
    "kueue": (("k8s", "kueue/kueue"),),
    "keda": (
        ("ghcr", "kedacore/keda"),
        ("ghcr", "kedacore/keda-metrics-apiserver"),
        ("ghcr", "kedacore/keda-admission-webhooks"),
    ),
    "argo-cd": (("quay", "argoproj/argocd"),),
}
"""Controller -> the images of its chart: the proxied registry, and the repository there."""
_PACKAGE = re.compile(r"^([a-z0-9][a-z0-9._-]*)==(\S+)(?: ;[^\\\n]*)?((?: \\\n    --hash=sha256:[0-9a-f]{64})+)", re.M)


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to fetch.

    Attributes:
        kind: service, image, artifact (of an OCI registry, and no image), chart, provider, wheel or npm.
        host: where it comes from; for packages, which index by its purpose.
        digests: of a wheel one for each file that may be installed.
        target: of a chart, where the environment looks for it when that is a mirror.
    """

    kind: str
    host: str
    name: str
    version: str
    used_by: str
    digests: tuple[str, ...] = ()
    target: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "kind": self.kind,
            "host": self.host,
            "name": self.name,
            "version": self.version,
            "digests": list(self.digests),
            "target": self.target,
            "used_by": self.used_by,
        }


def items(environment: Environment, stacks: Mapping[str, Any]) -> list[Item]:
    """Everything, each once, in the order in which an environment comes to be.

    Args:
        stacks: the environment's stacks by name, as Terraform gets them.
    """
    found = [
        *_services(environment),
        *_providers(stacks),
        *_charts(environment),
        *_controllers(environment),
        *_bases(),
        *_builders(environment),
        *_wheels(),
        *_npm(),
    ]
    return list(dict.fromkeys(found))


def upstream_host(upstream: str) -> str:
    """The host of a public registry of images, as references name it."""
    return _NAMED.get(upstream, n.UPSTREAMS[upstream].removeprefix("https://"))


def _proxied(upstream: str, name: str, version: str, used_by: str, digest: str = "") -> Item:
    return Item("image", upstream_host(upstream), name, version, used_by, (digest,) if digest else ())


def _services(environment: Environment) -> Iterator[Item]:
    """What is called and not mirrored: Google's and the company's own."""
    names = n.Names(environment)
    yield Item("service", "*.googleapis.com", "Google's APIs", "", "by Private Google Access, without a public address")
    own = [names.registry, environment.registry.images, (environment.registry.charts or "").removeprefix("oci://")]
    for host in dict.fromkeys(each.partition("/")[0] for each in own if each):
        yield Item("service", host, "images and charts", "", "this environment's own registry")
    hub = n.UPSTREAMS["dockerhub"].removeprefix("https://")
    yield Item("service", hub, "images of docker.io", "", "the environment's proxy")
    yield Item("service", urlsplit(environment.artifactory.url).netloc, "models", "", "Artifactory")
    if environment.builds.source is not None:
        for host in ("github.com", "api.github.com"):
            yield Item("service", host, "the repository", "", "builds")


def _providers(stacks: Mapping[str, Any]) -> Iterator[Item]:
    for stack in stacks.values():
        for provider in stack["terraform"]["required_providers"].values():
            source = provider["source"] if "/" in provider["source"] else f"hashicorp/{provider['source']}"
            yield Item("provider", TERRAFORM, source, provider["version"], "terraform init")


def _charts(environment: Environment) -> Iterator[Item]:
    for controller, chart in installed(environment).items():
        host, _, path = chart.repository.partition("://")[2].partition("/")
        name = f"{path}/{chart.name}" if chart.repository.startswith("oci://") else f"{path}#{chart.name}"
        mirrored = environment.registry.charts is not None and chart.repository.startswith("oci://")
        target = f"{environment.registry.charts}/{chart.name}" if mirrored else None
        yield Item("chart", host, name, chart.version, controller, (), target)


def _controllers(environment: Environment) -> Iterator[Item]:
    for controller, chart in installed(environment).items():
        for upstream, name in _IMAGES[controller]:
            yield _proxied(upstream, name, chart.app, controller)
        if controller == "argo-cd":
            yield _proxied("dockerhub", "library/redis", REDIS, controller)


def _bases() -> Iterator[Item]:
    lock = json.loads((ROOT / "configs" / "images.lock.json").read_text(encoding="utf-8"))
    for name, base in lock["bases"].items():
        used = f"base of images: {name}"
        yield _proxied("dockerhub", base["image"], base["tag"], used, base["digest"] or "")


def _builders(environment: Environment) -> Iterator[Item]:
    """The images that Cloud Build works in, and the scanner's database."""
    if environment.builds.source is None:
        return
    for file in (IMAGES, CONFIGS, CHECKS):
        for value in yaml.safe_load((ROOT / file).read_text(encoding="utf-8"))["substitutions"].values():
            reference, _, digest = value.partition("@")
            first, _, rest = reference.partition("/")
            if "." in first:
                yield Item("image", first, rest, "", file, (digest,))
            else:
                yield _proxied("dockerhub", reference, "", file, digest)
    yield Item("artifact", upstream_host("ghcr"), "aquasecurity/trivy-db", "2", "scripts/cloudbuild/scan")


def _wheels() -> Iterator[Item]:
    for lock in sorted((ROOT / "requirements").glob("*.txt")):
        for name, version, hashes in _PACKAGE.findall(lock.read_text(encoding="utf-8")):
            digests = tuple(sorted(re.findall(r"sha256:[0-9a-f]{64}", hashes)))
            yield Item("wheel", INDEX, name, version, lock.name, digests)
    built = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["build-system"]["requires"]
    for requirement in built:
        name, _, version = requirement.partition(">=")
        yield Item("wheel", INDEX, name, f">={version}", "pyproject.toml, to build")


def _npm() -> Iterator[Item]:
    packages = json.loads((ROOT / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    for place, package in packages.items():
        if place and "integrity" in package:  # the others come inside another's archive
            name = place.rpartition("node_modules/")[2]
            yield Item("npm", NPM, name, package["version"], "package-lock.json", (package["integrity"],))
