from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from infra.parts import attestation
from infra.settings import Environment

HOST = "europe-west4-docker.pkg.dev/example-llm-dev"


@pytest.fixture
def policy(environment: Callable[..., Environment], synthesize: Callable[..., Any]) -> Callable[..., dict[str, Any]]:
    def made(**changes: Any) -> dict[str, Any]:
        terraform = synthesize(attestation.add, environment("dev", **changes))
        found: dict[str, Any] = terraform["resource"]["google_binary_authorization_policy"]["attestation-policy"]
        return found

    return made


def allowed(policy: dict[str, Any], image: str) -> bool:
    patterns = [entry["name_pattern"] for entry in policy["admission_whitelist_patterns"]]
    assert all(pattern.endswith("/**") and pattern.count("*") == 2 for pattern in patterns), "not a plain prefix"
    return any(image.startswith(pattern.removesuffix("**")) for pattern in patterns)


def test_what_is_not_allowed_is_refused_and_logged(policy: Callable[..., Any]) -> None:
    rule = policy()["default_admission_rule"]
    assert rule == {"evaluation_mode": "ALWAYS_DENY", "enforcement_mode": "ENFORCED_BLOCK_AND_AUDIT_LOG"}


def test_gke_may_start_its_own_images(policy: Callable[..., Any]) -> None:
    assert policy()["global_policy_evaluation_mode"] == "ENABLE"


@pytest.mark.parametrize(
    ("image", "starts"),
    [
        (f"{HOST}/gke-llm/trainer@sha256:{'0' * 64}", True),
        (f"{HOST}/gke-llm-quay/argoproj/workflow-controller@sha256:{'0' * 64}", True),
        (f"{HOST}/gke-llm-other/trainer", False),
        ("europe-west4-docker.pkg.dev/somebody-else/gke-llm/trainer", False),
        ("docker.io/library/busybox", False),
        ("gcr.io/example-llm-dev/trainer", False),
    ],
)
def test_an_image_starts_by_its_origin(policy: Callable[..., Any], image: str, starts: bool) -> None:
    assert allowed(policy(), image) is starts


def test_a_mirror_of_the_controllers_images_takes_the_place_of_the_proxies(policy: Callable[..., Any]) -> None:
    mirrored = policy(registry={"images": "registry.example.com/mirror"})
    assert allowed(mirrored, "registry.example.com/mirror/kueue/kueue")
    assert allowed(mirrored, f"{HOST}/gke-llm/trainer")
    assert not allowed(mirrored, "registry.example.com/other/kueue")
    assert not allowed(mirrored, f"{HOST}/gke-llm-quay/argoproj/workflow-controller")
