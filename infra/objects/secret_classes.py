"""SecretProviderClasses of GKE's Secret Manager add-on: what a role's pods mount (docs/decisions/0001-secrets.md)."""

from __future__ import annotations

import json

from infra import names as n
from infra.objects.manifest import Object, manifest, team_namespaces
from infra.settings import Environment


def objects(environment: Environment) -> list[Object]:
    """One SecretProviderClass a team and a role that mounts secrets; each secret is a file of its short name.

    Source of the provider's name and parameters: Google Cloud, "Use Secret Manager add-on with GKE".
    """
    return [
        manifest(
            "secrets-store.csi.x-k8s.io/v1",
            "SecretProviderClass",
            n.Names(environment).secret_class(role),
            namespace,
            spec={"provider": "gke", "parameters": {"secrets": _secrets(environment, role)}},
        )
        for namespace in team_namespaces(environment).values()
        for role in n.ROLES
        if n.Names(environment).mounted_secrets(role)
    ]


def _secrets(environment: Environment, role: str) -> str:
    """The add-on reads a YAML text here; JSON is YAML."""
    names = n.Names(environment)
    return json.dumps(
        [
            {
                "resourceName": f"projects/{environment.project}/secrets/{names.secret(name)}/versions/latest",
                "path": name,
            }
            for name in names.mounted_secrets(role)
        ]
    )
