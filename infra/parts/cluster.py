"""The GKE cluster: private, encrypted by a key of ours, hardened after the CIS benchmark; its node pools are separate.

People and pipelines reach the control plane by its DNS endpoint, where IAM decides; its address is private, and only
``network.authorized`` may use it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from infra.bindings import google
from infra.parts import node_config
from infra.parts.network import Network
from infra.scope import Scope
from infra.settings import Environment, Exclusion, Maintenance

WEEK = date(2026, 1, 5)
"""A Monday: the week in which the first maintenance window lies. A fixed date, so that rendering is pure."""
DAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")

PODS_PER_NODE = 110
"""GKE gives a node a /24 of the pods' range for this many."""

LOGS = (
    "SYSTEM_COMPONENTS",
    "WORKLOADS",
    "APISERVER",
    "CONTROLLER_MANAGER",
    "SCHEDULER",
    "KCP_CONNECTION",
    "KCP_SSHD",
)
METRICS = (
    "SYSTEM_COMPONENTS",
    "APISERVER",
    "CONTROLLER_MANAGER",
    "SCHEDULER",
    "STORAGE",
    "HPA",
    "POD",
    "DAEMONSET",
    "DEPLOYMENT",
    "STATEFULSET",
    "KUBELET",
    "CADVISOR",
    "DCGM",
    "JOBSET",
)
"""DCGM tells what a GPU does, POD which pod waits, JOBSET how runs end: alert policies read them."""


@dataclass(frozen=True)
class Cluster:
    """``cluster`` is the resource; ``key`` is the id of the KMS key for etcd's secrets and the nodes' boot disks."""

    cluster: Any
    key: str


def add(scope: Scope, network: Network, node_email: str, key: Any) -> Cluster:
    """Adds the cluster without nodes. ``key`` is a KMS key's id that GKE's and Compute Engine's agents may use."""
    environment = scope.environment
    settings = environment.cluster
    cluster = google.container_cluster.ContainerCluster(
        scope.stack,
        "cluster",
        name=scope.names.cluster,
        location=environment.region,
        node_locations=list(environment.zones),
        resource_labels=scope.names.labels(),
        deletion_protection=settings.deletion_protection,
        release_channel={"channel": settings.release_channel},
        min_master_version=settings.min_version,
        maintenance_policy=maintenance_policy(settings.maintenance),
        **_networking(environment, network),
        **_security(scope, key),
        **_nodes(scope, node_email, key),
        **_features(),
        depends_on=[*scope.apis, *network.ready],
        lifecycle={
            "prevent_destroy": settings.deletion_protection,
            # They describe the pool that GKE makes first and Terraform removes at once; afterwards the provider reads
            # another pool's there, and a difference would replace the cluster.
            "ignore_changes": ["initial_node_count", "node_config"],
        },
    )
    return Cluster(cluster, key)


def _networking(environment: Environment, network: Network) -> dict[str, Any]:
    authorized = [
        {"cidr_block": str(allowed.cidr), "display_name": allowed.name} for allowed in environment.network.authorized
    ]
    return {
        "network": network.network.id,
        "subnetwork": network.subnet.id,
        "networking_mode": "VPC_NATIVE",
        "ip_allocation_policy": {
            "cluster_secondary_range_name": network.pods_range,
            "services_secondary_range_name": network.services_range,
            "stack_type": "IPV4",
        },
        "default_max_pods_per_node": PODS_PER_NODE,
        # Dataplane V2 enforces NetworkPolicies itself; the older way, which is off, cannot be on beside it.
        "datapath_provider": "ADVANCED_DATAPATH",
        "network_policy": {"enabled": False},
        "enable_intranode_visibility": True,
        "service_external_ips_config": {"enabled": False},
        "private_cluster_config": {
            "enable_private_nodes": True,
            "enable_private_endpoint": True,
            "master_ipv4_cidr_block": str(environment.network.control_plane),
        },
        "control_plane_endpoints_config": {
            "dns_endpoint_config": {"allow_external_traffic": True},
            "ip_endpoints_config": {"enabled": True},
        },
        "master_authorized_networks_config": {
            "cidr_blocks": authorized,
            "gcp_public_cidrs_access_enabled": False,
            "private_endpoint_enforcement_enabled": True,
        },
        "gateway_api_config": {"channel": "CHANNEL_STANDARD"},
    }


