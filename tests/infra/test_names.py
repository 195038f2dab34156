"""Every name fits what Google Cloud and Kubernetes take, for the longest settings that an environment may have."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra import names as n
from infra.names import Names
from infra.settings import Environment
from infra.settings_types import Capacity

LABEL = r"[a-z]([-a-z0-9]*[a-z0-9])?"
GOOGLE_ACCOUNTS = ("nodes", "builder", "checker", "submitter")


@st.composite
def names(draw: st.DrawFn) -> Names:
    """Names, projects, pools and teams of any length that the settings allow."""
    word = st.from_regex(r"[a-z]([a-z0-9-]{0,18}[a-z0-9])?", fullmatch=True)
    return Names(
        Environment.model_validate(
            {
                "name": draw(st.from_regex(r"[a-z][a-z0-9-]{0,10}[a-z0-9]", fullmatch=True)),
                "project": draw(st.from_regex(r"[a-z][a-z0-9-]{4,28}[a-z0-9]", fullmatch=True)),
                "region": "northamerica-northeast2",
                "zones": ["northamerica-northeast2-a"],
                "state_bucket": "example-terraform",
                "pools": {draw(word): {"machine": "e2-standard-8"}},
                "teams": {draw(word): {}},
                "artifactory": {"url": "https://artifactory.example.com"},
                "registry": {"repository": draw(word)},
                "labels": {"cost-center": "1"},
            }
        )
    )


def fits(name: str, limit: int, shortest: int = 1) -> bool:
    return shortest <= len(name) <= limit and re.fullmatch(LABEL, name) is not None


@given(names=names())
def test_google_s_limits(names: Names) -> None:
    environment = names.environment
    assert fits(names.cluster, 40)
    for pool in environment.pools:
        assert all(fits(names.node_pool(pool, capacity), 40) for capacity in get_args(Capacity))
    for kind in n.BUCKETS:
        assert fits(names.bucket(kind), 63, shortest=3)
    for role in GOOGLE_ACCOUNTS:
        assert fits(names.google_account(role), 30, shortest=6)
    for secret in n.SECRETS:
        assert fits(names.secret(secret), 255)
    for upstream in n.UPSTREAMS:
        assert fits(names.remote_registry(upstream), 63)
    for key, value in names.labels().items():
        assert re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", key)
        assert re.fullmatch(r"[a-z0-9_-]{0,63}", value)


@given(names=names())
def test_kubernetes_limits(names: Names) -> None:
    for team in names.environment.teams:
        assert fits(names.team_namespace(team), 63)
        for pool in names.environment.pools:
            assert fits(names.cluster_queue(team, pool), 63)
            assert fits(names.local_queue(pool), 63)
        # A team cannot take the namespace of a controller or of Kubernetes itself.
        assert names.team_namespace(team) not in {*n.CONTROLLER_NAMESPACES.values(), "default", "kube-system"}
    for word in (names.cohort, *map(names.secret_class, n.ROLES), *n.ROLES):
        assert fits(word, 63)


@given(names=names())
def test_names_of_one_kind_differ(names: Names) -> None:
    for kind in (
        [names.bucket(each) for each in n.BUCKETS],
        [names.secret(each) for each in n.SECRETS],
        [names.google_account(each) for each in GOOGLE_ACCOUNTS],
        [names.remote_registry(each) for each in n.UPSTREAMS],
        [names.cluster_stack, names.platform_stack],
    ):
        assert len(set(kind)) == len(kind)


@pytest.mark.parametrize("name", ["bucket", "secret", "remote_registry"])
def test_an_unknown_kind_is_refused(environment: Callable[..., Environment], name: str) -> None:
    with pytest.raises(KeyError):
        getattr(Names(environment("dev")), name)("unknown")


def test_the_company_s_labels_do_not_hide_ours(environment: Callable[..., Environment]) -> None:
    names = Names(environment("dev", labels={"environment": "mine", "cost-center": "7"}))
    assert names.labels() == {"cost-center": "7", "environment": "dev", "managed-by": "tunery"}


def test_roles() -> None:
    assert set(n.STAGE_ROLES.values()) <= set(n.ROLES)
    assert {role for readers in n.SECRETS.values() for role in readers} <= set(n.ROLES)


def test_a_role_with_a_gpu_reads_no_token_of_the_hub() -> None:
    assert "trainer" not in n.SECRETS["artifactory-token"]
    assert "trainer" not in n.SECRETS["hf-token"]
