"""What a Terraform resource of an environment holds, and so what is lost with it; what is paid for after a destroy.

Types that are missing here hold nothing that an apply would not make again.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Grade(StrEnum):
    """What taking a resource away does."""

    LOSES = "loses"
    """Data is lost for good: no plan may do it."""
    INTERRUPTS = "interrupts"
    """Work stops, and goes on from its last checkpoint once the resource is back."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A type of resource.

    Attributes:
        loses: what happens when the resource is taken away, as the end of a sentence.
        stays: what is still there, and still paid for, after a destroy.
        fix: what to do where a plan would take one away.
    """

    grade: Grade
    loses: str
    stays: str = ""
    fix: str = "keep its arguments as they are, or copy what it holds before and take it out of the state"


_LOSES, _INTERRUPTS = Grade.LOSES, Grade.INTERRUPTS

KINDS: dict[str, Kind] = {
    "google_storage_bucket": Kind(
        _LOSES,
        "its objects are lost: base models, checkpoints and reports of runs, or logs",
        "deleted objects and old versions, until their soft-delete time is over",
        "copy its objects to another bucket first (`gcloud storage cp --recursive`)",
    ),
    "google_storage_bucket_object": Kind(
        _LOSES, "the object is lost", "the deleted object, until its soft-delete time is over"
    ),
    "google_kms_key_ring": Kind(
        _LOSES,
        "Terraform forgets the ring, which Google keeps for ever, and cannot make it again",
        fix="keep its name and location; a ring that was forgotten comes back by `terraform import`",
    ),
    "google_kms_crypto_key": Kind(
        _LOSES,
        "its versions are destroyed, and what it encrypts becomes unreadable: disks, buckets, images, secrets",
        "its versions, until the time in which they can be restored is over",
        "keep its name, ring and purpose; rotation needs no new key",
    ),
    "google_kms_crypto_key_version": Kind(
        _LOSES,
        "what this version encrypts becomes unreadable",
        "the version, until the time in which it can be restored is over",
        "disable the version instead; it can be enabled again",
    ),
    "google_secret_manager_secret": Kind(
        _LOSES,
        "its values are lost; Terraform never knew them and cannot put them back",
        fix="read its value first (`gcloud secrets versions access`), or keep its name and place",
    ),
    "google_secret_manager_secret_version": Kind(
        _LOSES, "this value of the secret is lost", fix="disable the version instead; it can be enabled again"
    ),
    "google_artifact_registry_repository": Kind(
        _LOSES,
        "its images are lost; runs name them by digest, so nothing that stops could start again",
        fix="copy its images to another repository first, or keep its name and place",
    ),
    "google_container_cluster": Kind(
        _LOSES,
        "its runs and endpoints end, and its queue and all other Kubernetes objects are lost",
        fix="wait until no run is left, or change the argument in place where GKE can",
    ),
    "google_compute_disk": Kind(_LOSES, "what is on the disk is lost", "its snapshots"),
    "google_compute_snapshot": Kind(_LOSES, "the snapshot is lost"),
    "google_filestore_instance": Kind(_LOSES, "its files are lost", "its backups"),
    "google_logging_project_bucket_config": Kind(
        _LOSES,
        "its logs are lost seven days later",
        "its logs, for the seven days in which the bucket can be restored",
        "keep its name and place; shorten retention_days instead",
    ),
    "google_project": Kind(_LOSES, "everything in it is lost", fix="never destroy the project from here"),
    "google_container_node_pool": Kind(
        _INTERRUPTS, "the runs on its nodes stop, and go on from their last checkpoint elsewhere"
    ),
    "google_compute_network": Kind(_INTERRUPTS, "the cluster loses every connection"),
    "google_compute_subnetwork": Kind(_INTERRUPTS, "the nodes lose their addresses"),
    "google_service_account": Kind(
        _INTERRUPTS, "its grants are lost: Google does not give them to a new account of the same name"
    ),
    "helm_release": Kind(
        _INTERRUPTS, "custom resources of its types are removed: workflows and workloads that wait or run"
    ),
}
"""Terraform type -> what it holds."""

STATE_STAYS = "scripts/bootstrap made it, so no destroy removes it; delete it last, by hand"
RESERVATION_STAYS = "made outside of Terraform, and billed whether it is used or not"
DISKS_STAY = "Kubernetes made them, so they are in no state: `gcloud compute disks list --filter=-users:*`"
SNAPSHOTS_STAY = "made by people or schedules, so they are in no state: `gcloud compute snapshots list`"
