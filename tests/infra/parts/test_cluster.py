from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.parts import cluster, network
from infra.scope import Scope
from infra.settings import Maintenance

ENVIRONMENTS = ("dev", "staging", "prod")
NODES = "tunery-nodes@example.iam.gserviceaccount.com"
KEY = "projects/example/locations/europe-west4/keyRings/tunery/cryptoKeys/cluster"


@pytest.fixture
def gke(environment, synthesize):
    """``gke("dev", cluster=...)``: the attributes of the cluster."""

    def add(scope: Scope) -> cluster.Cluster:
        return cluster.add(scope, network.add(scope), NODES, KEY)

    def build(name: str, **changes: Any) -> dict[str, Any]:
        (found,) = synthesize(add, environment(name, **changes))["resource"]["google_container_cluster"].values()
        return found

    return build


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_nodes_and_the_control_planes_address_are_private(environment, gke, name):
    found = gke(name)
    authorized = found["master_authorized_networks_config"]

    assert found["private_cluster_config"]["enable_private_nodes"] is True
    assert found["private_cluster_config"]["enable_private_endpoint"] is True
    assert found["private_cluster_config"]["master_ipv4_cidr_block"] == str(environment(name).network.control_plane)
    assert [block["cidr_block"] for block in authorized.get("cidr_blocks", [])] == [
        str(allowed.cidr) for allowed in environment(name).network.authorized
    ]
    assert authorized["private_endpoint_enforcement_enabled"] is True
    assert authorized["gcp_public_cidrs_access_enabled"] is False


def test_people_come_by_the_dns_endpoint(gke):
    assert gke("dev")["control_plane_endpoints_config"]["dns_endpoint_config"]["allow_external_traffic"] is True


def test_secrets_and_the_disks_of_nodes_are_encrypted_by_the_key_that_was_given(gke):
    found = gke("dev")

    assert found["database_encryption"] == {"state": "ENCRYPTED", "key_name": KEY}
    assert found["node_config"]["boot_disk_kms_key"] == KEY


def test_not_even_the_first_pool_runs_as_the_default_service_account(gke):
    assert gke("dev")["node_config"]["service_account"] == NODES
    assert gke("dev")["remove_default_node_pool"] is True


@pytest.mark.parametrize(
    "path",
    [
        "enable_legacy_abac",
        "master_auth.client_certificate_config.issue_client_certificate",
        "rbac_binding_config.enable_insecure_binding_system_authenticated",
        "rbac_binding_config.enable_insecure_binding_system_unauthenticated",
        "service_external_ips_config.enabled",
        "cluster_autoscaling.enabled",
    ],
)
def test_what_opens_a_cluster_is_off(gke, path):
    value: Any = gke("prod")
    for key in path.split("."):
        value = value[key]
    assert value is False


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_pods_have_identities_and_images_are_admitted_by_policy(environment, gke, name):
    found = gke(name)

    assert found["workload_identity_config"]["workload_pool"] == f"{environment(name).project}.svc.id.goog"
    assert found["binary_authorization"]["evaluation_mode"] == "PROJECT_SINGLETON_POLICY_ENFORCE"
    assert found["enable_shielded_nodes"] is True
    assert found["datapath_provider"] == "ADVANCED_DATAPATH"
    # The add-on and Dataplane V2 exclude one another.
    assert found["addons_config"]["network_policy_config"]["disabled"] is True


@pytest.mark.parametrize("addon", ["gcs_fuse_csi_driver_config", "gce_persistent_disk_csi_driver_config"])
def test_volumes_that_runs_mount_have_their_driver(gke, addon):
    assert gke("dev")["addons_config"][addon]["enabled"] is True


def test_secrets_are_mounted_from_secret_manager_and_images_stream(gke):
    found = gke("dev")

    assert found["secret_manager_config"]["enabled"] is True
    assert found["node_pool_defaults"]["node_config_defaults"]["gcfs_config"]["enabled"] is True


@pytest.mark.parametrize("component", ["DCGM", "POD", "JOBSET", "SYSTEM_COMPONENTS"])
def test_metrics_that_alert_policies_read_are_collected(gke, component):
    monitoring = gke("dev")["monitoring_config"]

    assert component in monitoring["enable_components"]
    assert monitoring["managed_prometheus"]["enabled"] is True


@pytest.mark.parametrize("protected", [True, False])
def test_deletion_protection_is_that_of_the_settings_in_terraform_and_in_gke(gke, protected):
    found = gke("dev", cluster={"deletion_protection": protected})

    assert found["deletion_protection"] is protected
    assert found["lifecycle"]["prevent_destroy"] is protected


def test_a_change_of_the_removed_pool_does_not_replace_the_cluster(gke):
    assert {"node_config", "initial_node_count"} <= set(gke("dev")["lifecycle"]["ignore_changes"])


def test_nodes_start_only_when_they_can_reach_google(gke):
    waits_for = {address.split(".")[0] for address in gke("prod")["depends_on"]}

    assert {"google_compute_route", "google_dns_record_set", "google_compute_firewall"} <= waits_for


def test_nodes_of_a_network_with_egress_wait_for_the_nat(gke):
    assert "google_compute_router_nat.nat" in gke("dev")["depends_on"]


def test_teams_groups_bring_google_groups_for_rbac(gke):
    assert gke("prod")["authenticator_groups_config"] == {"security_group": "gke-security-groups@example.com"}
    assert "authenticator_groups_config" not in gke("dev")


def test_the_version_is_named_only_when_the_settings_do(gke):
    assert gke("prod")["min_master_version"] == "1.35"
    assert "min_master_version" not in gke("dev")
    assert gke("prod")["release_channel"]["channel"] == "STABLE"


def test_an_exclusion_holds_until_the_end_of_its_last_day(gke):
    (exclusion,) = gke("prod")["maintenance_policy"]["maintenance_exclusion"]

    assert exclusion["start_time"] == "2026-12-18T00:00:00Z"
    assert exclusion["end_time"] == "2027-01-05T00:00:00Z"
    assert exclusion["exclusion_options"]["scope"] == "NO_MINOR_OR_NODE_UPGRADES"


@given(
    days=st.lists(st.sampled_from(cluster.DAYS), min_size=1, unique=True),
    hour=st.integers(0, 23),
    minute=st.integers(0, 59),
    hours=st.integers(4, 24),
)
def test_the_maintenance_window_starts_on_its_first_day_and_lasts_its_hours(days, hour, minute, hours):
    settings = Maintenance(start=f"{hour:02}:{minute:02}", hours=hours, days=tuple(days))
    window = cluster.maintenance_policy(settings)["recurring_window"]
    start, end = (datetime.fromisoformat(window[key]) for key in ("start_time", "end_time"))

    assert start.tzinfo == UTC
    assert (start.hour, start.minute) == (hour, minute)
    assert cluster.DAYS[start.weekday()] in days
    assert end - start == timedelta(hours=hours)
    assert window["recurrence"] == f"FREQ=WEEKLY;BYDAY={','.join(days)}"
