"""Which image a pod runs: by digest from ``configs/images.lock.json``, or as a local cluster's contract names it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from workloads.errors import InputError, Problem
from workloads.platform import Platform
from workloads.runtime import image_lock
from workloads.storage.atomic import read_json

IMAGES = ("stager", "trainer", "server")
"""The images that the stages of a run are made of."""

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_BUILD = "build the images: Cloud Build does it on a push to the main branch and writes their digests into this file"


def references(platform: Platform, lock: Path | None = None, names: Sequence[str] = IMAGES) -> dict[str, str]:
    """Image name -> the reference that manifests carry.

    Raises:
        InputError: with every image that has no digest yet, or no reference in a local contract.
    """
    if platform.local is not None:
        return _local(platform.environment, platform.local.images, names)
    file = image_lock() if lock is None else lock
    known = _read(file)
    found: dict[str, str] = {}
    problems: list[Problem] = []
    for name in names:
        entry = known.get(name)
        entry = entry if isinstance(entry, dict) else {}
        repository, digest = entry.get("repository"), entry.get("digest")
        if isinstance(repository, str) and isinstance(digest, str) and _DIGEST.fullmatch(digest):
            found[name] = f"{platform.registry}/{repository}@{digest}"
        else:
            said = "has no digest yet" if digest is None else f"has {digest!r}, which is no digest"
            problems.append(Problem(f"The image {name} {said}.", _BUILD, str(file), f"images.{name}.digest"))
    if problems:
        raise InputError(problems)
    return found


def _local(environment: str, given: Mapping[str, str], names: Sequence[str]) -> dict[str, str]:
    missing = [name for name in names if name not in given]
    if missing:
        raise InputError.of(
            f"The local environment {environment} names no image for {', '.join(missing)}.",
            "add them to local.images of its contract, as the nodes know them",
            file=f"{environment}.json",
            key="local.images",
        )
    return {name: given[name] for name in names}


def _read(file: Path) -> dict[str, Any]:
    value = read_json(file)
    images = value.get("images") if isinstance(value, dict) else None
    if not isinstance(images, dict):
        raise InputError.of(
            "There is no list of images here.",
            "take configs/images.lock.json of the repository, run tunery in its folder, or set TUNERY_IMAGES",
            file=file,
            key="images",
        )
    return images
