"""The Google APIs that an environment calls."""

from __future__ import annotations

from typing import Any

from infra.bindings import google
from infra.scope import Scope

SERVICES: tuple[str, ...] = (
    "artifactregistry",
    "binaryauthorization",
    "cloudbuild",
    "cloudkms",
    "cloudresourcemanager",
    "compute",
    "container",
    "containeranalysis",
    "containerscanning",
    "dns",
    "iam",
    "iamcredentials",
    "logging",
    "monitoring",
    "secretmanager",
    "storage",
)
"""What every environment needs; the short names, without ``.googleapis.com``."""


def add(scope: Scope) -> tuple[Any, ...]:
    """Switches the APIs on and returns their resources, for others to depend on.

    ``serviceusage`` and ``cloudresourcemanager`` must be on before: Terraform calls them to switch the others on. They
    stay on after a destroy, since something else in the project may call them.
    """
    services = list(SERVICES)
    if scope.environment.budget is not None:
        services.append("billingbudgets")
    if scope.environment.builds.private_pool:
        services.append("servicenetworking")
    return tuple(
        google.project_service.ProjectService(
            scope.stack,
            f"api-{service}",
            project=scope.environment.project,
            service=f"{service}.googleapis.com",
            disable_on_destroy=False,
        )
        for service in services
    )
