"""From a kubeconfig to the cluster of an environment, and not to any other that happens to be the current one."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from workloads.engines import kubernetes_config
from workloads.engines.cluster_client import Cluster
from workloads.errors import InputError
from workloads.platform import Platform

_GKE = re.compile(r"gke_([^_]+)_([^_]+)_(.+)")
"""How gcloud names the cluster of a context: project, region or zone, cluster."""


def open_cluster(platform: Platform, context: str | None = None, *, patience: float = 0.0) -> Cluster:
    """The API server of an environment.

    Args:
        context: the kubeconfig's context; the current one when None, which must then be seen to be the environment's.
        patience: see :class:`Cluster`.

    Raises:
        InputError: there is no usable kubeconfig, its cluster is another one, or the login has expired.
    """
    try:
        config = kubernetes_config.load()
    except ImportError as error:
        raise InputError.of(
            "The Kubernetes client is not installed.", "install it with: pip install 'tunery[cloud]'"
        ) from error
    wrong = config.ConfigException
    try:
        known, current = config.list_kube_config_contexts()
    except wrong as error:
        raise InputError.of(f"There is no usable kubeconfig: {error}.", _get_credentials(platform)) from error
    chosen = current if context is None else next((each for each in known if each["name"] == context), None)
    if chosen is None:
        names = ", ".join(each["name"] for each in known) or "none"
        raise InputError.of(
            f"The kubeconfig has no context {context!r}." if context else "The kubeconfig has no current context.",
            f"name one of its contexts with --context ({names}), or: {_get_credentials(platform)}",
        )
    _check(platform, chosen, explicit=context is not None)
    with _login_errors() as said:
        try:
            api = config.new_client_from_config(context=chosen["name"])
        except (wrong, OSError, KeyError, TypeError, ValueError) as error:
            raise InputError.of(
                f"The context {chosen['name']} is not usable: {error}.", _get_credentials(platform)
            ) from error
    if said:
        raise InputError.of(
            f"The login of context {chosen['name']} failed: {' '.join(said)[:500]}",
            "log in again (on Google Cloud: gcloud auth login, and gke-gcloud-auth-plugin must be installed)",
        )
    return Cluster(api, chosen["name"], patience)


def _check(platform: Platform, context: dict[str, Any], *, explicit: bool) -> None:
    name, cluster = str(context["name"]), str(context["context"].get("cluster", ""))
    found = _GKE.fullmatch(cluster) or _GKE.fullmatch(name)
    if found is not None:
        project, place, cluster_name = found.groups()
        same = (project, cluster_name) == (platform.project, platform.cluster) and place.startswith(platform.region)
        if same and platform.local is None:
            return
        raise InputError.of(
            f"The context {name} is of {cluster_name} in {project}, {place}, and not of {_named(platform)}.",
            _get_credentials(platform),
        )
    if platform.local is None and not explicit:
        raise InputError.of(
            f"Nothing shows that the current context {name} is of {_named(platform)}.",
            f"{_get_credentials(platform)}; or confirm it with --context {name}",
        )


def _named(platform: Platform) -> str:
    if platform.local is not None:
        return f"the local environment {platform.environment}"
    return f"the environment {platform.environment} ({platform.cluster} in {platform.project}, {platform.region})"


def _get_credentials(platform: Platform) -> str:
    if platform.local is not None:
        return "start the local cluster, and set KUBECONFIG or `kubectl config use-context` to it"
    return (
        f"gcloud container clusters get-credentials {platform.cluster} "
        f"--region {platform.region} --project {platform.project}"
    )


@contextmanager
def _login_errors() -> Iterator[list[str]]:
    """What the client logs as errors while it logs in.

    A login program that fails is only logged there, and the first request would be refused without a reason.
    """
    said: list[str] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    root = logging.getLogger()
    before = root.handlers
    root.handlers = [Collect(level=logging.ERROR)]
    try:
        yield said
    finally:
        root.handlers = before
