"""A kubeconfig for the account that this machine works as, where neither gcloud nor its plugin is installed.

The control plane is reached by its DNS endpoint, whose certificate is a public one and which asks IAM who calls.
Source: GKE API v1, ``Cluster.controlPlaneEndpointsConfig.dnsEndpointConfig``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workloads.errors import InputError, UnavailableError

if TYPE_CHECKING:
    import httpx

    from workloads.platform import Platform

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_CLUSTER = "https://container.googleapis.com/v1/projects/{project}/locations/{region}/clusters/{cluster}"
_SECONDS = 30.0


def write_kubeconfig(
    platform: Platform, path: Path, *, token: str | None = None, transport: httpx.BaseTransport | None = None
) -> None:
    """Writes a kubeconfig of an environment's cluster, good for as long as the token in it: an hour at most.

    Args:
        token: an access token; that of the machine's own account when absent.
        transport: httpx's own when absent.

    Raises:
        InputError: the account may not see the cluster, or the cluster has no DNS endpoint.
        UnavailableError: this machine has no account, or Google does not answer.
    """
    import httpx

    address = _CLUSTER.format(project=platform.project, region=platform.region, cluster=platform.cluster)
    token = token or _own_token()
    try:
        with httpx.Client(timeout=_SECONDS, transport=transport) as client:
            answer = client.get(address, headers={"Authorization": f"Bearer {token}"})
    except httpx.HTTPError as error:
        raise UnavailableError.of(f"Google's API of clusters does not answer: {error}.", "try again") from error
    if answer.status_code >= 500:
        raise UnavailableError.of(f"Google's API of clusters answers {answer.status_code}.", "try again")
    if answer.status_code != 200:
        raise InputError.of(
            f"The cluster {platform.cluster} cannot be looked up: Google answers {answer.status_code}.",
            f"deploy cluster-{platform.environment}, which gives the account roles/container.clusterViewer",
        )
    endpoint = _endpoint(answer.json())
    if endpoint is None:
        raise InputError.of(
            f"The cluster {platform.cluster} has no DNS endpoint.", f"deploy cluster-{platform.environment}"
        )
    name = f"gke_{platform.project}_{platform.region}_{platform.cluster}"
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "clusters": [{"name": name, "cluster": {"server": f"https://{endpoint}"}}],
        "users": [{"name": name, "user": {"token": token}}],
    }
    path.touch(mode=0o600)
    path.write_text(json.dumps(config), encoding="utf-8")


def _endpoint(cluster: Any) -> str | None:
    value = cluster
    for key in ("controlPlaneEndpointsConfig", "dnsEndpointConfig", "endpoint"):
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, str) and value else None


def _own_token() -> str:
    import google.auth
    import google.auth.transport.requests
    from google.auth.exceptions import GoogleAuthError

    try:
        credentials, _ = google.auth.default(scopes=[_SCOPE])
        credentials.refresh(google.auth.transport.requests.Request())  # type: ignore[no-untyped-call]
    except GoogleAuthError as error:
        raise UnavailableError.of(
            f"This machine has no Google account: {error}", "run it in Cloud Build, or log in with gcloud first"
        ) from error
    return str(credentials.token)
