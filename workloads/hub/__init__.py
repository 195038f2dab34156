"""The hub: where models come from and go to, and data sets come from."""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping
from typing import TYPE_CHECKING

from workloads.runtime import (
    ENV_ARTIFACTORY,
    ENV_ARTIFACTORY_MODELS,
    ENV_ARTIFACTORY_PUBLISHED,
    ENV_HUB,
    ENV_SIGNING_PUBLIC_KEY,
    hub_dir,
)

if TYPE_CHECKING:
    from workloads.hub.interface import Hub
    from workloads.platform import Platform


def open_hub(environ: Mapping[str, str] = os.environ, *, allow_pickle: bool = False) -> Hub:
    """The hub that this machine uses: Artifactory when ``TUNERY_ARTIFACTORY_URL`` names it, else a directory.

    Args:
        allow_pickle: also fetch base models whose weights are pickle files; a directory has only what was let in.

    Raises:
        InputError: the variables that name Artifactory's repositories are missing.
    """
    if environ.get(ENV_ARTIFACTORY):
        from workloads.hub.artifactory import ArtifactoryHub

        return ArtifactoryHub.from_environment(environ, allow_pickle=allow_pickle)
    from workloads.hub.directory import DirectoryHub

    return DirectoryHub(hub_dir(environ))


def open_datasets(environ: Mapping[str, str] = os.environ) -> Hub:
    """The data sets of the hub that this machine uses, each with versions as a model has them.

    Raises:
        InputError: as :func:`open_hub`.
    """
    if environ.get(ENV_ARTIFACTORY):
        from workloads.hub.artifactory import ArtifactoryHub

        return ArtifactoryHub.from_environment(environ, kind="datasets")
    from workloads.hub.directory import DirectoryHub

    return DirectoryHub(hub_dir(environ) / "datasets", kind="datasets")


def hub_environment(platform: Platform) -> dict[str, str]:
    """The variables that make :func:`open_hub` open an environment's hub; none for a cluster of one's own."""
    if platform.local is not None:
        return {}
    keys = platform.artifactory.signing_keys
    return {
        ENV_ARTIFACTORY: platform.artifactory.url,
        ENV_ARTIFACTORY_MODELS: platform.artifactory.models,
        ENV_ARTIFACTORY_PUBLISHED: platform.artifactory.published,
        **({} if keys is None else {ENV_SIGNING_PUBLIC_KEY: keys}),
    }


def use_hub_of(platform: Platform, environ: MutableMapping[str, str] = os.environ) -> None:
    """Makes an environment's hub the one of this process, unless the person who started it has named another."""
    if not environ.get(ENV_ARTIFACTORY) and not environ.get(ENV_HUB):
        environ.update(hub_environment(platform))
