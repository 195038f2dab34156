from __future__ import annotations

from collections.abc import Callable
from typing import Any

from infra.parts import apis


def services(terraform: dict[str, Any]) -> set[str]:
    return {api["service"] for api in terraform["resource"]["google_project_service"].values()}


def test_a_destroyed_environment_leaves_the_apis_on(
    environment: Callable[..., Any], synthesize: Callable[..., dict[str, Any]]
) -> None:
    terraform = synthesize(apis.add, environment("dev"))
    enabled = terraform["resource"]["google_project_service"].values()
    assert all(api["disable_on_destroy"] is False for api in enabled)
    assert {"container.googleapis.com", "containerscanning.googleapis.com"} <= services(terraform)


def test_what_no_setting_asks_for_stays_off(
    environment: Callable[..., Any], synthesize: Callable[..., dict[str, Any]]
) -> None:
    optional = {"billingbudgets.googleapis.com", "servicenetworking.googleapis.com"}
    assert not optional & services(synthesize(apis.add, environment("dev")))
    assert optional <= services(synthesize(apis.add, environment("prod")))