def _security(scope: Scope, key: Any) -> dict[str, Any]:
    group = _security_group(scope.environment)
    return {
        "workload_identity_config": {"workload_pool": scope.names.workload_pool},
        "database_encryption": {"state": "ENCRYPTED", "key_name": key},
        "enable_shielded_nodes": True,
        "enable_legacy_abac": False,
        "master_auth": {"client_certificate_config": {"issue_client_certificate": False}},
        "anonymous_authentication_config": {"mode": "LIMITED"},
        "rbac_binding_config": {
            "enable_insecure_binding_system_authenticated": False,
            "enable_insecure_binding_system_unauthenticated": False,
        },
        "binary_authorization": {"evaluation_mode": "PROJECT_SINGLETON_POLICY_ENFORCE"},
        # Google has ended the scanning of running workloads; Artifact Registry scans the images.
        "security_posture_config": {"mode": "BASIC", "vulnerability_mode": "VULNERABILITY_DISABLED"},
        "secret_manager_config": {"enabled": True},
        **({} if group is None else {"authenticator_groups_config": {"security_group": group}}),
    }


def _security_group(environment: Environment) -> str | None:
    """The group that Google Groups for RBAC reads; its name is fixed, its domain is that of the teams' groups."""
    domains = sorted({team.group.rpartition("@")[2] for team in environment.teams.values() if team.group})
    return f"gke-security-groups@{domains[0]}" if domains else None


def _nodes(scope: Scope, node_email: str, key: Any) -> dict[str, Any]:
    return {
        "remove_default_node_pool": True,
        "initial_node_count": 1,
        # The pool lives for a minute, but an organisation's policies refuse one that is not hardened.
        "node_config": node_config.hardened(scope.names, node_email, key),
        "node_pool_defaults": {
            "node_config_defaults": {
                "gcfs_config": {"enabled": True},
                "insecure_kubelet_readonly_port_enabled": "FALSE",
            }
        },
        # No pool is made that the settings do not name; those that they name give up idle nodes early.
        "cluster_autoscaling": {"enabled": False, "autoscaling_profile": "OPTIMIZE_UTILIZATION"},
    }


def _features() -> dict[str, Any]:
    return {
        "addons_config": {
            "gcs_fuse_csi_driver_config": {"enabled": True},
            "gce_persistent_disk_csi_driver_config": {"enabled": True},
            "horizontal_pod_autoscaling": {"disabled": False},
            # Gateways are made by this add-on.
            "http_load_balancing": {"disabled": False},
            "network_policy_config": {"disabled": True},
        },
        # Kueue admits by what pods ask for: nothing changes that afterwards.
        "vertical_pod_autoscaling": {"enabled": False},
        "cost_management_config": {"enabled": True},
        "logging_config": {"enable_components": list(LOGS)},
        "monitoring_config": {
            "enable_components": list(METRICS),
            "managed_prometheus": {"enabled": True},
            "advanced_datapath_observability_config": {"enable_metrics": True, "enable_relay": False},
        },
    }


def maintenance_policy(maintenance: Maintenance) -> dict[str, Any]:
    """GKE's weekly window, in UTC, and the times in which it holds upgrades back."""
    first = WEEK + timedelta(days=min(DAYS.index(day) for day in maintenance.days))
    start = datetime.combine(first, time.fromisoformat(maintenance.start), UTC)
    return {
        "recurring_window": {
            "start_time": _rfc3339(start),
            "end_time": _rfc3339(start + timedelta(hours=maintenance.hours)),
            "recurrence": f"FREQ=WEEKLY;BYDAY={','.join(maintenance.days)}",
        },
        "maintenance_exclusion": [_exclusion(exclusion) for exclusion in maintenance.exclusions],
    }


def _exclusion(exclusion: Exclusion) -> dict[str, Any]:
    start = datetime.combine(exclusion.start, time(), UTC)
    end = datetime.combine(exclusion.end, time(), UTC) + timedelta(days=1)
    return {
        "exclusion_name": exclusion.name,
        "start_time": _rfc3339(start),
        "end_time": _rfc3339(end),
        "exclusion_options": {"scope": exclusion.scope},
    }


def _rfc3339(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
