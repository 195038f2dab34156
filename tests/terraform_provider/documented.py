"""What the provider's documentation allows, as a table: Terraform type -> rules.

Source, unless a line says otherwise: the page of the type at registry.terraform.io/providers/hashicorp/google/6.50.0
(docs/resources/<type without google_>), section Argument Reference. The table holds the types that the stacks use; it
is meant to grow, and never stands in for a validation with the real provider.
"""

from __future__ import annotations

from terraform_provider.rules import AtMostOneOf, Between, Matches, OneOf, Rule, When

_STORAGE_CLASSES = "STANDARD MULTI_REGIONAL REGIONAL NEARLINE COLDLINE ARCHIVE"
_FLOW_METADATA = "EXCLUDE_ALL_METADATA INCLUDE_ALL_METADATA CUSTOM_METADATA"
_AGGREGATION = " ".join(f"INTERVAL_{each}" for each in ("5_SEC", "30_SEC", "1_MIN", "5_MIN", "10_MIN", "15_MIN"))
_COMPARISONS = "COMPARISON_GT COMPARISON_GE COMPARISON_LT COMPARISON_LE COMPARISON_EQ COMPARISON_NE"
_EVALUATIONS = "ALWAYS_ALLOW REQUIRE_ATTESTATION ALWAYS_DENY"
_ENFORCEMENTS = "ENFORCED_BLOCK_AND_AUDIT_LOG DRYRUN_AUDIT_LOG_ONLY"
_DNS_NAME = (r"([a-zA-Z0-9*_-]+\.)+", "a fully qualified name with a trailing dot")
_RFC1035 = (r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", "lower-case letters, digits and dashes, 63 at most")


def _node_config(prefix: str = "node_config") -> tuple[Rule, ...]:
    """The nodes of a cluster and of a node pool; docs/resources/container_cluster, nested block node_config."""
    accelerator = f"{prefix}.guest_accelerator"
    affinity = f"{prefix}.reservation_affinity"
    return (
        OneOf(f"{prefix}.disk_type", "pd-standard pd-balanced pd-ssd hyperdisk-balanced"),
        OneOf(f"{prefix}.taint.effect", "NO_SCHEDULE PREFER_NO_SCHEDULE NO_EXECUTE"),
        OneOf(f"{prefix}.workload_metadata_config.mode", "MODE_UNSPECIFIED GCE_METADATA GKE_METADATA"),
        OneOf(f"{prefix}.secondary_boot_disks.mode", "MODE_UNSPECIFIED CONTAINER_IMAGE_CACHE"),
        OneOf(f"{prefix}.kubelet_config.cpu_manager_policy", "none static"),
        OneOf(f"{prefix}.logging_variant", "DEFAULT MAX_THROUGHPUT"),
        OneOf(
            f"{accelerator}.gpu_driver_installation_config.gpu_driver_version",
            "GPU_DRIVER_VERSION_UNSPECIFIED INSTALLATION_DISABLED DEFAULT LATEST",
        ),
        OneOf(f"{accelerator}.gpu_sharing_config.gpu_sharing_strategy", "TIME_SHARING MPS"),
        OneOf(
            f"{affinity}.consume_reservation_type",
            "UNSPECIFIED NO_RESERVATION ANY_RESERVATION SPECIFIC_RESERVATION",
        ),
        When("consume_reservation_type", "SPECIFIC_RESERVATION", requires="key values", within=affinity),
        # GKE, "Spot VMs" and "Flex-start": a node has one way of being bought.
        AtMostOneOf("spot preemptible flex_start", within=prefix),
        Matches(f"{prefix}.max_run_duration", r"\d+s", "a duration in seconds that ends in s"),
    )


RULES: dict[str, tuple[Rule, ...]] = {
    "google_container_cluster": (
        Matches("name", r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?", "40 lower-case letters, digits and dashes at most"),
        OneOf("release_channel.channel", "UNSPECIFIED RAPID REGULAR STABLE EXTENDED"),
        OneOf("datapath_provider", "DATAPATH_PROVIDER_UNSPECIFIED LEGACY_DATAPATH ADVANCED_DATAPATH"),
        OneOf("networking_mode", "VPC_NATIVE ROUTES"),
        OneOf("network_policy.provider", "PROVIDER_UNSPECIFIED CALICO"),
        OneOf(
            "logging_config.enable_components",
            "SYSTEM_COMPONENTS APISERVER CONTROLLER_MANAGER SCHEDULER WORKLOADS KCP_CONNECTION KCP_SSHD KCP_HPA",
        ),
        OneOf(
            "monitoring_config.enable_components",
            "SYSTEM_COMPONENTS APISERVER SCHEDULER CONTROLLER_MANAGER STORAGE HPA POD DAEMONSET DEPLOYMENT STATEFULSET "
            "KUBELET CADVISOR DCGM JOBSET",
        ),
        OneOf("security_posture_config.mode", "DISABLED BASIC ENTERPRISE"),
        OneOf(
            "security_posture_config.vulnerability_mode",
            "VULNERABILITY_DISABLED VULNERABILITY_BASIC VULNERABILITY_ENTERPRISE",
        ),
        OneOf("binary_authorization.evaluation_mode", "DISABLED PROJECT_SINGLETON_POLICY_ENFORCE"),
        OneOf("database_encryption.state", "ENCRYPTED DECRYPTED"),
        When("state", "ENCRYPTED", requires="key_name", within="database_encryption"),
        OneOf("gateway_api_config.channel", "CHANNEL_DISABLED CHANNEL_EXPERIMENTAL CHANNEL_STANDARD"),
        OneOf("dns_config.cluster_dns", "PROVIDER_UNSPECIFIED PLATFORM_DEFAULT CLOUD_DNS KUBE_DNS"),
        OneOf("dns_config.cluster_dns_scope", "DNS_SCOPE_UNSPECIFIED CLUSTER_SCOPE VPC_SCOPE"),
        OneOf("cluster_autoscaling.autoscaling_profile", "BALANCED OPTIMIZE_UTILIZATION"),
        OneOf(
            "maintenance_policy.maintenance_exclusion.exclusion_options.scope",
            "NO_UPGRADES NO_MINOR_UPGRADES NO_MINOR_OR_NODE_UPGRADES",
        ),
        AtMostOneOf("daily_maintenance_window recurring_window", within="maintenance_policy", exactly=True),
        AtMostOneOf("cluster_ipv4_cidr ip_allocation_policy"),
        AtMostOneOf("cluster_secondary_range_name cluster_ipv4_cidr_block", within="ip_allocation_policy"),
        AtMostOneOf("services_secondary_range_name services_ipv4_cidr_block", within="ip_allocation_policy"),
        AtMostOneOf("enable_autopilot remove_default_node_pool"),
        # GKE, "About GKE Dataplane V2": network policy is always on there, and Calico cannot be.
        When("datapath_provider", "ADVANCED_DATAPATH", forbids="network_policy.enabled"),
        When("remove_default_node_pool", True, requires="initial_node_count"),
        *_node_config(),
    ),
    "google_container_node_pool": (
        Matches("name", r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?", "40 lower-case letters, digits and dashes at most"),
        # "node_count ... should not be used alongside autoscaling"
        AtMostOneOf("node_count autoscaling"),
        AtMostOneOf("min_node_count total_min_node_count", within="autoscaling"),
        AtMostOneOf("max_node_count total_max_node_count", within="autoscaling"),
        OneOf("autoscaling.location_policy", "BALANCED ANY"),
        OneOf("upgrade_settings.strategy", "SURGE BLUE_GREEN SHORT_LIVED"),
        When("strategy", "BLUE_GREEN", requires="blue_green_settings", within="upgrade_settings"),
        OneOf("placement_policy.type", "COMPACT"),
        *_node_config(),
    ),
    "google_storage_bucket": (
        Matches("name", r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]", "3 to 63 lower-case letters, digits, dashes and dots"),
        OneOf("storage_class", _STORAGE_CLASSES),
        OneOf("public_access_prevention", "inherited enforced"),
        OneOf("rpo", "DEFAULT ASYNC_TURBO"),
        OneOf("lifecycle_rule.action.type", "Delete SetStorageClass AbortIncompleteMultipartUpload"),
        OneOf("lifecycle_rule.action.storage_class", _STORAGE_CLASSES),
        When("type", "SetStorageClass", requires="storage_class", within="lifecycle_rule.action"),
        OneOf("lifecycle_rule.condition.with_state", "LIVE ARCHIVED ANY"),
        OneOf("autoclass.terminal_storage_class", "NEARLINE ARCHIVE"),
        Between("soft_delete_policy.retention_duration_seconds", 604800, 7776000, other=(0,)),
        # Cloud Storage, "Hierarchical namespace": it needs uniform access and excludes versioning.
        When(
            "hierarchical_namespace.enabled",
            True,
            requires="uniform_bucket_level_access",
            forbids="versioning.enabled",
        ),
    ),
    "google_storage_managed_folder": (Matches("name", r".+/", "a name that ends in /"),),
    "google_compute_network": (Matches("name", *_RFC1035), OneOf("routing_mode", "REGIONAL GLOBAL")),
    "google_compute_subnetwork": (
        Matches("name", *_RFC1035),
        OneOf("stack_type", "IPV4_ONLY IPV4_IPV6 IPV6_ONLY"),
        OneOf("log_config.aggregation_interval", _AGGREGATION),
        OneOf("log_config.metadata", _FLOW_METADATA),
        Between("log_config.flow_sampling", 0, 1),
    ),
    "google_compute_firewall": (
        Matches("name", *_RFC1035),
        OneOf("direction", "INGRESS EGRESS"),
        OneOf("log_config.metadata", "EXCLUDE_ALL_METADATA INCLUDE_ALL_METADATA"),
        Between("priority", 0, 65535),
        AtMostOneOf("allow deny", exactly=True),
        When("direction", "EGRESS", forbids="source_ranges source_tags source_service_accounts"),
        When("direction", "INGRESS", forbids="destination_ranges"),
        AtMostOneOf("source_tags source_service_accounts"),
        AtMostOneOf("target_tags target_service_accounts"),
    ),
    "google_compute_route": (
        Matches("name", *_RFC1035),
        AtMostOneOf(
            "next_hop_gateway next_hop_instance next_hop_ip next_hop_vpn_tunnel next_hop_ilb",
            exactly=True,
        ),
    ),
    "google_compute_router_nat": (
        OneOf("nat_ip_allocate_option", "MANUAL_ONLY AUTO_ONLY"),
        OneOf(
            "source_subnetwork_ip_ranges_to_nat",
            "ALL_SUBNETWORKS_ALL_IP_RANGES ALL_SUBNETWORKS_ALL_PRIMARY_IP_RANGES LIST_OF_SUBNETWORKS",
        ),
        When("source_subnetwork_ip_ranges_to_nat", "LIST_OF_SUBNETWORKS", requires="subnetwork"),
        When("nat_ip_allocate_option", "AUTO_ONLY", forbids="nat_ips"),
        AtMostOneOf("enable_dynamic_port_allocation enable_endpoint_independent_mapping"),
        OneOf("log_config.filter", "ERRORS_ONLY TRANSLATIONS_ONLY ALL"),
    ),
    "google_compute_global_address": (
        OneOf("address_type", "EXTERNAL INTERNAL"),
        OneOf("purpose", "VPC_PEERING PRIVATE_SERVICE_CONNECT"),
        OneOf("ip_version", "IPV4 IPV6"),
    ),
    "google_dns_managed_zone": (Matches("dns_name", *_DNS_NAME), OneOf("visibility", "private public")),
    "google_dns_record_set": (Matches("name", *_DNS_NAME),),
    "google_kms_crypto_key": (
        OneOf(
            "purpose",
            "ENCRYPT_DECRYPT ASYMMETRIC_SIGN ASYMMETRIC_DECRYPT MAC KEY_ENCAPSULATION RAW_ENCRYPT_DECRYPT",
        ),
        OneOf("version_template.protection_level", "SOFTWARE HSM EXTERNAL EXTERNAL_VPC"),
        # "The period must be at least one day."
        Matches("rotation_period", r"(86[4-9]\d\d|8[7-9]\d{3}|9\d{4}|\d{6,})(\.\d+)?s", "at least 86400s"),
    ),
    "google_secret_manager_secret": (
        Matches("secret_id", r"[A-Za-z0-9_-]{1,255}", "letters, digits, dashes and underscores, 255 at most"),
        AtMostOneOf("auto user_managed", within="replication", exactly=True),
        AtMostOneOf("ttl expire_time"),
    ),
    "google_artifact_registry_repository": (
        OneOf("format", "DOCKER MAVEN NPM APT YUM PYTHON KFP GO GENERIC"),
        OneOf("mode", "STANDARD_REPOSITORY VIRTUAL_REPOSITORY REMOTE_REPOSITORY"),
        OneOf("cleanup_policies.action", "DELETE KEEP"),
        OneOf("cleanup_policies.condition.tag_state", "TAGGED UNTAGGED ANY"),
        AtMostOneOf("condition most_recent_versions", within="cleanup_policies"),
        OneOf("vulnerability_scanning_config.enablement_config", "INHERITED DISABLED"),
        When("mode", "REMOTE_REPOSITORY", requires="remote_repository_config"),
        When("mode", "VIRTUAL_REPOSITORY", requires="virtual_repository_config"),
        AtMostOneOf("remote_repository_config virtual_repository_config"),
    ),
    "google_binary_authorization_policy": (
        OneOf("global_policy_evaluation_mode", "ENABLE DISABLE"),
        OneOf("default_admission_rule.evaluation_mode", _EVALUATIONS),
        OneOf("default_admission_rule.enforcement_mode", _ENFORCEMENTS),
        OneOf("cluster_admission_rules.evaluation_mode", _EVALUATIONS),
        OneOf("cluster_admission_rules.enforcement_mode", _ENFORCEMENTS),
    ),
    "google_cloudbuild_trigger": (
        AtMostOneOf(
            "trigger_template github repository_event_config webhook_config pubsub_config source_to_build",
            exactly=True,
        ),
        AtMostOneOf("filename build git_file_source", exactly=True),
        AtMostOneOf("push pull_request", within="github", exactly=True),
        OneOf(
            "github.pull_request.comment_control",
            "COMMENTS_DISABLED COMMENTS_ENABLED COMMENTS_ENABLED_FOR_EXTERNAL_CONTRIBUTORS_ONLY",
        ),
        OneOf("include_build_logs", "INCLUDE_BUILD_LOGS_UNSPECIFIED INCLUDE_BUILD_LOGS_WITH_STATUS"),
        OneOf("build.options.logging", "LOGGING_UNSPECIFIED LEGACY GCS_ONLY STACKDRIVER_ONLY CLOUD_LOGGING_ONLY NONE"),
    ),
    "google_billing_budget": (
        OneOf("threshold_rules.spend_basis", "CURRENT_SPEND FORECASTED_SPEND"),
        OneOf(
            "budget_filter.credit_types_treatment",
            "INCLUDE_ALL_CREDITS EXCLUDE_ALL_CREDITS INCLUDE_SPECIFIED_CREDITS",
        ),
        AtMostOneOf("specified_amount last_period_amount", within="amount", exactly=True),
    ),
    "google_monitoring_alert_policy": (
        OneOf("combiner", "AND OR AND_WITH_MATCHING_RESOURCE"),
        OneOf("severity", "CRITICAL ERROR WARNING"),
        OneOf("conditions.condition_threshold.comparison", _COMPARISONS),
    ),
    "google_logging_metric": (
        OneOf("metric_descriptor.metric_kind", "DELTA GAUGE CUMULATIVE"),
        OneOf("metric_descriptor.value_type", "BOOL INT64 DOUBLE STRING DISTRIBUTION MONEY"),
        OneOf("metric_descriptor.labels.value_type", "BOOL INT64 STRING"),
    ),
    "google_service_account": (
        Matches("account_id", r"[a-z][-a-z0-9]{4,28}[a-z0-9]", "6 to 30 lower-case letters, digits and dashes"),
    ),
    "google_project_service": (Matches("service", r"[a-z0-9-]+(\.[a-z0-9-]+)+", "the name of a service"),),
    "google_project_iam_audit_config": (OneOf("audit_log_config.log_type", "DATA_READ DATA_WRITE ADMIN_READ"),),
}

IAM_MEMBER: tuple[Rule, ...] = (
    Matches(
        "member",
        r"allUsers|allAuthenticatedUsers|"
        r"(deleted:)?(user|serviceAccount|group|domain|projectOwner|projectEditor|projectViewer):.+|"
        r"principal(Set)?://iam\.googleapis\.com/.+",
        "a principal such as serviceAccount:name@project.iam.gserviceaccount.com",
    ),
)
"""For every ``..._iam_member``."""


def rules(kind: str) -> tuple[Rule, ...]:
    """The rules of a Terraform type."""
    return IAM_MEMBER if kind.endswith("_iam_member") else RULES.get(kind, ())
