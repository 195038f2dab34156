from __future__ import annotations

import json
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest

from infra import names as n
from infra import objects
from infra.contract import contract
from infra.objects import queues
from infra.settings import Environment

Read = Callable[..., Environment]
Item = dict[str, Any]


def everything(environment: Environment) -> list[Item]:
    return [*objects.foundation(environment), *objects.gke(environment), *queues.objects(environment)]


def of_kind(environment: Environment, kind: str, namespace: str | None = None) -> list[Item]:
    return [
        item
        for item in everything(environment)
        if item["kind"] == kind and (namespace is None or item["metadata"].get("namespace") == namespace)
    ]


def allowed(environment: Environment, namespace: str, pod: dict[str, str], address: str, port: int) -> bool:
    """Whether a pod with these labels may open a connection to an address outside the cluster."""

    def selects(selector: Item) -> bool:
        return all(
            (pod.get(rule["key"]) in rule["values"]) if rule["operator"] == "In" else rule["key"] in pod
            for rule in selector.get("matchExpressions", [])
        )

    def reaches(peer: Item) -> bool:
        block = peer.get("ipBlock")
        return (
            block is not None
            and IPv4Address(address) in IPv4Network(block["cidr"])
            and not any(IPv4Address(address) in IPv4Network(part) for part in block.get("except", []))
        )

    return any(
        any(item["port"] == port for item in rule["ports"]) and any(map(reaches, rule["to"]))
        for policy in of_kind(environment, "NetworkPolicy", namespace)
        if selects(policy["spec"]["podSelector"])
        for rule in policy["spec"].get("egress", [])
        if "ports" in rule
    )


@pytest.mark.parametrize("name", ["dev", "staging", "prod"])
def test_no_object_is_there_twice(environment: Read, name: str) -> None:
    keys = [
        (item["kind"], item["metadata"].get("namespace"), item["metadata"]["name"])
        for item in everything(environment(name))
    ]
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize("name", ["dev", "staging", "prod"])
def test_every_namespace_is_restricted_and_denies_what_nothing_allows(environment: Read, name: str) -> None:
    chosen = environment(name)
    spaces = of_kind(chosen, "Namespace")
    assert {item["metadata"]["name"] for item in spaces} == {
        *contract(chosen)["controllers"].values(),
        *(team["namespace"] for team in contract(chosen)["teams"].values()),
    }
    for item in spaces:
        assert item["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
        policies = of_kind(chosen, "NetworkPolicy", item["metadata"]["name"])
        assert {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]} in [policy["spec"] for policy in policies]


def test_every_namespace_that_objects_name_exists(environment: Read) -> None:
    chosen = environment("prod")
    spaces = {item["metadata"]["name"] for item in of_kind(chosen, "Namespace")}
    assert {item["metadata"].get("namespace") for item in everything(chosen)} - {None} <= spaces


@pytest.mark.parametrize("name", ["dev", "staging", "prod"])
def test_every_service_account_and_secret_class_of_the_contract_exists(environment: Read, name: str) -> None:
    chosen = environment(name)
    agreed = contract(chosen)
    for team in agreed["teams"].values():
        accounts = {item["metadata"]["name"] for item in of_kind(chosen, "ServiceAccount", team["namespace"])}
        assert accounts == {*agreed["service_accounts"], "default"}
        classes = {item["metadata"]["name"] for item in of_kind(chosen, "SecretProviderClass", team["namespace"])}
        assert classes == set(agreed["secret_classes"].values())


def test_no_account_carries_a_token_that_a_pod_did_not_ask_for(environment: Read) -> None:
    assert all(item["automountServiceAccountToken"] is False for item in of_kind(environment("prod"), "ServiceAccount"))


def test_no_role_of_ours_has_a_wildcard_or_reads_secrets(environment: Read) -> None:
    chosen = environment("prod")
    for role in (*of_kind(chosen, "Role"), *of_kind(chosen, "ClusterRole")):
        for rule in role["rules"]:
            assert "*" not in {*rule["apiGroups"], *rule["resources"], *rule["verbs"]}
            assert "secrets" not in rule["resources"]
            assert not {"escalate", "bind", "impersonate"} & set(rule["verbs"])


def test_cluster_roles_only_read(environment: Read) -> None:
    for role in of_kind(environment("prod"), "ClusterRole"):
        assert all(set(rule["verbs"]) <= {"get", "list", "watch"} for rule in role["rules"])


def test_every_binding_has_its_role_and_somebody(environment: Read) -> None:
    chosen = environment("prod")
    for kind in ("Role", "ClusterRole"):
        roles = {(item["metadata"].get("namespace"), item["metadata"]["name"]) for item in of_kind(chosen, kind)}
        bindings = of_kind(chosen, f"{kind}Binding")
        assert {(item["metadata"].get("namespace"), item["roleRef"]["name"]) for item in bindings} == roles
        assert all(item["subjects"] for item in bindings)


def test_a_team_s_group_is_bound_in_its_own_namespace_only(environment: Read) -> None:
    chosen = environment("prod")
    bound = {
        item["metadata"]["namespace"]
        for item in of_kind(chosen, "RoleBinding")
        for subject in item["subjects"]
        if subject["name"] == "llm-support@example.com"
    }
    assert bound == {"team-support"}


