from __future__ import annotations

import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.parts import builds
from infra.parts.network import Network
from infra.scope import Scope
from infra.settings import Environment

SOURCE = {"owner": "example", "repository": "llm"}
BUILDER = SimpleNamespace(id="builder-id", member="serviceAccount:builder")
SUBMITTER = SimpleNamespace(id="submitter-id", member="serviceAccount:submitter")
NETWORK = Network(SimpleNamespace(id="network-id"), None, "pods", "services", ())


@pytest.fixture
def terraform(environment: Callable[..., Environment], synthesize: Callable[..., Any]) -> Callable[..., dict[str, Any]]:
    def made(**settings: Any) -> dict[str, Any]:
        def part(scope: Scope) -> object:
            return builds.add(scope, BUILDER, SUBMITTER, NETWORK)

        resources: dict[str, Any] = synthesize(part, environment("dev", builds=settings)).get("resource", {})
        return resources

    return made


def grants(resources: dict[str, Any]) -> set[tuple[str, str]]:
    return {(grant["member"], grant["role"]) for grant in resources["google_project_iam_member"].values()}


def test_without_a_repository_there_is_nothing(terraform: Callable[..., Any]) -> None:
    assert terraform() == {}
    assert terraform(private_pool=True) == {}


def test_a_pull_request_runs_as_an_account_that_can_do_nothing_but_log(terraform: Callable[..., Any]) -> None:
    resources = terraform(source=SOURCE, private_pool=True)
    checks = resources["google_cloudbuild_trigger"]["trigger-checks"]
    assert checks["service_account"] == "${google_service_account.account-checker.id}"
    assert checks["github"]["pull_request"]["comment_control"] == "COMMENTS_ENABLED_FOR_EXTERNAL_CONTRIBUTORS_ONLY"
    checker = "${google_service_account.account-checker.member}"
    assert {role for member, role in grants(resources) if member == checker} == {"roles/logging.logWriter"}
    assert "_POOL" not in checks["substitutions"]
    assert "_CLUSTER" not in checks["substitutions"]


def test_images_and_runs_are_built_by_accounts_of_their_own(terraform: Callable[..., Any]) -> None:
    triggers = terraform(source=SOURCE)["google_cloudbuild_trigger"]
    assert triggers["trigger-images"]["service_account"] == BUILDER.id
    assert triggers["trigger-configs"]["service_account"] == SUBMITTER.id
    assert len({trigger["service_account"] for trigger in triggers.values()}) == 3


def test_only_a_push_to_the_branch_builds_and_submits(terraform: Callable[..., Any]) -> None:
    triggers = terraform(source={**SOURCE, "branch": "release/1.0"})["google_cloudbuild_trigger"]
    for name in ("images", "configs"):
        github = triggers[f"trigger-{name}"]["github"]
        assert "pull_request" not in github
        assert re.search(github["push"]["branch"], "release/1.0")
        assert not re.search(github["push"]["branch"], "release/1x0")
    assert "push" not in triggers["trigger-checks"]["github"]


@given(st.from_regex(r"\A[A-Za-z0-9._/-]{1,40}\Z"), st.from_regex(r"\A[A-Za-z0-9._/-]{1,40}\Z"))
def test_the_expression_of_a_branch_matches_that_branch_alone(branch: str, other: str) -> None:
    assert re.search(builds.exactly(branch), branch)
    assert bool(re.search(builds.exactly(branch), other)) == (branch == other)


@pytest.mark.parametrize(
    ("changed", "triggered"),
    [
        ("images/trainer/Dockerfile", "images"),
        ("workloads/stages/train.py", "images"),
        ("requirements/all.txt", "images"),
        ("configs/runs/demo.yaml", "configs"),
        ("configs/training/a.yaml", "configs"),
        ("configs/environments/dev.yaml", None),
        ("configs/platform/dev.json", None),
        ("docs/operations.md", None),
    ],
)
def test_what_a_push_starts(terraform: Callable[..., Any], changed: str, triggered: str | None) -> None:
    triggers = terraform(source=SOURCE)["google_cloudbuild_trigger"]
    started = [
        name
        for name in ("images", "configs")
        if any(changed.startswith(glob.removesuffix("**")) for glob in triggers[f"trigger-{name}"]["included_files"])
    ]
    assert started == ([triggered] if triggered else [])


def test_the_private_pool_has_no_public_address_and_is_peered_first(terraform: Callable[..., Any]) -> None:
    resources = terraform(source=SOURCE, private_pool=True)
    pool = resources["google_cloudbuild_worker_pool"]["builds-pool"]
    assert pool["worker_config"]["no_external_ip"] is True
    assert pool["network_config"]["peered_network"] == "network-id"
    assert pool["depends_on"] == ["google_service_networking_connection.builds-peering"]
    for name in ("images", "configs"):
        trigger = resources["google_cloudbuild_trigger"][f"trigger-{name}"]
        assert trigger["substitutions"]["_POOL"] == "${google_cloudbuild_worker_pool.builds-pool.id}"
        assert trigger["filename"] == f"{name}/cloudbuild.private.yaml"
    pool_users = {member for member, role in grants(resources) if role == "roles/cloudbuild.workerPoolUser"}
    assert pool_users == {BUILDER.member, SUBMITTER.member}


def test_without_a_private_pool_nothing_is_peered(terraform: Callable[..., Any]) -> None:
    resources = terraform(source=SOURCE)
    assert set(resources) == {"google_cloudbuild_trigger", "google_project_iam_member", "google_service_account"}
    assert resources["google_cloudbuild_trigger"]["trigger-images"]["filename"] == "images/cloudbuild.yaml"


def test_approval_holds_back_pushes_and_never_a_check(terraform: Callable[..., Any]) -> None:
    triggers = terraform(source=SOURCE, approval=True)["google_cloudbuild_trigger"]
    held = {name for name, trigger in triggers.items() if trigger["approval_config"]["approval_required"]}
    assert held == {"trigger-images", "trigger-configs"}
