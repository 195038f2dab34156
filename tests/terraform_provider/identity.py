"""What a resource is called in the cloud, what follows from that, and which changes make it a new resource.

Sources: the pages of the types at registry.terraform.io/providers/hashicorp/google/6.50.0: the ``id`` formats are from
"Attributes Reference", what replaces a resource from "Changing this forces a new resource to be created".
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import json
import re
from typing import Any

from terraform_provider.cloud import RefusedError
from terraform_provider.values import UNKNOWN

DEFAULTS = ("project", "region", "zone", "location")
"""Optional attributes that the google provider fills from its own configuration."""

_REGIONAL = "projects/{project}/regions/{region}"
_LOCATED = "projects/{project}/locations/{location}"
_GLOBAL = "projects/{project}/global"
_FORMATS: dict[str, str] = {
    "google_artifact_registry_repository": _LOCATED + "/repositories/{repository_id}",
    "google_billing_budget": "billingAccounts/{billing_account}/budgets/{display_name}",
    "google_binary_authorization_policy": "projects/{project}",
    "google_cloudbuild_trigger": _LOCATED + "/triggers/{name}",
    "google_cloudbuild_worker_pool": _LOCATED + "/workerPools/{name}",
    "google_compute_firewall": _GLOBAL + "/firewalls/{name}",
    "google_compute_global_address": _GLOBAL + "/addresses/{name}",
    "google_compute_network": _GLOBAL + "/networks/{name}",
    "google_compute_route": _GLOBAL + "/routes/{name}",
    "google_compute_router": _REGIONAL + "/routers/{name}",
    "google_compute_router_nat": "{project}/{region}/{router}/{name}",
    "google_compute_subnetwork": _REGIONAL + "/subnetworks/{name}",
    "google_container_cluster": _LOCATED + "/clusters/{name}",
    "google_container_node_pool": "{project}/{location}/{cluster}/{name}",
    "google_dns_managed_zone": "projects/{project}/managedZones/{name}",
    "google_dns_policy": "projects/{project}/policies/{name}",
    "google_dns_record_set": "projects/{project}/managedZones/{managed_zone}/rrsets/{name}/{type}",
    "google_kms_crypto_key": "{key_ring}/cryptoKeys/{name}",
    "google_kms_key_ring": _LOCATED + "/keyRings/{name}",
    "google_logging_metric": "projects/{project}/metrics/{name}",
    "google_logging_project_bucket_config": "projects/{project}/locations/{location}/buckets/{bucket_id}",
    "google_logging_project_exclusion": "projects/{project}/exclusions/{name}",
    "google_logging_project_sink": "projects/{project}/sinks/{name}",
    "google_project_iam_audit_config": "{project} audit_config {service}",
    "google_project_service": "{project}/{service}",
    "google_secret_manager_secret": "projects/{project}/secrets/{secret_id}",
    "google_service_account": "projects/{project}/serviceAccounts/{account_id}@{project}.iam.gserviceaccount.com",
    "google_service_networking_connection": "{network}:{service}",
    "google_storage_bucket": "{name}",
    "google_storage_managed_folder": "{bucket}/{name}",
    "helm_release": "{namespace}/{name}",
}
FOLLOW_OTHERS = {"effective_labels": "labels", "terraform_labels": "labels", "effective_annotations": "annotations"}
"""Computed attributes that the plan knows from another one."""
_PROVISIONED = "goog-terraform-provisioned"
"""The label that the google provider adds by default since 6.0."""
_CERTIFICATE = base64.b64encode(b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n").decode()

READ_BACK: dict[str, dict[str, Any]] = {
    "google_container_cluster": {"master_auth": [{"cluster_ca_certificate": _CERTIFICATE}]},
}
"""Type -> what a data source finds beside the configuration."""

_UNNAMED = ("google_monitoring_alert_policy", "google_monitoring_notification_channel")
"""Types whose name the cloud gives: an id of digits."""

_FORCES_NEW: dict[str, str] = {
    "google_artifact_registry_repository": "format mode kms_key_name",
    "google_compute_network": "auto_create_subnetworks",
    "google_compute_subnetwork": "network purpose",
    "google_compute_router": "network",
    "google_compute_firewall": "network direction",
    "google_compute_global_address": "address address_type prefix_length purpose network",
    "google_compute_route": "dest_range network priority tags next_hop_gateway next_hop_ip",
    "google_container_cluster": "network subnetwork datapath_provider networking_mode initial_node_count "
    "default_max_pods_per_node enable_autopilot private_cluster_config.master_ipv4_cidr_block "
    "ip_allocation_policy.cluster_secondary_range_name ip_allocation_policy.services_secondary_range_name",
    "google_container_node_pool": "initial_node_count max_pods_per_node placement_policy node_config.spot "
    "node_config.preemptible node_config.flex_start node_config.service_account node_config.oauth_scopes "
    "node_config.reservation_affinity node_config.boot_disk_kms_key node_config.guest_accelerator "
    "node_config.shielded_instance_config node_config.ephemeral_storage_local_ssd_config",
    "google_dns_managed_zone": "dns_name visibility",
    "google_kms_crypto_key": "purpose destroy_scheduled_duration skip_initial_version_creation",
    "google_secret_manager_secret": "replication",
    "google_storage_bucket": "location hierarchical_namespace custom_placement_config enable_object_retention",
}

_COMPUTED: dict[str, str] = {
    "google_artifact_registry_repository.name": "{repository_id}",
    "google_artifact_registry_repository.registry_uri": "{location}-docker.pkg.dev/{project}/{repository_id}",
    "google_compute_subnetwork.gateway_address": "{first_address}",
    "google_container_cluster.master_auth.cluster_ca_certificate": _CERTIFICATE,
    "google_container_cluster.self_link": "https://container.googleapis.com/v1/{id}",
    "google_container_cluster.endpoint": "172.16.0.2",
    "google_container_cluster.master_version": "1.35.1-gke.1000000",
    "google_container_cluster.control_plane_endpoints_config.dns_endpoint_config.endpoint": "gke-{digest}-{number}."
    "{location}.gke.goog",
    "google_container_cluster.private_cluster_config.private_endpoint": "172.16.0.2",
    "google_kms_crypto_key.name": "{name}",
    "google_logging_project_sink.writer_identity": "serviceAccount:service-{number}@gcp-sa-logging.iam."
    "gserviceaccount.com",
    "google_secret_manager_secret.name": "projects/{number}/secrets/{secret_id}",
    "google_service_account.email": "{account_id}@{project}.iam.gserviceaccount.com",
    "google_service_account.member": "serviceAccount:{account_id}@{project}.iam.gserviceaccount.com",
    "google_service_account.name": "{id}",
    "google_storage_bucket.self_link": "https://www.googleapis.com/storage/v1/b/{name}",
    "google_storage_bucket.url": "gs://{name}",
    "google_monitoring_alert_policy.name": "{id}",
    "google_monitoring_notification_channel.name": "{id}",
    # Data sources.
    "google_project.project_id": "{project}",
    "google_project.name": "{project}",
    "google_project.number": "{number}",
    "google_storage_project_service_account.email_address": "service-{number}@gs-project-accounts.iam."
    "gserviceaccount.com",
    "google_storage_project_service_account.member": "serviceAccount:service-{number}@gs-project-accounts.iam."
    "gserviceaccount.com",
    "google_client_config.access_token": "ya29.test",
    # What every type has.
    "project_number": "{number}",
    "numeric_id": "{digits}",
    "unique_id": "{digits}",
    "self_link": "https://www.googleapis.com/compute/v1/{id}",
}
_TIMES = re.compile(r".*_time|time_created|updated|creation_timestamp")
_TIME = "2026-01-01T00:00:00Z"
_ZERO: dict[str, Any] = {"number": 0, "bool": False, "list": [], "set": [], "map": {}, "object": None}


def resource_id(kind: str, values: dict[str, Any]) -> str:
    """The id of a resource whose configuration is known. The same for the same configuration."""
    if kind in _UNNAMED:
        collection = "alertPolicies" if kind.endswith("policy") else "notificationChannels"
        return f"projects/{values['project']}/{collection}/{_digits(kind, values['display_name'])}"
    if kind.endswith("_iam_member"):
        return " ".join(str(values[name]) for name in _iam_identity(values))
    if kind not in _FORMATS:
        raise RefusedError(f"The test provider does not know the id of a {kind}. Fix: a line in {__file__}:_FORMATS")
    return _FORMATS[kind].format_map({**values, "namespace": values.get("namespace") or "default"})


def replaces(kind: str, block: Any) -> tuple[str, ...]:
    """The attributes whose change makes another resource: those of the id, and the documented rest."""
    if kind.endswith("_iam_member"):
        return tuple(each.name for each in block.attributes if each.required or each.optional)
    named = re.findall(r"\{(\w+)\}", _FORMATS.get(kind, ""))
    return (*(() if kind in _UNNAMED else named), *_FORCES_NEW.get(kind, "").split())


def fills(kind: str, path: str) -> bool:
    """Whether the provider or the cloud gives an optional attribute a value when it is not set."""
    return path in ("id", *DEFAULTS) or f"{kind}.{path}" in _COMPUTED


def is_kept(kind: str) -> bool:
    """Whether a data source of this type reads a resource back; the others tell facts of the project."""
    return kind in _FORMATS


def planned(kind: str, path: str, values: dict[str, Any], provider: dict[str, Any]) -> Any:
    """What the plan knows of a computed attribute that is not set: ``UNKNOWN`` for what only the apply can tell."""
    if "." in path:
        return UNKNOWN if f"{kind}.{path}" in _COMPUTED else None
    if path == "location" and kind == "google_cloudbuild_trigger":
        return "global"
    if path in DEFAULTS:
        return provider.get("region" if path == "location" else path)
    if path in FOLLOW_OTHERS:
        own = values.get(FOLLOW_OTHERS[path]) or {}
        if own is UNKNOWN or path == "effective_annotations":
            return own
        return {**(provider.get("default_labels") or {}), _PROVISIONED: "true", **own}
    return UNKNOWN


def computed(kind: str, path: str, cty: bytes, values: dict[str, Any]) -> Any:
    """What the cloud gives a computed attribute; ``values`` are the resource's own, its id included."""
    name = path.rpartition(".")[2]
    template = _COMPUTED.get(f"{kind}.{path}") or _COMPUTED.get(path)
    if template is not None:
        value = template.format_map(_facts(kind, values))
        return int(value) if json.loads(cty) == "number" else value
    if _TIMES.fullmatch(name):
        return _TIME
    declared = json.loads(cty)
    word = declared if isinstance(declared, str) else declared[0]
    return _ZERO.get(word, _digest(kind, values["id"], path))


def _facts(kind: str, values: dict[str, Any]) -> dict[str, Any]:
    facts = {
        **values,
        "digest": _digest(kind, values["id"]),
        "digits": _digits(kind, values["id"]),
        "number": project_number(values.get("project") or ""),
    }
    if values.get("ip_cidr_range"):
        facts["first_address"] = str(next(ipaddress.ip_network(values["ip_cidr_range"]).hosts()))
    return facts


def project_number(project: str) -> str:
    """The number of a project: 12 digits that follow from its id."""
    return _digits("project", project)[:12]


def _iam_identity(values: dict[str, Any]) -> list[str]:
    """The attributes of an ``..._iam_member`` that tell it from others: the resource, the role, the member."""
    parents = [name for name, value in values.items() if value and name not in ("id", "etag", "role", "member")]
    return [*sorted(name for name in parents if isinstance(values[name], str)), "role", "member"]


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def _digits(*parts: str) -> str:
    return str(int(hashlib.sha256("\0".join(parts).encode()).hexdigest(), 16))[:18]
