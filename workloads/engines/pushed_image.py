"""Reads a pushed image back from its registry: only one that is whole there may be written into the lock.

A push sends layers first and the manifest last, but a proxy, a copy or a cleanup can leave a manifest without its
layers. A node finds that out when it pulls; here it is found out before anything names the image.

Source: the OCI Image Format Specification 1.1 (index, manifest, config).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workloads.errors import InputError, UnavailableError, did_you_mean
from workloads.storage.atomic import read_json, write_json

if TYPE_CHECKING:
    from workloads.engines.image_registry import Registries

USER = "10001:10001"
"""The fixed user of tunery's images, which their manifests name too."""
TITLE = "org.opencontainers.image.title"
_REFERENCE = re.compile(r"(?P<host>[a-z0-9.-]+(:\d+)?)/(?P<repository>[a-z0-9._/-]+)@(?P<digest>sha256:[0-9a-f]{64})")
_PUSH = "push it again, and lock it by the digest that the push prints"
_ATTESTATION = "vnd.docker.reference.type"
"""Marks what describes an image (its SBOM, its provenance) among the images of an index."""


@dataclass(frozen=True, slots=True)
class Whole:
    """An image of which the registry has every byte.

    Attributes:
        size: bytes of its config and layers, as they are pulled.
        labels: those of its config.
    """

    repository: str
    digest: str
    size: int
    user: str
    labels: Mapping[str, str]


def read_back(registries: Registries, reference: str) -> Whole:
    """What the registry has of ``HOST/REPOSITORY@sha256:DIGEST``, proven by digests and sizes.

    Raises:
        InputError: the reference names no digest.
        UnavailableError: a part of the image is missing or is not what its digest says.
    """
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise InputError.of(f"{reference!r} names no image by digest.", "write HOST/REPOSITORY@sha256:DIGEST")
    host, repository, digest = match["host"], match["repository"], match["digest"]
    manifests = list(_manifests(registries, host, repository, digest))
    configs: list[Any] = []
    size = 0
    for manifest, described in manifests:
        for part in (manifest["config"], *manifest["layers"]):
            answer = registries.fetch("HEAD", host, repository, f"blobs/{part['digest']}")
            sent = answer.headers.get("Content-Length")
            if answer.status_code != 200 or (sent is not None and int(sent) != part["size"]):
                found = "is missing" if answer.status_code != 200 else f"has {sent} bytes, not {part['size']}"
                raise _torn(reference, f"its part {part['digest']} {found}")
            size += 0 if described else part["size"]
        if not described:
            configs.append(json.loads(_bytes(registries, host, repository, "blobs", manifest["config"]["digest"])))
    if len(configs) != 1:
        raise InputError.of(f"{reference} is {len(configs)} images.", "build for one platform: linux/amd64")
    config = configs[0].get("config", {})
    return Whole(repository, digest, size, config.get("User", ""), config.get("Labels") or {})


def lock(registries: Registries, name: str, reference: str, file: Path) -> Whole:
    """Writes an image's digest into the lock, after the registry has proven to have it.

    Raises:
        InputError: the lock has no such image, or the reference is another image.
        UnavailableError: the registry has not all of it; the lock is as it was.
    """
    content = read_json(file)
    images = content["images"] if isinstance(content, dict) else {}
    if name not in images:
        raise InputError.of(
            f"The lock has no image {name!r}.", f"known: {', '.join(images)}", suggestion=did_you_mean(name, images)
        )
    found = read_back(registries, reference)
    wanted = images[name]["repository"]
    if found.repository.rpartition("/")[2] != wanted:
        raise InputError.of(f"{reference} is not in the repository {wanted}.", f"push it to REGISTRY/{wanted}")
    if found.labels.get(TITLE) != f"tunery-{name}" or found.user != USER:
        said = f"is titled {found.labels.get(TITLE)!r} and works as user {found.user!r}"
        raise InputError.of(f"{reference} {said}.", f"push what images/{name}/Dockerfile makes")
    images[name]["digest"] = found.digest
    write_json(file, content)
    return found


def base_digest(registries: Registries, host: str, repository: str, tag: str) -> str:
    """The digest that a tag means now, of the bytes that were read and not of a header.

    Raises:
        UnavailableError: the registry has no such tag.
    """
    answer = registries.fetch("GET", host, repository, f"manifests/{tag}")
    if answer.status_code != 200:
        raise UnavailableError.of(f"{host} has no {repository}:{tag}.", "see the names in bases of the lock")
    return f"sha256:{hashlib.sha256(answer.content).hexdigest()}"


def _manifests(registries: Registries, host: str, repository: str, digest: str) -> Iterator[tuple[Any, bool]]:
    """The manifests of an image, and of an index all of them; with whether each only describes an image."""
    content = json.loads(_bytes(registries, host, repository, "manifests", digest))
    if "manifests" not in content:
        yield content, False
        return
    for entry in content["manifests"]:
        described = _ATTESTATION in (entry.get("annotations") or {})
        yield json.loads(_bytes(registries, host, repository, "manifests", entry["digest"])), described


def _bytes(registries: Registries, host: str, repository: str, kind: str, digest: str) -> bytes:
    answer = registries.fetch("GET", host, repository, f"{kind}/{digest}")
    reference = f"{host}/{repository}@{digest}"
    if answer.status_code != 200:
        raise _torn(reference, "it is not in the registry")
    if f"sha256:{hashlib.sha256(answer.content).hexdigest()}" != digest:
        raise _torn(reference, "its bytes are not those of its digest")
    return answer.content


def _torn(reference: str, why: str) -> UnavailableError:
    return UnavailableError.of(f"{reference} is not whole: {why}.", _PUSH)
