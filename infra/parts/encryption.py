"""Cloud KMS: one key for each kind of data, so that taking one away makes exactly that data unreadable.

Only the service agents of Google that encrypt the data may use its key. Those of GKE, Compute Engine and Cloud Storage
exist as soon as their APIs are on. Those of Artifact Registry and Secret Manager do not, and the google provider
cannot make them (``google_project_service_identity`` is in google-beta alone): the bootstrap script does, by
``gcloud beta services identity create``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from infra.bindings import google
from infra.parts.identity import project_number
from infra.scope import Scope

ROTATION_SECONDS = 90 * 24 * 3600
"""The longest period that the CIS benchmark of Google Cloud accepts."""
DESTROY_AFTER_SECONDS = 30 * 24 * 3600
"""For how long a destroyed key version can be restored."""


@dataclass(frozen=True)
class Keys:
    """Ids of the keys.

    Each is read from the grant of its users and not from the key: Google refuses to create what is encrypted by a key
    before its service agent may use it, and so Terraform waits for the grant.
    """

    cluster: str
    """Kubernetes Secrets, and boot disks of nodes."""
    storage: str
    registry: str
    secrets: str


def add(scope: Scope) -> Keys:
    """Adds the key ring, the keys and the grants of their users.

    Cloud KMS never deletes a ring or the name of a key: after a destroy, the next environment of the same name takes
    them over by ``terraform import``.
    """
    ring = google.kms_key_ring.KmsKeyRing(
        scope.stack,
        "key-ring",
        project=scope.environment.project,
        name=scope.names.prefix,
        location=scope.environment.region,
        lifecycle={"prevent_destroy": scope.environment.cluster.deletion_protection},
        depends_on=list(scope.apis),
    )
    number = project_number(scope)
    # Asking Cloud Storage for its agent is what creates it.
    storage = google.data_google_storage_project_service_account.DataGoogleStorageProjectServiceAccount(
        scope.stack, "storage-agent", project=scope.environment.project
    )
    return Keys(
        cluster=_key(
            scope,
            ring,
            "cluster",
            gke=f"service-{number}@container-engine-robot.iam.gserviceaccount.com",
            compute=f"service-{number}@compute-system.iam.gserviceaccount.com",
        ),
        storage=_key(scope, ring, "storage", agent=storage.email_address),
        registry=_key(
            scope, ring, "registry", agent=f"service-{number}@gcp-sa-artifactregistry.iam.gserviceaccount.com"
        ),
        secrets=_key(scope, ring, "secrets", agent=f"service-{number}@gcp-sa-secretmanager.iam.gserviceaccount.com"),
    )


def _key(scope: Scope, ring: Any, purpose: str, **users: str) -> str:
    key = google.kms_crypto_key.KmsCryptoKey(
        scope.stack,
        f"key-{purpose}",
        key_ring=ring.id,
        name=purpose,
        purpose="ENCRYPT_DECRYPT",
        rotation_period=f"{ROTATION_SECONDS}s",
        destroy_scheduled_duration=f"{DESTROY_AFTER_SECONDS}s",
        labels=scope.names.labels(),
        lifecycle={"prevent_destroy": scope.environment.cluster.deletion_protection},
    )
    usable: str = key.id
    for user, email in users.items():
        grant = google.kms_crypto_key_iam_member.KmsCryptoKeyIamMember(
            scope.stack,
            f"key-{purpose}-{user}",
            crypto_key_id=usable,
            role="roles/cloudkms.cryptoKeyEncrypterDecrypter",
            member=f"serviceAccount:{email}",
        )
        usable = grant.crypto_key_id
    return usable