def test_a_role_s_secrets_are_those_that_names_gives_it_and_carry_no_value(environment: Read) -> None:
    chosen = environment("dev").model_copy(update={"optional_secrets": n.OPTIONAL_SECRETS})
    for item in of_kind(chosen, "SecretProviderClass"):
        role = item["metadata"]["name"].removesuffix("-secrets")
        secrets = json.loads(item["spec"]["parameters"]["secrets"])
        assert {secret["path"] for secret in secrets} == {
            name for name, readers in n.SECRETS.items() if role in readers
        }
        assert all(set(secret) == {"resourceName", "path"} for secret in secrets)
        assert all(secret["resourceName"].startswith("projects/example-llm-dev/secrets/") for secret in secrets)


def test_no_pod_mounts_a_secret_that_has_no_value(environment: Read) -> None:
    def mounted(**settings: object) -> dict[str, list[str]]:
        chosen = environment("dev").model_copy(update=settings)
        agreed = contract(chosen)
        found = {
            item["metadata"]["name"]: [each["path"] for each in json.loads(item["spec"]["parameters"]["secrets"])]
            for item in of_kind(chosen, "SecretProviderClass")
        }
        of_contract = {
            name: [
                secret for secret, each in agreed["secrets"].items() if role in each["roles"] and not each["optional"]
            ]
            for role, name in agreed["secret_classes"].items()
        }
        assert found == of_contract
        return found

    needed = {
        "stager-secrets": ["artifactory-token"],
        "publisher-secrets": ["artifactory-token"],
        "server-secrets": ["artifactory-token", "api-keys"],
    }
    assert mounted() == needed
    assert mounted(optional_secrets=("wandb-key",)) == needed | {"trainer-secrets": ["wandb-key"]}
    signed = environment("dev").artifactory.model_copy(update={"signing_keys": "a key"})
    assert mounted(artifactory=signed)["publisher-secrets"] == ["artifactory-token", "signing-key"]


def test_a_team_cannot_hold_more_gpus_than_it_may_ever_borrow(environment: Read) -> None:
    def quota(namespace: str) -> str:
        (item,) = of_kind(environment("prod"), "ResourceQuota", namespace)
        most: str = item["spec"]["hard"]["requests.nvidia.com/gpu"]
        return most

    assert quota("team-support") == "8"
    # 8 + 8 + 8 nodes of one GPU, and 4 + 4 + 4 of two.
    assert quota("team-research") == "48"


def test_every_stage_reaches_google_and_its_own_credentials(environment: Read) -> None:
    for name in ("dev", "prod"):
        chosen = environment(name)
        for stage in n.STAGE_ROLES:
            pod = {n.STAGE_LABEL: stage}
            assert allowed(chosen, "team-research", pod, "199.36.153.9", 443)
            assert allowed(chosen, "team-research", pod, "169.254.169.254", 80)
            assert allowed(chosen, "team-research", pod, "169.254.169.252", 988)
            assert allowed(chosen, "team-research", pod, "169.254.20.10", 53)


def test_a_training_opens_nothing_to_the_outside_where_there_is_no_egress(environment: Read) -> None:
    prod = environment("prod")
    training, fetch = {n.STAGE_LABEL: "train"}, {n.STAGE_LABEL: "fetch"}
    assert not allowed(prod, "team-research", training, "192.168.7.7", 443)
    assert not allowed(prod, "team-research", training, "8.8.8.8", 443)
    # Artifactory is at a private address then, and only the stages that talk to the hub reach it.
    assert allowed(prod, "team-research", fetch, "192.168.7.7", 443)
    assert not allowed(prod, "team-research", fetch, "8.8.8.8", 443)


def test_the_hub_s_port_is_open_and_other_ports_are_not(environment: Read) -> None:
    dev = environment("dev", artifactory={"url": "https://artifactory.example.com:8443/artifactory"})
    fetch = {n.STAGE_LABEL: "fetch"}
    assert allowed(dev, "team-research", fetch, "8.8.8.8", 8443)
    assert not allowed(dev, "team-research", fetch, "8.8.8.8", 22)


def test_no_stage_reaches_another_pod_or_node_by_its_address(environment: Read) -> None:
    dev = environment("dev")
    for stage in n.STAGE_ROLES:
        for network in (dev.network.pods, dev.network.services, dev.network.nodes, dev.network.control_plane):
            assert not allowed(dev, "team-research", {n.STAGE_LABEL: stage}, str(network[5]), 443)


def test_only_argo_s_pods_reach_kubernetes(environment: Read) -> None:
    dev = environment("dev")
    control_plane = str(dev.network.control_plane[2])
    assert allowed(dev, "team-research", {"workflows.argoproj.io/workflow": "run"}, control_plane, 443)
    assert not allowed(dev, "team-research", {n.STAGE_LABEL: "train"}, control_plane, 443)


def test_policies_about_queues_hold_in_every_team_s_namespace(environment: Read) -> None:
    chosen = environment("dev")
    bindings = of_kind(chosen, "ValidatingAdmissionPolicyBinding")
    policies = {item["metadata"]["name"]: item for item in of_kind(chosen, "ValidatingAdmissionPolicy")}
    assert {item["spec"]["policyName"] for item in bindings} == set(policies)
    for item in bindings:
        assert item["spec"]["validationActions"] == ["Deny"]
        (rule,) = item["spec"]["matchResources"]["namespaceSelector"]["matchExpressions"]
        assert rule == {"key": n.TEAM_LABEL, "operator": "Exists"}
    assert all(policy["spec"]["failurePolicy"] == "Fail" for policy in policies.values())
