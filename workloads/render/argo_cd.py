"""A run delivered from git: the Application that makes Argo CD apply a folder, and the list of what is in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from workloads.errors import InputError
from workloads.render.run import ClusterRun

CONTROLLER = "argo-cd"


@dataclass(frozen=True, slots=True)
class GitSource:
    """Where in git the folder is.

    Attributes:
        repository: its URL, without credentials.
        path: the folder, relative to the repository's root.
        revision: a branch, tag or commit.
    """

    repository: str
    path: str
    revision: str = "HEAD"


def kustomization(files: Sequence[str]) -> dict[str, Any]:
    """The kustomization of a folder, so that only the named files are applied."""
    return {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "resources": list(files)}


def application(run: ClusterRun, source: GitSource) -> dict[str, Any]:
    """The Application of a run.

    It neither heals nor prunes: a finished Workflow is removed after its time, and bringing it back would only
    start pods that find everything done.

    Raises:
        InputError: the environment has no Argo CD.
    """
    namespace = run.platform.controllers.get(CONTROLLER)
    if namespace is None:
        raise InputError.of(
            f"The environment {run.platform.environment} has no Argo CD.",
            "operations turn it on with controllers.argo_cd: true; without it, leave out --repository",
            key="controllers.argo-cd",
        )
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Application",
        "metadata": {"name": run.id, "namespace": namespace, "labels": run.labels()},
        "spec": {
            "project": "default",
            "source": {"repoURL": source.repository, "path": source.path, "targetRevision": source.revision},
            "destination": {"server": "https://kubernetes.default.svc", "namespace": run.team.namespace},
            "syncPolicy": {
                "automated": {"prune": False, "selfHeal": False},
                "syncOptions": ["ServerSideApply=true", "ApplyOutOfSyncOnly=true"],
            },
        },
    }
