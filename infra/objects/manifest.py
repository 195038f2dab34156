"""The shape that all Kubernetes objects share."""

from __future__ import annotations

from typing import Any

from infra import names as n
from infra.settings import Environment

Object = dict[str, Any]

MANAGED_BY = {"app.kubernetes.io/part-of": "tunery"}


def manifest(
    api_version: str,
    kind: str,
    name: str,
    namespace: str | None = None,
    labels: dict[str, str] | None = None,
    **body: Any,
) -> Object:
    """An object; ``body`` is what stands beside its metadata."""
    metadata: Object = {"name": name}
    if namespace is not None:
        metadata["namespace"] = namespace
    metadata["labels"] = {**MANAGED_BY, **(labels or {})}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **body}


def controller_namespaces(environment: Environment) -> dict[str, str]:
    """Each controller that the environment runs, and its namespace."""
    optional = {"keda": environment.controllers.keda, "argo-cd": environment.controllers.argo_cd}
    return {name: space for name, space in n.CONTROLLER_NAMESPACES.items() if optional.get(name, True)}


def team_namespaces(environment: Environment) -> dict[str, str]:
    """Each team, and its namespace."""
    names = n.Names(environment)
    return {team: names.team_namespace(team) for team in environment.teams}
