"""Helm releases of what runs on the cluster: the project's own objects, and the controllers' charts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from infra import charts, objects
from infra import names as n
from infra.bindings import cdktf, helm
from infra.objects import queues
from infra.objects.manifest import Object
from infra.scope import Scope
from infra.values import VALUES

ALWAYS_THERE = "kube-system"
"""Where Helm keeps its record of the release that makes the other namespaces; only administrators read it."""


@dataclass(frozen=True)
class Controllers:
    """The releases, by their Terraform ids."""

    releases: dict[str, Any]


def add(scope: Scope) -> Controllers:
    """Adds the releases in the order in which their kinds come to exist."""
    environment = scope.environment
    platform = n.CONTROLLER_NAMESPACES["platform"]
    # Copied beside the stack's Terraform, so that its path is the same on every machine that deploys.
    chart = cdktf.TerraformAsset(scope.stack, "chart-objects", path=charts.OBJECTS, type=cdktf.AssetType.DIRECTORY).path
    foundation = _objects(scope, chart, "foundation", ALWAYS_THERE, objects.foundation(environment), ())
    gke = _objects(scope, chart, "gke", platform, objects.gke(environment), (foundation,))
    releases = {"foundation": foundation, "gke": gke}
    for controller in charts.installed(environment):
        # Kueue looks for JobSet's kinds when it starts.
        needs = [foundation, *([releases["jobset"]] if controller == "kueue" else [])]
        releases[controller] = _chart(scope, controller, needs)
    releases["queues"] = _objects(scope, chart, "queues", platform, queues.objects(environment), (releases["kueue"],))
    return Controllers(releases)


def _chart(scope: Scope, controller: str, needs: Sequence[Any]) -> Any:
    chart = charts.CHARTS[controller]
    return _release(
        scope,
        controller,
        n.CONTROLLER_NAMESPACES[controller],
        needs,
        chart=chart.name,
        repository=chart.source(scope.environment),
        version=chart.version,
        values=[text(VALUES[controller](scope.environment))],
    )


def _objects(scope: Scope, chart: str, id_: str, namespace: str, carried: list[Object], needs: Sequence[Any]) -> Any:
    return _release(
        scope,
        id_,
        namespace,
        needs,
        chart=chart,
        version=charts.OBJECTS_VERSION,
        values=[text({"objects": carried})],
    )


def _release(scope: Scope, id_: str, namespace: str, needs: Sequence[Any], **source: Any) -> Any:
    return helm.release.Release(
        scope.stack,
        id_,
        name=id_,
        namespace=namespace,
        create_namespace=False,
        # A release that fails is taken back, so that the next deploy starts from what worked.
        atomic=True,
        cleanup_on_fail=True,
        wait=True,
        wait_for_jobs=True,
        timeout=900,
        max_history=10,
        depends_on=list(needs),
        **source,
    )


def text(values: Object) -> str:
    """Values as YAML (of which JSON is a part), with what Terraform would take for a template of its own escaped."""
    return json.dumps(values, sort_keys=True).replace("${", "$${").replace("%{", "%%{")
