"""The CIS Google Kubernetes Engine benchmark (v1.6), control by control.

A control that is ``met`` in the synthesized Terraform carries a check, which a test runs on every environment;
``docs/cis-gke.md`` is made from this table. Titles are in our words; the numbers are the benchmark's. Sections 1 and
2 (control plane) are Google's part; 3 (worker nodes) is Container-Optimized OS, whose files nobody here edits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from infra.policy.terraform_json import Resource, Terraform, resources

Status = Literal["met", "not applicable", "accepted"]
Check = Callable[[Terraform], bool]


@dataclass(frozen=True)
class Control:
    """One control: how it stands, why, and for what Terraform shows, a check of the cluster stack."""

    id: str
    title: str
    status: Status
    how: str
    check: Check | None = None


def _cluster(terraform: Terraform) -> Resource:
    return next(resources(terraform, "google_container_cluster"))


def _pools(terraform: Terraform) -> list[Resource]:
    return list(resources(terraform, "google_container_node_pool"))


def _cluster_has(path: str, value: object) -> Check:
    return lambda terraform: bool(_cluster(terraform).get(path) == value)


def _every_pool(path: str, value: object) -> Check:
    return lambda terraform: all(pool.get(path) == value for pool in _pools(terraform))


def _is_absent_or_false(path: str) -> Check:
    return lambda terraform: not _cluster(terraform).get(path)


def _own_node_account(terraform: Terraform) -> bool:
    accounts = [str(pool.get("node_config.service_account", "")) for pool in _pools(terraform)]
    return all("google_service_account" in account for account in accounts)


def _repaired(terraform: Terraform) -> bool:
    return all(pool.get("management.auto_repair") or pool.get("node_config.flex_start") for pool in _pools(terraform))


def _registry_readers_only(terraform: Terraform) -> bool:
    nodes = [
        member
        for member in resources(terraform, "google_artifact_registry_repository_iam_member")
        if "nodes" in str(member.get("member"))
    ]
    return bool(nodes) and all(member.get("role") == "roles/artifactregistry.reader" for member in nodes)


def _flow_logs(terraform: Terraform) -> bool:
    return all(subnet.get("log_config") for subnet in resources(terraform, "google_compute_subnetwork"))


def _few_registry_users(terraform: Terraform) -> bool:
    members = [
        str(member.get("member")) for member in resources(terraform, "google_artifact_registry_repository_iam_member")
    ]
    return not any(word in member for member in members for word in ("allUsers", "allAuthenticatedUsers", "domain:"))


def _scanned(terraform: Terraform) -> bool:
    apis = {str(api.get("service")) for api in resources(terraform, "google_project_service")}
    return "containerscanning.googleapis.com" in apis


def _deny_by_default(terraform: Terraform) -> bool:
    policy = next(resources(terraform, "google_binary_authorization_policy"))
    evaluated = _cluster(terraform).get("binary_authorization.evaluation_mode")
    return policy.get("default_admission_rule.evaluation_mode") == "ALWAYS_DENY" and evaluated is not None


def _no_open_firewall(terraform: Terraform) -> bool:
    rules = resources(terraform, "google_compute_firewall")
    return not any("0.0.0.0/0" in (rule.get("source_ranges") or ()) and rule.get("allow") for rule in rules)


CONTROLS: tuple[Control, ...] = (
    Control("3.1, 3.2", "Files and flags of the kubelet", "not applicable", "Container-Optimized OS, made by Google"),
    Control(
        "3.2.3 (read-only port)",
        "The kubelet's unauthenticated port is closed",
        "met",
        "kubelet_config of every pool",
        _every_pool("node_config.kubelet_config.insecure_kubelet_readonly_port_enabled", "FALSE"),
    ),
    Control("4.1.1", "cluster-admin only where needed", "met", "nobody is bound to it; tests/infra/objects"),
    Control("4.1.2", "Few may read Kubernetes Secrets", "met", "team roles have no verb on secrets"),
    Control("4.1.3", "No wildcards in Roles", "met", "tests/infra/objects refuse '*'"),
    Control("4.1.4", "Few may create pods", "met", "the runner and the team's own group, in their namespace only"),
    Control("4.1.5, 4.1.6", "Default service accounts are not used", "met", "one account a role, tokens not mounted"),
    Control("4.2.1", "Pod Security admission", "met", "`restricted` is enforced in every team namespace"),
    Control("4.3.1, 4.3.2", "Network policies in every namespace", "met", "default-deny in every team namespace"),
    Control("4.4.1, 4.4.2", "Secrets as files, from an external store", "met", "Secret Manager by CSI"),
    Control("4.5.1", "Image provenance by an admission controller", "met", "Binary Authorization", _deny_by_default),
    Control("4.6.1", "Boundaries by namespaces", "met", "one namespace a team"),
    Control("4.6.2", "seccomp RuntimeDefault", "met", "required by `restricted`"),
    Control("4.6.3", "Security contexts", "met", "required by `restricted`; rendered manifests set them"),
    Control("4.6.4", "The default namespace is not used", "met", "nothing is placed there; tests/infra/objects"),
    Control("5.1.1", "Images are scanned", "met", "Container Scanning API and the build's own gate", _scanned),
    Control("5.1.2", "Few may write images", "met", "the build account alone", _few_registry_users),
    Control("5.1.3", "The cluster only reads images", "met", "reader on the repositories", _registry_readers_only),
    Control("5.1.4", "Only trusted images", "met", "Binary Authorization denies the rest", _deny_by_default),
    Control("5.2.1", "Nodes have an account of their own", "met", "`nodes`, least privilege", _own_node_account),
    Control(
        "5.2.2",
        "Workloads have identities of their own",
        "met",
        "Workload Identity Federation for GKE, one principal a team and role, no keys",
        lambda terraform: bool(_cluster(terraform).get("workload_identity_config.workload_pool")),
    ),
    Control(
        "5.3.1",
        "Kubernetes Secrets are encrypted by a key of ours",
        "met",
        "Cloud KMS",
        _cluster_has("database_encryption.state", "ENCRYPTED"),
    ),
    Control("5.4.1", "No legacy metadata endpoints", "met", "off in every version of GKE that is left"),
    Control(
        "5.4.2",
        "The GKE metadata server",
        "met",
        "workload_metadata_config of every pool",
        _every_pool("node_config.workload_metadata_config.mode", "GKE_METADATA"),
    ),
    Control(
        "5.5.1",
        "Container-Optimized OS with containerd",
        "met",
        "image_type of every pool",
        _every_pool("node_config.image_type", "COS_CONTAINERD"),
    ),
    Control(
        "5.5.2",
        "Nodes are repaired",
        "met",
        "management of every pool but flex-start, whose granted time a repair would lose (GKE asks for it to be off)",
        _repaired,
    ),
    Control(
        "5.5.3", "Nodes are upgraded", "met", "management of every pool", _every_pool("management.auto_upgrade", True)
    ),
    Control(
        "5.5.4",
        "A release channel",
        "met",
        "cluster.release_channel of the environment",
        lambda terraform: _cluster(terraform).get("release_channel.channel") in {"RAPID", "REGULAR", "STABLE"},
    ),
    Control(
        "5.5.5",
        "Shielded nodes",
        "met",
        "enable_shielded_nodes",
        _cluster_has("enable_shielded_nodes", True),
    ),
    Control(
        "5.5.6",
        "Integrity monitoring",
        "met",
        "shielded_instance_config of every pool",
        _every_pool("node_config.shielded_instance_config.enable_integrity_monitoring", True),
    ),
    Control(
        "5.5.7",
        "Secure boot",
        "met",
        "shielded_instance_config of every pool",
        _every_pool("node_config.shielded_instance_config.enable_secure_boot", True),
    ),
    Control("5.6.1", "Flow logs and intranode visibility", "met", "subnetwork and cluster", _flow_logs),
    Control(
        "5.6.2",
        "VPC-native cluster",
        "met",
        "secondary ranges for pods and services",
        lambda terraform: bool(_cluster(terraform).get("ip_allocation_policy.cluster_secondary_range_name")),
    ),
    Control(
        "5.6.3",
        "Authorized networks",
        "met",
        "an empty list admits nobody by address",
        lambda terraform: _cluster(terraform).get("master_authorized_networks_config") is not None,
    ),
    Control(
        "5.6.4",
        "A private endpoint",
        "met",
        "no public address; people come by the DNS endpoint, which asks IAM",
        _cluster_has("private_cluster_config.enable_private_endpoint", True),
    ),
    Control(
        "5.6.5",
        "Private nodes",
        "met",
        "no public addresses",
        _cluster_has("private_cluster_config.enable_private_nodes", True),
    ),
    Control("5.6.6", "Firewall in front of nodes", "met", "nothing is open to everybody", _no_open_firewall),
    Control(
        "5.6.7",
        "Network policies are enforced",
        "met",
        "Dataplane V2",
        _cluster_has("datapath_provider", "ADVANCED_DATAPATH"),
    ),
    Control("5.6.8", "Google-managed certificates", "not applicable", "the company's Gateway decides on certificates"),
    Control(
        "5.7.1",
        "Logging and monitoring",
        "met",
        "system and workload components",
        lambda terraform: bool(
            _cluster(terraform).get("logging_config.enable_components")
            and _cluster(terraform).get("monitoring_config.enable_components")
        ),
    ),
    Control("5.7.2", "auditd on nodes", "accepted", "a privileged DaemonSet would cost more trust than it gives"),
    Control(
        "5.8.1",
        "No client certificates",
        "met",
        "master_auth",
        _cluster_has("master_auth.client_certificate_config.issue_client_certificate", False),
    ),
    Control(
        "5.8.2",
        "People are bound by Google groups",
        "met",
        "authenticator_groups_config when the environment names its security group; otherwise nobody is bound",
    ),
    Control("5.8.3", "No legacy ABAC", "met", "enable_legacy_abac is false", _is_absent_or_false("enable_legacy_abac")),
    Control(
        "5.9.1",
        "Disks of nodes are encrypted by a key of ours",
        "met",
        "boot_disk_kms_key of every pool",
        lambda terraform: all(pool.get("node_config.boot_disk_kms_key") for pool in _pools(terraform)),
    ),
    Control("5.10.1", "No Kubernetes dashboard", "met", "GKE has none"),
    Control(
        "5.10.2",
        "No alpha cluster",
        "met",
        "enable_kubernetes_alpha is false",
        _is_absent_or_false("enable_kubernetes_alpha"),
    ),
    Control(
        "5.10.3",
        "GKE Sandbox for untrusted code",
        "accepted",
        "gVisor supports few GPU set-ups; teams are trusted, images checked",
    ),
    Control("5.10.4", "Binary Authorization", "met", "default deny", _deny_by_default),
    Control(
        "5.10.5",
        "Security posture",
        "met",
        "security_posture_config",
        lambda terraform: _cluster(terraform).get("security_posture_config.mode") in {"BASIC", "ENTERPRISE"},
    ),
)


def table() -> str:
    """The benchmark as a Markdown page."""
    lines = [
        "# CIS benchmark for GKE, control by control",
        "",
        "Made from `infra/policy/cis.py` by `make goldens`. A control with a check is verified on the synthesized",
        "Terraform of every environment by `tests/infra/policy/test_cis.py`. The numbers are those of version 1.6.",
        "",
        "| control | what | status | how or why | checked |",
        "| --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {control.id} | {control.title} | {control.status} | {control.how} | {'yes' if control.check else ''} |"
        for control in CONTROLS
    ]
    return "\n".join(lines) + "\n"
