"""The "cloud": every resource that was created, in a JSON file that a test may read, and change to make drift."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

FAIL = "TUNERY_FAKE_FAIL"
"""What creating or changing fails for: ``google_container_cluster``, or ``google_container_node_pool/cpu-spot`` for
one name, several with commas."""

Resources = dict[str, dict[str, dict[str, Any]]]
"""Terraform type -> id -> values."""

_SERVICES: dict[str, str] = {
    "google_artifact_registry_": "artifactregistry",
    "google_billing_budget": "billingbudgets",
    "google_binary_authorization_": "binaryauthorization",
    "google_cloudbuild_": "cloudbuild",
    "google_compute_": "compute",
    "google_container_": "container",
    "google_dns_": "dns",
    "google_kms_": "cloudkms",
    "google_logging_": "logging",
    "google_monitoring_": "monitoring",
    "google_secret_manager_": "secretmanager",
    "google_service_account": "iam",
    "google_service_networking_": "servicenetworking",
}
"""What the types of a prefix need to be on: ``SERVICE.googleapis.com``."""

_PARENTS: dict[str, dict[str, str]] = {
    "google_artifact_registry_repository_iam_member": {"repository": "google_artifact_registry_repository"},
    "google_compute_router": {"network": "google_compute_network"},
    "google_compute_router_nat": {"router": "google_compute_router"},
    "google_compute_subnetwork": {"network": "google_compute_network"},
    "google_container_cluster": {"network": "google_compute_network", "subnetwork": "google_compute_subnetwork"},
    "google_container_node_pool": {"cluster": "google_container_cluster"},
    "google_dns_record_set": {"managed_zone": "google_dns_managed_zone"},
    "google_kms_crypto_key": {"key_ring": "google_kms_key_ring"},
    "google_kms_crypto_key_iam_member": {"crypto_key_id": "google_kms_crypto_key"},
    "google_secret_manager_secret_iam_member": {"secret_id": "google_secret_manager_secret"},
    "google_storage_bucket_iam_member": {"bucket": "google_storage_bucket"},
    "google_storage_managed_folder": {"bucket": "google_storage_bucket"},
}
"""Type -> attribute -> the type that it names, which must be there first."""

_PROTECTED_UNLESS_SAID = ("google_container_cluster",)
"""``deletion_protection`` is true when it is not set (provider 5.0 upgrade guide)."""


class RefusedError(Exception):
    """The cloud refused a change; the text is what the person sees."""


class Cloud:
    """The resources of every project. Each change reads and writes the file under a lock: deploys run at once."""

    def __init__(self, file: Path) -> None:
        self._file = file

    @contextmanager
    def _open(self) -> Iterator[Resources]:
        with FileLock(f"{self._file}.lock"):
            resources = self._load()
            yield resources
            partial = self._file.with_suffix(".partial")
            partial.write_text(json.dumps(resources))
            partial.replace(self._file)

    def _load(self) -> Resources:
        resources: Resources = json.loads(self._file.read_bytes()) if self._file.exists() else {}
        return resources

    def read(self, kind: str, identity: str) -> dict[str, Any] | None:
        """A resource, or None."""
        return self._load().get(kind, {}).get(identity)

    def create(self, kind: str, values: dict[str, Any]) -> None:
        """Creates a resource. Raises RefusedError when it is there, its API is off, or what it refers to is missing."""
        _fail(kind, values)
        with self._open() as resources:
            if values["id"] in resources.get(kind, {}):
                raise RefusedError(f"googleapi: Error 409: Resource '{values['id']}' already exists, alreadyExists")
            _require_service(resources, kind, values)
            for attribute, parent in _PARENTS.get(kind, {}).items():
                if values.get(attribute) and not _is_there(resources, parent, values[attribute]):
                    raise RefusedError(f"googleapi: Error 404: {parent} '{values[attribute]}' was not found, notFound")
            resources.setdefault(kind, {})[values["id"]] = values

    def update(self, kind: str, values: dict[str, Any]) -> None:
        """Changes a resource. Raises RefusedError when it is gone."""
        _fail(kind, values)
        with self._open() as resources:
            if values["id"] not in resources.get(kind, {}):
                raise RefusedError(f"googleapi: Error 404: Resource '{values['id']}' was not found, notFound")
            resources[kind][values["id"]] = values

    def delete(self, kind: str, values: dict[str, Any]) -> None:
        """Deletes a resource; one that is gone already is fine. Raises RefusedError when it is protected or in use."""
        if values.get("deletion_protection", kind in _PROTECTED_UNLESS_SAID) in (True, None):
            what = kind.removeprefix("google_").replace("_", " ")
            raise RefusedError(
                f"Cannot destroy {what} because deletion_protection is set to true. Set it to false to proceed with "
                "deletion."
            )
        with self._open() as resources:
            for child, parents in _PARENTS.items():
                for attribute, parent in parents.items():
                    for identity, other in resources.get(child, {}).items():
                        if parent == kind and _names(values, other.get(attribute)):
                            raise RefusedError(
                                f"googleapi: Error 400: The resource '{values['id']}' is already being used by "
                                f"'{identity}', resourceInUseByAnotherResource"
                            )
            resources.get(kind, {}).pop(values["id"], None)


def _fail(kind: str, values: dict[str, Any]) -> None:
    named = kind.partition(" ")[0]
    names = (named, f"{named}/{values.get('name') or values['id']}")
    if any(each in names for each in os.environ.get(FAIL, "").split(",")):
        raise RefusedError(
            f"googleapi: Error 403: Insufficient quota to satisfy the request for '{values['id']}'., forbidden"
        )


def _require_service(resources: Resources, kind: str, values: dict[str, Any]) -> None:
    service = next((name for prefix, name in _SERVICES.items() if kind.startswith(prefix)), None)
    project = values.get("project")
    if service and project and f"{project}/{service}.googleapis.com" not in resources.get("google_project_service", {}):
        raise RefusedError(
            f"googleapi: Error 403: {service}.googleapis.com has not been used in project {project} before or it is "
            "disabled., accessNotConfigured"
        )


def _names(values: dict[str, Any], reference: Any) -> bool:
    """Whether an attribute of another resource refers to this one, as the API allows: by id, address or name."""
    return reference in (values["id"], values["id"].rpartition("/")[2], values.get("self_link"), values.get("name"))


def _is_there(resources: Resources, kind: str, reference: Any) -> bool:
    return any(_names(values, reference) for values in resources.get(kind, {}).values())
