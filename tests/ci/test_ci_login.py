from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from workloads import platform
from workloads.ci.login import write_kubeconfig
from workloads.errors import InputError, TuneryError, UnavailableError
from workloads.platform import Platform

CLUSTER = {"controlPlaneEndpointsConfig": {"dnsEndpointConfig": {"endpoint": "gke-1.europe-west4.gke.goog"}}}


@pytest.fixture
def prod(project: Any) -> Platform:
    return platform.load("prod", project.root / "configs" / "platform")


def answering(status: int, value: Any) -> httpx.MockTransport:
    def answer(request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/v1/projects/example-llm-prod/locations/europe-west4/clusters/tunery-prod"
        assert request.headers["Authorization"] == "Bearer a-token"
        return httpx.Response(status, json=value)

    return httpx.MockTransport(answer)


def test_the_kubeconfig_is_of_the_environment_s_cluster(
    prod: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from workloads.engines.cluster_login import open_cluster

    path = tmp_path / "kubeconfig"
    write_kubeconfig(prod, path, token="a-token", transport=answering(200, CLUSTER))
    assert path.stat().st_mode & 0o077 == 0
    config = json.loads(path.read_text())
    assert config["clusters"][0]["cluster"] == {"server": "https://gke-1.europe-west4.gke.goog"}
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(path))
    # open_cluster refuses a context that is not seen to be the environment's.
    assert open_cluster(prod).context == "gke_example-llm-prod_europe-west4_tunery-prod"


@pytest.mark.parametrize(
    ("status", "value", "kind", "words"),
    [
        (403, {}, InputError, "Google answers 403"),
        (404, {}, InputError, "Google answers 404"),
        (200, {}, InputError, "no DNS endpoint"),
        (200, {"controlPlaneEndpointsConfig": {"dnsEndpointConfig": {"endpoint": ""}}}, InputError, "no DNS endpoint"),
        (200, [], InputError, "no DNS endpoint"),
        (503, {}, UnavailableError, "answers 503"),
    ],
)
def test_a_cluster_that_is_not_to_be_had(
    prod: Platform, tmp_path: Path, status: int, value: Any, kind: type[TuneryError], words: str
) -> None:
    path = tmp_path / "kubeconfig"
    with pytest.raises(kind, match=words):
        write_kubeconfig(prod, path, token="a-token", transport=answering(status, value))
    assert not path.exists()


def test_google_that_does_not_answer(prod: Platform, tmp_path: Path) -> None:
    def away(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("no route")

    with pytest.raises(UnavailableError, match="does not answer: no route"):
        write_kubeconfig(prod, tmp_path / "k", token="a-token", transport=httpx.MockTransport(away))
