"""What a reviewer wants to see change: an environment's resources, counted, with the arguments that matter.

The committed inventories in ``tests/goldens/infra/`` are written by ``make goldens``. They hold no raw dump: a
difference in one of them is a sentence about the environment.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import yaml

from infra.policy.terraform_json import Resource, Terraform, resources

MATTERS: dict[str, tuple[str, ...]] = {
    "google_container_cluster": (
        "location",
        "release_channel.channel",
        "min_master_version",
        "datapath_provider",
        "deletion_protection",
        "private_cluster_config.enable_private_nodes",
        "private_cluster_config.enable_private_endpoint",
        "database_encryption.state",
        "workload_identity_config.workload_pool",
    ),
    "google_container_node_pool": (
        "autoscaling.total_min_node_count",
        "autoscaling.total_max_node_count",
        "node_config.machine_type",
        "node_config.spot",
        "node_config.flex_start",
        "node_config.guest_accelerator.count",
        "node_config.guest_accelerator.type",
        "node_config.taint",
    ),
    "google_compute_subnetwork": ("ip_cidr_range", "secondary_ip_range"),
    "google_storage_bucket": ("name", "versioning.enabled", "force_destroy", "soft_delete_policy", "lifecycle_rule"),
    "google_artifact_registry_repository": ("repository_id", "format", "mode", "docker_config.immutable_tags"),
    "google_secret_manager_secret": ("secret_id",),
    "google_kms_crypto_key": ("name", "rotation_period"),
    "google_service_account": ("account_id",),
    "google_project_iam_member": ("role", "member"),
    "google_storage_bucket_iam_member": ("role", "member"),
    "google_secret_manager_secret_iam_member": ("role", "member"),
    "google_artifact_registry_repository_iam_member": ("role", "member"),
    "google_cloudbuild_trigger": ("name", "filename", "included_files"),
    "google_binary_authorization_policy": ("default_admission_rule", "admission_whitelist_patterns"),
    "google_billing_budget": ("amount.specified_amount.units", "threshold_rules"),
    "helm_release": ("chart", "version", "namespace", "repository"),
}


def inventory(*stacks: tuple[str, Terraform]) -> str:
    """The inventory of an environment's stacks, given as (name, Terraform JSON), as YAML."""
    content: dict[str, Any] = {}
    for name, terraform in stacks:
        by_type: dict[str, list[Resource]] = defaultdict(list)
        for resource in resources(terraform):
            by_type[resource.type].append(resource)
        content[name] = {
            "total": sum(len(found) for found in by_type.values()),
            "resources": {
                kind: {"count": len(found), "protected": sorted(r.name for r in found if r.is_protected)}
                | ({"what": {r.name: _matters(r) for r in found}} if kind in MATTERS else {})
                for kind, found in sorted(by_type.items())
            },
        }
    return yaml.safe_dump(content, sort_keys=False, width=120, allow_unicode=True)


def _matters(resource: Resource) -> dict[str, Any]:
    found = {path: resource.get(path) for path in MATTERS[resource.type]}
    return {path: value for path, value in found.items() if value is not None}
