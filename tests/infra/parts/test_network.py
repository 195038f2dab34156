from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from infra.addresses import GOOGLE_APIS
from infra.bindings import cdktf
from infra.names import Names
from infra.parts import network
from infra.scope import Scope

ENVIRONMENTS = ("dev", "staging", "prod")
GOOGLE_HOSTS = (
    "storage.googleapis.com",
    "secretmanager.googleapis.com",
    "europe-west4-docker.pkg.dev",
    "gke.gcr.io",
    "gke-1234.europe-west4.gke.goog",
)


@pytest.fixture
def resources(environment, synthesize):
    """``resources("dev", egress=...)``: resource type -> id -> attributes."""

    def build(name: str, *, egress: bool | None = None, **changes: Any) -> dict[str, dict[str, Any]]:
        settings = environment(name, **changes)
        if egress is not None:
            settings = settings.model_copy(
                update={"network": settings.network.model_copy(update={"egress": egress})},
            )
        return synthesize(network.add, settings)["resource"]

    return build


def resolve(found: dict[str, dict[str, Any]], host: str) -> list[str]:
    """The addresses that the private zones give a host, the way a resolver looks them up."""
    records = {
        (record["name"], record["type"]): record["rrdatas"] for record in found["google_dns_record_set"].values()
    }
    name = f"{host}."
    if (name, "A") in records:
        return records[name, "A"]
    parents = [".".join(name.split(".")[at:]) for at in range(1, name.count("."))]
    target = next(records[f"*.{parent}", "CNAME"][0] for parent in parents if (f"*.{parent}", "CNAME") in records)
    return records[target, "A"]


def rules(found: dict[str, dict[str, Any]], direction: str, action: str) -> list[dict[str, Any]]:
    return [
        rule for rule in found["google_compute_firewall"].values() if rule["direction"] == direction and action in rule
    ]


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_the_network_has_only_the_subnet_of_the_settings(environment, resources, name):
    found = resources(name)
    settings = environment(name).network
    (vpc,) = found["google_compute_network"].values()
    (subnet,) = found["google_compute_subnetwork"].values()

    assert vpc["auto_create_subnetworks"] is False
    assert subnet["ip_cidr_range"] == str(settings.nodes)
    assert {each["ip_cidr_range"] for each in subnet["secondary_ip_range"]} == {
        str(settings.pods),
        str(settings.services),
    }
    assert subnet["private_ip_google_access"] is True
    assert subnet["log_config"]["flow_sampling"] > 0


def test_the_cluster_gets_ranges_that_the_subnet_has(environment):
    settings = environment("dev")
    stack = cdktf.TerraformStack(cdktf.Testing.app(), "stack")
    added = network.add(Scope(stack, settings, Names(settings)))
    (subnet,) = stack.to_terraform()["resource"]["google_compute_subnetwork"].values()

    ranges = {each["range_name"]: each["ip_cidr_range"] for each in subnet["secondary_ip_range"]}
    assert ranges[added.pods_range] == str(settings.network.pods)
    assert ranges[added.services_range] == str(settings.network.services)


@pytest.mark.parametrize("egress", [True, False])
@pytest.mark.parametrize("host", GOOGLE_HOSTS)
def test_google_apis_are_reached_by_private_addresses_with_and_without_egress(resources, egress, host):
    found = resources("dev", egress=egress)
    routed = [ip_network(route["dest_range"]) for route in found["google_compute_route"].values()]

    addresses = [ip_address(address) for address in resolve(found, host)]
    assert addresses
    for address in addresses:
        assert address in ip_network(GOOGLE_APIS)
        assert any(address in destination for destination in routed)


def test_without_egress_there_is_no_way_to_the_internet(resources):
    found = resources("prod", egress=False)

    assert "google_compute_router_nat" not in found
    assert "google_compute_router" not in found
    assert {route["dest_range"] for route in found["google_compute_route"].values()} == {GOOGLE_APIS}
    (denied,) = rules(found, "EGRESS", "deny")
    assert denied["destination_ranges"] == ["0.0.0.0/0"]
    assert denied["deny"] == [{"protocol": "all"}]
    for rule in rules(found, "EGRESS", "allow"):
        assert rule["priority"] < denied["priority"]
        for destination in rule["destination_ranges"]:
            assert destination == GOOGLE_APIS or ip_network(destination).is_private, rule["name"]


def test_without_egress_artifactory_is_reached_at_its_port_by_a_private_address(environment, resources):
    found = resources("prod", egress=False, artifactory={"url": "https://artifactory.example.com:8443/artifactory"})

    allowed = [
        rule
        for rule in rules(found, "EGRESS", "allow")
        if any("8443" in allow.get("ports", ()) for allow in rule["allow"])
    ]
    (rule,) = allowed
    assert any(ip_address("192.168.7.7") in ip_network(destination) for destination in rule["destination_ranges"])


def test_with_egress_everything_leaves_by_a_nat_that_logs_errors(resources):
    found = resources("dev", egress=True)
    (nat,) = found["google_compute_router_nat"].values()

    assert "0.0.0.0/0" in {route["dest_range"] for route in found["google_compute_route"].values()}
    assert nat["log_config"] == {"enable": True, "filter": "ERRORS_ONLY"}
    assert nat["subnetwork"][0]["source_ip_ranges_to_nat"] == ["ALL_IP_RANGES"]
    assert not (nat["enable_dynamic_port_allocation"] and nat["enable_endpoint_independent_mapping"])
    assert not rules(found, "EGRESS", "deny")


def test_switching_egress_leaves_the_network_and_its_subnet_as_they_are(resources):
    open_, closed = resources("dev", egress=True), resources("dev", egress=False)

    for kind in ("google_compute_network", "google_compute_subnetwork", "google_dns_managed_zone"):
        assert open_[kind] == closed[kind]


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_only_the_control_plane_may_open_a_connection_to_nodes(environment, resources, name):
    found = resources(name)

    for rule in rules(found, "INGRESS", "allow"):
        assert rule["source_ranges"] == [str(environment(name).network.control_plane)]
        assert rule["target_tags"] == [Names(environment(name)).node_tag]
        assert all("22" not in allow["ports"] for allow in rule["allow"])
    (denied,) = rules(found, "INGRESS", "deny")
    assert denied["source_ranges"] == ["0.0.0.0/0"]


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_what_is_refused_and_what_is_asked_is_logged(resources, name):
    found = resources(name)

    assert all(rule["log_config"] for rule in found["google_compute_firewall"].values())
    assert [policy["enable_logging"] for policy in found["google_dns_policy"].values()] == [True]


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_zones_of_google_domains_are_private(resources, name):
    for zone in resources(name)["google_dns_managed_zone"].values():
        assert zone["visibility"] == "private"
        assert zone["private_visibility_config"]["networks"]
