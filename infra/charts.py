"""The Helm charts of the controllers: where each comes from, and its exact version.

Versions and sources: the projects' own releases (argo-helm 1.0.14 carries Argo Workflows v4.0.5; argo-cd 9.5.14 carries
Argo CD v3.4.2), read in 2026. Helm checks no digest: a mirror with immutable tags is what pins the bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from infra.objects.manifest import controller_namespaces
from infra.settings import Environment

OBJECTS = str(Path(__file__).parent / "charts_local" / "objects")
"""The project's own chart, which prints Kubernetes objects."""
OBJECTS_VERSION = "1.0.0"


@dataclass(frozen=True, slots=True)
class Chart:
    """``app`` is the tag of the controller's images."""

    name: str
    repository: str
    version: str
    app: str

    def source(self, environment: Environment) -> str:
        """The repository to install from: the environment's mirror, or upstream."""
        return environment.registry.charts or self.repository


CHARTS: dict[str, Chart] = {
    "argo-workflows": Chart("argo-workflows", "https://argoproj.github.io/argo-helm", "1.0.14", "v4.0.5"),
    "jobset": Chart("jobset", "oci://registry.k8s.io/jobset/charts", "0.12.0", "v0.12.0"),
    "kueue": Chart("kueue", "oci://registry.k8s.io/kueue/charts", "0.17.1", "v0.17.1"),
    "keda": Chart("keda", "https://kedacore.github.io/charts", "2.21.1", "2.21.1"),
    "argo-cd": Chart("argo-cd", "https://argoproj.github.io/argo-helm", "9.5.14", "v3.4.2"),
}
"""By the controller's name in ``names.CONTROLLER_NAMESPACES``; in the order in which they are installed."""


def installed(environment: Environment) -> dict[str, Chart]:
    """The charts of the controllers that the environment runs."""
    running = controller_namespaces(environment)
    return {controller: chart for controller, chart in CHARTS.items() if controller in running}
