from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from infra.bindings import cdktf
from infra.objects import queues
from infra.parts.controllers import text
from infra.settings import Environment
from infra.stacks import platform

Read = Callable[..., Environment]


@pytest.fixture
def synthesized(environment: Read) -> Callable[[str], dict[str, Any]]:
    def run(name: str) -> dict[str, Any]:
        terraform: dict[str, Any] = platform.build(cdktf.Testing.app(), environment(name)).to_terraform()
        return terraform

    return run


def test_helm_is_the_only_provider_that_makes_anything(synthesized: Callable[[str], dict[str, Any]]) -> None:
    stack = synthesized("prod")
    assert set(stack["resource"]) == {"helm_release"}
    assert set(stack["data"]) == {"google_container_cluster"}
    assert set(stack["terraform"]["backend"]) == {"gcs"}


def test_the_cluster_is_reached_by_dns_with_the_caller_s_own_identity(
    synthesized: Callable[[str], dict[str, Any]],
) -> None:
    (helm,) = synthesized("dev")["provider"]["helm"]
    assert "dns_endpoint_config" in helm["kubernetes"]["host"]
    assert helm["kubernetes"]["exec"]["command"] == "gke-gcloud-auth-plugin"
    assert not {"token", "client_key", "password", "config_path"} & set(helm["kubernetes"])


def test_every_release_pins_a_version_and_is_taken_back_when_it_fails(
    synthesized: Callable[[str], dict[str, Any]],
) -> None:
    for name, release in synthesized("prod")["resource"]["helm_release"].items():
        assert release["version"].count(".") == 2, name
        assert not set(release["version"]) & set("^~*<>x ")
        assert release["atomic"] is True
        assert release["wait"] is True
        assert release["create_namespace"] is False


def test_releases_come_after_what_they_need(synthesized: Callable[[str], dict[str, Any]]) -> None:
    releases = synthesized("prod")["resource"]["helm_release"]
    needs = {
        name: {item.removeprefix("helm_release.") for item in release.get("depends_on", [])}
        for name, release in releases.items()
    }
    assert needs["foundation"] == set()
    assert all("foundation" in needed for name, needed in needs.items() if name not in ("foundation", "queues"))
    assert "kueue" in needs["queues"]
    assert "jobset" in needs["kueue"]


def test_optional_controllers_are_releases_only_where_they_are_on(
    synthesized: Callable[[str], dict[str, Any]],
) -> None:
    assert "argo-cd" not in synthesized("dev")["resource"]["helm_release"]
    prod = synthesized("prod")["resource"]["helm_release"]
    assert prod["argo-cd"]["repository"] == "oci://europe-west4-docker.pkg.dev/example-llm-prod/gke-llm-charts"


def test_values_arrive_as_they_were_written(synthesized: Callable[[str], dict[str, Any]], environment: Read) -> None:
    (values,) = synthesized("prod")["resource"]["helm_release"]["queues"]["values"]
    assert json.loads(values)["objects"] == queues.objects(environment("prod"))


def test_nothing_in_values_is_a_template_to_terraform() -> None:
    assert text({"a": "${b} %{c} $d"}) == '{"a": "$${b} %%{c} $d"}'
