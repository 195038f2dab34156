"""Artifact Registry: the company's images, proxies of the public registries they build on, and mirrored charts.

Images are in the cluster's region and in repositories of the project, which is what image streaming asks for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from infra import names as n
from infra.bindings import google
from infra.parts.encryption import Keys
from infra.parts.identity import Identity
from infra.scope import Scope

_READ = "roles/artifactregistry.reader"
_WRITE = "roles/artifactregistry.writer"


@dataclass(frozen=True)
class Registry:
    """The repositories; ``remotes`` by their name in ``names.UPSTREAMS``."""

    images: Any
    charts: Any
    remotes: dict[str, Any]


def add(scope: Scope, keys: Keys, identity: Identity) -> Registry:
    """Adds the repositories and the grants of nodes and builds. Charts are for whoever deploys, and nobody else."""
    protected = scope.environment.cluster.deletion_protection
    images = _repository(
        scope,
        keys,
        "images",
        scope.environment.registry.repository,
        "Images that runs and endpoints work from",
        docker_config={"immutable_tags": True},
        vulnerability_scanning_config={"enablement_config": "INHERITED"},
        lifecycle={"prevent_destroy": protected},
    )
    charts = _repository(
        scope,
        keys,
        "charts",
        scope.names.chart_registry,
        "Helm charts, mirrored for an environment without egress",
        docker_config={"immutable_tags": True},
        lifecycle={"prevent_destroy": protected},
    )
    remotes = {
        upstream: _repository(
            scope,
            keys,
            upstream,
            scope.names.remote_registry(upstream),
            f"Proxy of {address}",
            mode="REMOTE_REPOSITORY",
            remote_repository_config={
                "description": f"Proxy of {address}",
                "common_repository": {"uri": address},
            },
        )
        for upstream, address in n.UPSTREAMS.items()
    }
    for name, repository in {"images": images, **remotes}.items():
        _grant(scope, f"registry-{name}-nodes", repository, _READ, identity.nodes)
    for name, repository in remotes.items():
        _grant(scope, f"registry-{name}-builder", repository, _READ, identity.builder)
    _grant(scope, "registry-images-builder", images, _WRITE, identity.builder)
    # It looks up that the digests in a rendered run exist.
    _grant(scope, "registry-images-submitter", images, _READ, identity.submitter)
    return Registry(images, charts, remotes)


def _repository(scope: Scope, keys: Keys, id_: str, name: str, description: str, **kind: Any) -> Any:
    settings = scope.environment.registry
    return google.artifact_registry_repository.ArtifactRegistryRepository(
        scope.stack,
        f"registry-{id_}",
        project=scope.environment.project,
        location=scope.environment.region,
        repository_id=name,
        description=description,
        format="DOCKER",
        kms_key_name=keys.registry,
        cleanup_policies=[
            {
                "id": "keep-recent",
                "action": "KEEP",
                "most_recent_versions": {"keep_count": settings.keep_versions},
            },
            {
                "id": "delete-untagged",
                "action": "DELETE",
                # In seconds: the API answers in seconds, and days would show as a change in every plan.
                "condition": {
                    "tag_state": "UNTAGGED",
                    "older_than": f"{settings.delete_untagged_days * 24 * 3600}s",
                },
            },
        ],
        cleanup_policy_dry_run=False,
        labels=scope.names.labels(),
        **kind,
    )


def _grant(scope: Scope, id_: str, repository: Any, role: str, account: Any) -> None:
    google.artifact_registry_repository_iam_member.ArtifactRegistryRepositoryIamMember(
        scope.stack,
        id_,
        project=scope.environment.project,
        location=scope.environment.region,
        repository=repository.name,
        role=role,
        member=account.member,
    )
