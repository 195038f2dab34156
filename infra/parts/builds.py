"""Cloud Build: a push builds images, a push of configs submits runs, a pull request is only checked.

The three triggers work as three service accounts, so that code which nobody has reviewed (a pull request) never runs
as one that can write images or reach the cluster. What a trigger does is in a ``cloudbuild.yaml`` of the repository.

The repository's connection to Cloud Build is made once by hand (docs/operations.md): the GitHub app asks a person.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from infra.bindings import google
from infra.parts.network import Network
from infra.scope import Scope

IMAGES = "images/cloudbuild.yaml"
CONFIGS = "configs/cloudbuild.yaml"
CHECKS = "configs/cloudbuild.checks.yaml"

IMAGE_FILES = (
    ".dockerignore",
    "images/**",
    "workloads/**",
    "requirements/**",
    "pyproject.toml",
    "configs/schemas/training.schema.json",
)
"""What goes into an image."""
CONFIG_FILES = ("configs/training/**", "configs/runs/**", "configs/deepspeed/**")
"""What decides a run. The rest of configs/ is generated, or is Terraform's."""

SUBSTITUTIONS: dict[str, tuple[str, ...]] = {
    "images": ("_ENVIRONMENT", "_REGISTRY", "_SEVERITY"),
    "configs": ("_ENVIRONMENT", "_REGISTRY"),
    "checks": ("_ENVIRONMENT",),
}
"""What each trigger passes: exactly what its build file uses. Cloud Build tells of neither too few nor too many."""

PEERING_PREFIX = 24
"""Addresses of the private pool: /24 is what Cloud Build takes when nothing is said, enough for 250 builds at once."""


@dataclass(frozen=True)
class Builds:
    """What Cloud Build has of its own; all of it is empty without ``builds.source``."""

    triggers: Sequence[Any] = ()
    checker: Any = None
    pool: Any = None


def add(scope: Scope, builder: Any, submitter: Any, network: Network) -> Builds:
    """Adds triggers, the account of checks, and the private pool when the settings ask for one.

    ``builder`` and ``submitter`` are resources of Google service accounts.
    """
    settings = scope.environment.builds
    if settings.source is None:
        return Builds()
    checker = google.service_account.ServiceAccount(
        scope.stack,
        "account-checker",
        account_id=scope.names.google_account("checker"),
        display_name="checks of pull requests: writes its own log, nothing else",
        depends_on=list(scope.apis),
    )
    # Cloud Logging and not a bucket: writing build logs to a bucket takes the right to read all of it.
    for role, account in {"builder": builder, "submitter": submitter, "checker": checker}.items():
        _grant(scope, f"builds-log-{role}", "roles/logging.logWriter", account)
    pool = _private_pool(scope, network.network) if settings.private_pool else None
    if pool is not None:
        for role, account in {"builder": builder, "submitter": submitter}.items():
            _grant(scope, f"builds-pool-{role}", "roles/cloudbuild.workerPoolUser", account)
    github = {"owner": settings.source.owner, "name": settings.source.repository}
    branch = exactly(settings.source.branch)
    pushed = {**github, "push": {"branch": branch}}
    # A fork's code runs after one of the owners has commented /gcbrun.
    comments = "COMMENTS_ENABLED_FOR_EXTERNAL_CONTRIBUTORS_ONLY"
    proposed = {**github, "pull_request": {"branch": branch, "comment_control": comments}}
    return Builds(
        triggers=(
            _trigger(scope, "images", "builds images", builder, IMAGES, pushed, IMAGE_FILES, pool),
            _trigger(scope, "configs", "checks and submits runs", submitter, CONFIGS, pushed, CONFIG_FILES, pool),
            # Never in the private pool: what a stranger proposes does not run inside the network.
            _trigger(scope, "checks", "checks a pull request", checker, CHECKS, proposed),
        ),
        checker=checker,
        pool=pool,
    )


def exactly(branch: str) -> str:
    """The RE2 expression that matches one branch and no other."""
    return f"^{branch.replace('.', '[.]')}$"


def private_file(filename: str) -> str:
    """The build file for the private pool: the same steps with ``options.pool.name: ${_POOL}``.

    A file of its own, because Cloud Build refuses an empty pool name: one file cannot serve both.
    """
    return filename.replace("cloudbuild.yaml", "cloudbuild.private.yaml")


def _trigger(
    scope: Scope,
    name: str,
    description: str,
    account: Any,
    filename: str,
    github: dict[str, Any],
    files: Sequence[str] = (),
    pool: Any = None,
) -> Any:
    environment, names, settings = scope.environment, scope.names, scope.environment.builds
    values = {
        "_ENVIRONMENT": environment.name,
        "_REGISTRY": names.registry,
        "_SEVERITY": settings.severity,
    }
    substitutions = {key: values[key] for key in SUBSTITUTIONS[name]}
    if pool is not None:
        substitutions["_POOL"] = pool.id
    return google.cloudbuild_trigger.CloudbuildTrigger(
        scope.stack,
        f"trigger-{name}",
        name=f"{names.prefix}-{name}",
        description=description,
        location=environment.region,
        github=github,
        filename=filename if pool is None else private_file(filename),
        included_files=list(files) or None,
        service_account=account.id,
        substitutions=substitutions,
        include_build_logs="INCLUDE_BUILD_LOGS_WITH_STATUS",
        approval_config={"approval_required": settings.approval and "push" in github},
        tags=[names.env, name],
    )


def _private_pool(scope: Scope, network: Any) -> Any:
    """Workers without public addresses, peered with the network: a site lets them out through its own gateway."""
    addresses = google.compute_global_address.ComputeGlobalAddress(
        scope.stack,
        "builds-range",
        name=f"{scope.names.prefix}-builds",
        purpose="VPC_PEERING",
        address_type="INTERNAL",
        prefix_length=PEERING_PREFIX,
        network=network.id,
        labels=scope.names.labels(),
    )
    peering = google.service_networking_connection.ServiceNetworkingConnection(
        scope.stack,
        "builds-peering",
        network=network.id,
        service="servicenetworking.googleapis.com",
        reserved_peering_ranges=[addresses.name],
    )
    return google.cloudbuild_worker_pool.CloudbuildWorkerPool(
        scope.stack,
        "builds-pool",
        name=scope.names.prefix,
        location=scope.environment.region,
        worker_config={"machine_type": scope.environment.builds.machine, "disk_size_gb": 200, "no_external_ip": True},
        network_config={"peered_network": network.id, "peered_network_ip_range": f"/{PEERING_PREFIX}"},
        depends_on=[peering],
    )


def _grant(scope: Scope, id_: str, role: str, account: Any) -> None:
    google.project_iam_member.ProjectIamMember(
        scope.stack, id_, project=scope.environment.project, role=role, member=account.member
    )
