"""What every node of the cluster has: its identity, its hardening, its disks and its GPUs. Pure: settings to dicts."""

from __future__ import annotations

from typing import Any

from infra.machines import MACHINES
from infra.names import CAPACITY_LABEL, COMPUTE_CLASS_LABEL, POOL_LABEL, SYSTEM_POOL, Names
from infra.settings import Environment
from infra.settings_types import Capacity

FLEX_START_SECONDS = 7 * 24 * 3600
"""The longest that a flex-start node may live. Source: Google Cloud, About flex-start provisioning mode."""


def hardened(names: Names, node_email: str, key: str) -> dict[str, Any]:
    """What no node goes without; ``key`` is the id of the KMS key of its boot disk."""
    return {
        "service_account": node_email,
        # What a node may do is decided by IAM on its account, as Google recommends, not by scopes.
        "oauth_scopes": ["https://www.googleapis.com/auth/cloud-platform"],
        "image_type": "COS_CONTAINERD",
        "boot_disk_kms_key": key,
        "disk_type": "pd-balanced",
        "shielded_instance_config": {"enable_secure_boot": True, "enable_integrity_monitoring": True},
        "workload_metadata_config": {"mode": "GKE_METADATA"},
        "kubelet_config": {"insecure_kubelet_readonly_port_enabled": "FALSE"},
        "metadata": {"disable-legacy-endpoints": "true"},
        "tags": [names.node_tag],
    }


def system(environment: Environment, node_email: str, key: str) -> dict[str, Any]:
    """Nodes of the controllers. They carry no taint: every other pool does, so what tolerates nothing runs here."""
    names = Names(environment)
    return {
        **hardened(names, node_email, key),
        "machine_type": environment.system.machine,
        "disk_size_gb": environment.system.disk_gb,
        "gcfs_config": {"enabled": True},
        "gvnic": {"enabled": True},
        "labels": {POOL_LABEL: SYSTEM_POOL, CAPACITY_LABEL: "on-demand"},
        "resource_labels": {**names.labels(), "pool": SYSTEM_POOL},
    }


def pool(environment: Environment, name: str, capacity: Capacity, node_email: str, key: str) -> dict[str, Any]:
    """Nodes of one pool, bought in one way. The pool's name is its ComputeClass: label and taint say so.

    A spot node gives its pods GKE's 15 s after SIGTERM: the kubelet's shutdown grace period is a field that the
    provider's release 6.50.0, the last with CDKTF bindings, does not know, and Terraform refuses unknown fields.
    """
    settings = environment.pools[name]
    names = Names(environment)
    return {
        **hardened(names, node_email, key),
        "machine_type": settings.machine,
        "disk_size_gb": settings.disk_gb,
        "gcfs_config": {"enabled": True},
        "gvnic": {"enabled": True},
        "labels": {POOL_LABEL: name, CAPACITY_LABEL: capacity, COMPUTE_CLASS_LABEL: name},
        "taint": [{"key": COMPUTE_CLASS_LABEL, "value": name, "effect": "NO_SCHEDULE"}],
        "resource_labels": {**names.labels(), "pool": name, "capacity": capacity},
        **_gpus(settings.machine),
        **_scratch(settings.machine),
        **_preload(settings.preload),
        **_purchase(capacity, settings.reservation),
    }


def _gpus(machine_type: str) -> dict[str, Any]:
    machine = MACHINES[machine_type]
    if machine.accelerator is None:
        return {}
    return {
        "guest_accelerator": [
            {
                "type": machine.accelerator,
                "count": machine.gpus,
                "gpu_driver_installation_config": {"gpu_driver_version": "LATEST"},
            }
        ]
    }


def _scratch(machine_type: str) -> dict[str, Any]:
    disks = MACHINES[machine_type].local_ssds
    return {"ephemeral_storage_local_ssd_config": {"local_ssd_count": disks}} if disks else {}


def _preload(image: str | None) -> dict[str, Any]:
    return {} if image is None else {"secondary_boot_disks": [{"disk_image": image, "mode": "CONTAINER_IMAGE_CACHE"}]}


def _purchase(capacity: Capacity, reservation: str | None) -> dict[str, Any]:
    if capacity == "spot":
        return {"spot": True}
    if capacity == "flex-start":
        return {
            "flex_start": True,
            "max_run_duration": f"{FLEX_START_SECONDS}s",
            # GKE refuses a flex-start pool that could draw on a reservation.
            "reservation_affinity": {"consume_reservation_type": "NO_RESERVATION"},
        }
    if capacity == "reservation" and reservation is not None:
        return {
            "reservation_affinity": {
                "consume_reservation_type": "SPECIFIC_RESERVATION",
                "key": "compute.googleapis.com/reservation-name",
                "values": [reservation],
            }
        }
    return {}
