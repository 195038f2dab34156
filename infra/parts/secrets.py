"""Secret Manager: who may read which secret. The values are put there by people and never pass through Terraform."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from infra import names as n
from infra.bindings import google
from infra.parts.encryption import Keys
from infra.parts.identity import Identity
from infra.scope import Scope

DESTROY_AFTER_SECONDS = 7 * 24 * 3600
"""For how long a destroyed version is only disabled, and can be enabled again."""


@dataclass(frozen=True)
class Secrets:
    """The secrets by their name in ``names.SECRETS``."""

    secrets: dict[str, Any]


def add(scope: Scope, keys: Keys, identity: Identity) -> Secrets:
    """Adds the secrets, without versions, and their readers; every read of a value is logged."""
    google.project_iam_audit_config.ProjectIamAuditConfig(
        scope.stack,
        "audit-secrets",
        project=scope.environment.project,
        service="secretmanager.googleapis.com",
        audit_log_config=[{"log_type": "DATA_READ"}, {"log_type": "DATA_WRITE"}],
        depends_on=list(scope.apis),
    )
    secrets = {name: _secret(scope, keys, name) for name in n.SECRETS}
    for name, roles in n.SECRETS.items():
        for team in scope.environment.teams:
            for role in roles:
                google.secret_manager_secret_iam_member.SecretManagerSecretIamMember(
                    scope.stack,
                    f"secret-{name}-{team}-{role}",
                    project=scope.environment.project,
                    secret_id=secrets[name].secret_id,
                    role="roles/secretmanager.secretAccessor",
                    member=identity.principal(team, role),
                )
    if scope.environment.builds.source is not None:
        accounts = {"builder": identity.builder, "submitter": identity.submitter}
        for name, account in n.BUILD_SECRETS.items():
            google.secret_manager_secret_iam_member.SecretManagerSecretIamMember(
                scope.stack,
                f"secret-{name}-{account}",
                project=scope.environment.project,
                secret_id=secrets[name].secret_id,
                role="roles/secretmanager.secretAccessor",
                member=accounts[account].member,
            )
    return Secrets(secrets)


def _secret(scope: Scope, keys: Keys, name: str) -> Any:
    protected = scope.environment.cluster.deletion_protection
    replica = {
        "location": scope.environment.region,
        "customer_managed_encryption": {"kms_key_name": keys.secrets},
    }
    return google.secret_manager_secret.SecretManagerSecret(
        scope.stack,
        f"secret-{name}",
        project=scope.environment.project,
        secret_id=scope.names.secret(name),
        replication={"user_managed": {"replicas": [replica]}},
        version_destroy_ttl=f"{DESTROY_AFTER_SECONDS}s",
        labels=scope.names.labels(),
        # prevent_destroy is gone once the block is taken out of the configuration; this stays in the state.
        deletion_protection=protected,
        lifecycle={"prevent_destroy": protected},
    )
