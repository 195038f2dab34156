from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from infra import charts
from infra import names as n
from infra.objects.manifest import team_namespaces
from infra.settings import Environment
from infra.values import VALUES, argo_cd, kueue

Read = Callable[..., Environment]


def walk(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every value of nested dicts and lists, with its path."""
    yield path, value
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from walk(inner, (*path, str(key)))
    elif isinstance(value, list):
        for inner in value:
            yield from walk(inner, path)


def all_values(environment: Environment) -> dict[str, dict[str, Any]]:
    return {controller: VALUES[controller](environment) for controller in charts.installed(environment)}


def test_every_chart_is_pinned_and_every_controller_has_one() -> None:
    assert set(charts.CHARTS) == set(n.CONTROLLER_NAMESPACES) - {"platform"}
    for chart in charts.CHARTS.values():
        assert re.fullmatch(r"\d+\.\d+\.\d+", chart.version)
        assert chart.repository.startswith(("https://", "oci://"))


def test_optional_controllers_follow_the_settings(environment: Read) -> None:
    assert set(charts.installed(environment("dev"))) == {"argo-workflows", "jobset", "kueue", "keda"}
    without = environment("dev", controllers={"keda": False, "argo_cd": True})
    assert set(charts.installed(without)) == {"argo-workflows", "jobset", "kueue", "argo-cd"}


def test_a_mirror_takes_the_place_of_every_repository(environment: Read) -> None:
    mirrored = environment("dev", registry={"charts": "oci://registry.example.com/charts"})
    assert {chart.source(mirrored) for chart in charts.CHARTS.values()} == {"oci://registry.example.com/charts"}


@pytest.mark.parametrize("mirror", [None, "registry.example.com/mirror"])
def test_no_image_comes_from_the_internet(environment: Read, mirror: str | None) -> None:
    chosen = environment("prod", registry={"images": mirror})
    host = mirror or "europe-west4-docker.pkg.dev/example-llm-prod/gke-llm-"
    for controller, values in all_values(chosen).items():
        found = [
            value for path, value in walk(values) if path[-1:] in [("repository",), ("registry",)] and value is not None
        ]
        assert found, controller
        assert all(value.startswith(host) for value in found), controller


def test_images_have_a_version_and_are_not_pulled_again(environment: Read) -> None:
    for controller, values in all_values(environment("prod")).items():
        tags = {value for path, value in walk(values) if path[-1:] == ("tag",)}
        # Argo CD's chart takes the tag of its own appVersion; its cache has one that a mirror must know.
        assert tags == ({charts.CHARTS[controller].app} if controller != "argo-cd" else {argo_cd.REDIS})
        policies = {value for path, value in walk(values) if path[-1:] in [("pullPolicy",), ("imagePullPolicy",)]}
        assert policies == {"IfNotPresent"}


def test_controllers_run_on_the_system_pool_with_requests_and_a_memory_limit(environment: Read) -> None:
    for controller, values in all_values(environment("prod")).items():
        text = json.dumps(values)
        assert f'"{n.POOL_LABEL}": "{n.SYSTEM_POOL}"' in text, controller
        asked = [value for _, value in walk(values) if isinstance(value, dict) and {"requests", "limits"} <= set(value)]
        assert asked, controller
        assert all({"cpu", "memory"} <= set(item["requests"]) and "memory" in item["limits"] for item in asked)


def test_production_has_a_second_replica_and_a_budget_for_each_and_dev_has_not(environment: Read) -> None:
    def ends(values: dict[str, Any], *keys: str) -> list[Any]:
        return [value for path, value in walk(values) if path and path[-1] in keys]

    for controller in ("argo-workflows", "jobset", "kueue", "keda"):
        many, one = (VALUES[controller](environment(name)) for name in ("prod", "dev"))
        assert set(ends(many, "replicas", "replicaCount")) == {2}
        assert set(ends(one, "replicas", "replicaCount")) == {1}
        budgets = ends(many, "pdb", "podDisruptionBudget")
        assert budgets, controller
        # A budget for a single replica would keep its node from ever being drained.
        assert all(budget.get("enabled", True) and budget for budget in budgets), controller
        assert not any(budget.get("enabled", budget) for budget in ends(one, "pdb", "podDisruptionBudget")), controller


def test_argo_is_granted_nothing_by_its_chart_and_lends_nothing(environment: Read) -> None:
    values = VALUES["argo-workflows"](environment("prod"))
    assert values["controller"]["rbac"] == values["server"]["rbac"] == values["workflow"]["rbac"] == {"create": False}
    assert values["createAggregateRoles"] is False
    assert values["server"]["authModes"] == ["client"]
    assert values["server"]["sso"] == {"enabled": False}
    # A hook that fetches from GitHub would hang where there is no egress.
    assert values["crds"]["full"] is False


def test_every_workflow_ends_and_is_cleaned_up(environment: Read) -> None:
    spec = VALUES["argo-workflows"](environment("dev"))["controller"]["workflowDefaults"]["spec"]
    assert spec["activeDeadlineSeconds"] > 7 * 24 * 3600
    assert {"secondsAfterSuccess", "secondsAfterFailure"} <= set(spec["ttlStrategy"])
    assert spec["serviceAccountName"] in n.ROLES
    assert spec["archiveLogs"] is False


def test_keda_and_argo_cd_see_only_the_teams_namespaces(environment: Read) -> None:
    prod = environment("prod")
    teams = ",".join(team_namespaces(prod).values())
    keda = VALUES["keda"](prod)
    assert keda["watchNamespace"] == teams
    assert keda["rbac"]["enabledCustomScaledRefKinds"] is False
    assert keda["permissions"]["operator"]["restrict"]["secret"] is True
    argo_cd = VALUES["argo-cd"](prod)
    assert argo_cd["createClusterRoles"] is False
    assert argo_cd["configs"]["clusterCredentials"]["in-cluster"]["namespaces"] == teams


def test_kueue_admits_pods_that_ask_for_scratch_space(environment: Read) -> None:
    """A ClusterQueue admits nothing that asks for a resource it has no quota of (seen with Kueue 0.17.1)."""
    assert "ephemeral-storage" in kueue.configuration(environment("prod"))["resources"]["excludeResourcePrefixes"]


def test_kueue_s_configuration_is_a_file_of_its_own_kind(environment: Read) -> None:
    prod = environment("prod")
    written = yaml.safe_load(VALUES["kueue"](prod)["managerConfig"]["controllerManagerConfigYaml"])
    assert written == kueue.configuration(prod)
    assert written["apiVersion"] == "config.kueue.x-k8s.io/v1beta2"
    assert set(written["integrations"]["frameworks"]) == {"batch/job", "jobset.x-k8s.io/jobset"}
    assert written["manageJobsWithoutQueueName"] is False
    assert written["fairSharing"]["preemptionStrategies"]


def test_kueue_waits_longer_where_flex_start_may_make_it_wait(environment: Read) -> None:
    def minutes(name: str) -> int:
        patience = kueue.configuration(environment(name))["waitForPodsReady"]
        assert patience["blockAdmission"] is False
        return int(patience["timeout"].removesuffix("m"))

    # A node and an image of 15 GB take up to 20 minutes.
    assert 20 < minutes("dev") < minutes("prod")
