"""Binary Authorization: the cluster starts images of this environment's registries, and no others.

The rule is the origin of an image, not a signature. Only the builder's account writes to the registry, so an image
there was built by Cloud Build; the repositories beside it proxy the controllers' upstream registries, whose images
carry no attestation of ours; and Cloud Build's own attestor exists only after a first build, so a new environment
could not start. Digests are the manifests' business: an allowlist pattern cannot ask for one.

It is enforced in every environment: one that only logs would let a wrong image pass until production.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from infra import names as n
from infra.bindings import google
from infra.scope import Scope


@dataclass(frozen=True)
class Attestation:
    """The project's policy; a project has exactly one."""

    policy: Any


def add(scope: Scope) -> Attestation:
    """Adds the policy: the own repository, and where the controllers' images come from (mirror or proxies)."""
    registries = dict.fromkeys([scope.names.registry, *map(scope.names.image_host, n.UPSTREAMS)])
    return Attestation(
        google.binary_authorization_policy.BinaryAuthorizationPolicy(
            scope.stack,
            "attestation-policy",
            description=f"Images of the registries of {scope.names.prefix}, and what GKE itself brings.",
            # `**` also matches slashes; the slash before it keeps gke-llm-other from passing as gke-llm.
            admission_whitelist_patterns=[{"name_pattern": f"{registry}/**"} for registry in registries],
            # Google's own list of GKE's system images; without it no node becomes ready.
            global_policy_evaluation_mode="ENABLE",
            default_admission_rule={
                "evaluation_mode": "ALWAYS_DENY",
                "enforcement_mode": "ENFORCED_BLOCK_AND_AUDIT_LOG",
            },
            depends_on=list(scope.apis),
        )
    )
