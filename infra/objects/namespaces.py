"""Namespaces of the controllers and the teams, all under the Pod Security Standard ``restricted``."""

from __future__ import annotations

from infra import names as n
from infra.objects.manifest import Object, controller_namespaces, manifest, team_namespaces
from infra.settings import Environment

RESTRICTED = {
    f"pod-security.kubernetes.io/{mode}{suffix}": value
    for mode in ("enforce", "audit", "warn")
    for suffix, value in (("", "restricted"), ("-version", "latest"))
}


def objects(environment: Environment) -> list[Object]:
    """One Namespace a controller and a team."""
    return [
        *(
            manifest("v1", "Namespace", namespace, labels=RESTRICTED)
            for namespace in controller_namespaces(environment).values()
        ),
        *(
            manifest("v1", "Namespace", namespace, labels={**RESTRICTED, n.TEAM_LABEL: team})
            for team, namespace in team_namespaces(environment).items()
        ),
    ]
