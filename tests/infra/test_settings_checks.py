"""Each rule by one environment that breaks it and nothing else, and by one at its limit that does not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.errors import Problem, SettingsError
from infra.settings_checks import check, collisions
from infra.settings_loader import load

Changes = dict[str, Any]
Problems = Callable[[Changes], list[Problem]]
GPU = {"machine": "g2-standard-8", "gpus": 1}
CPU = {"machine": "e2-standard-8"}
NETWORK = {
    "nodes": "10.10.0.0/20",
    "pods": "10.64.0.0/14",
    "services": "10.20.0.0/20",
    "control_plane": "172.16.0.0/28",
}


def freeze(name: str, start: str, end: str, scope: str = "NO_UPGRADES") -> Changes:
    return {"name": name, "start": start, "end": end, "scope": scope}


def maintenance(*exclusions: Changes, **window: Any) -> Changes:
    return {"cluster": {"maintenance": {"exclusions": list(exclusions), **window}}}


def pool(**settings: Any) -> Changes:
    return {"pools": {"cpu": CPU, "l4": {**GPU, **settings}}}


@pytest.fixture
def problems(tmp_path: Path) -> Problems:
    """What loading says of a small correct environment with some of its top-level keys set otherwise."""
    path = tmp_path / "test.yaml"

    def run(changes: Changes) -> list[Problem]:
        values = {
            "name": "test",
            "project": "example-test",
            "region": "europe-west4",
            "zones": ["europe-west4-a", "europe-west4-b"],
            "state_bucket": "example-test-terraform",
            "pools": {"cpu": CPU, "l4": GPU},
            "teams": {"research": {"gpus": 1}},
            "artifactory": {"url": "https://artifactory.example.com/artifactory"},
            **changes,
        }
        path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
        try:
            load(path)
        except SettingsError as error:
            return list(error.problems)
        return []

    return run


@pytest.mark.parametrize(
    ("changes", "key", "words"),
    [
        # addresses
        ({"network": {**NETWORK, "services": "10.64.16.0/20"}}, "network.services", "overlaps"),
        ({"network": {**NETWORK, "control_plane": "10.10.0.16/28"}}, "network.control_plane", "range of nodes"),
        ({"network": {**NETWORK, "nodes": "8.8.0.0/20"}}, "network.nodes", "not private"),
        ({"network": {**NETWORK, "pods": "192.0.0.0/10"}}, "network.pods", "not private"),
        ({"network": {**NETWORK, "nodes": "172.17.16.0/20"}}, "network.nodes", "Docker bridge"),
        ({"network": {**NETWORK, "services": "10.20.0.0/28"}}, "network.services", "/28 is a size"),
        ({"network": {**NETWORK, "services": "10.32.0.0/15"}}, "network.services", "/15 is a size"),
        ({"network": {**NETWORK, "control_plane": "172.16.0.0/27"}}, "network.control_plane", "/27 is a size"),
        ({"network": {**NETWORK, "nodes": "10.10.0.0/28"}}, "network.nodes", "room for 12 nodes"),
        ({"network": {**NETWORK, "pods": "10.64.0.0/20"}}, "network.pods", "room for 16 nodes"),
        ({"network": {"authorized": [{"name": "all", "cidr": "0.0.0.0/0"}]}}, "network.authorized.0.cidr", "everybody"),
        (
            {"network": {"authorized": [{"name": "a", "cidr": "10.0.0.0/8"}, {"name": "b", "cidr": "10.0.0.0/8"}]}},
            "network.authorized.1.cidr",
            "item 0 already",
        ),
        # zones
        (
            {"zones": ["europe-west4-a", "europe-west1-b"], **pool(zones=["europe-west4-a"])},
            "zones.1",
            "not in europe-west4",
        ),
        ({"zones": ["europe-west4-a", "europe-west4-a"]}, "zones.1", "there already"),
        (pool(zones=["europe-west4-c"]), "pools.l4.zones.0", "not a zone of the environment"),
        ({"region": "europe-west1", "zones": ["europe-west1-b", "europe-west1-d"]}, "pools.l4", "europe-west1-d"),
        ({"region": "europe-north1", "zones": ["europe-north1-a"]}, "region", "no L4 GPUs"),
        # pools
        (pool(machine="g2-standard-7"), "pools.l4.machine", "not a machine type"),
        (pool(machine="g2-standard-24"), "pools.l4.gpus", "has 2 GPUs, not 1"),
        (pool(machine="e2-standard-8"), "pools.l4.gpus", "has 0 GPUs, not 1"),
        (pool(min=4, capacity=["on-demand"]), "pools.l4.min", "more than max"),
        (pool(min=1, capacity=["spot"]), "pools.l4.min", "Spot nodes"),
        (pool(min=1, capacity=["on-demand", "flex-start"]), "pools.l4.min", "seven days"),
        (pool(capacity=["spot", "on-demand", "spot"]), "pools.l4.capacity.2", "there already"),
        (pool(capacity=["reservation"]), "pools.l4.reservation", "needs its name"),
        (pool(reservation="llm"), "pools.l4.reservation", "needs its name"),
        ({"pools": {"cpu": {**CPU, "capacity": ["flex-start"]}, "l4": GPU}}, "pools.cpu.capacity", "with GPUs"),
        ({"pools": {"l4": GPU}}, "pools", "no pool 'cpu'"),
        ({"pools": {"cpu": GPU}}, "pools.cpu.gpus", "without a GPU"),
        ({"pools": {"cpu": CPU, "l4": GPU, "system": {**CPU}}}, "pools.system", "name is taken"),
        # teams
        ({"teams": {"a": {"gpus": 4}, "b": {"gpus": 3}}}, "teams", "are 7; the pools have 6"),
        # system, high availability
        ({"system": {"min": 5}}, "system.min", "more than max"),
        ({"system": {"machine": "e2-standrad-4"}}, "system.machine", "not a machine type"),
        ({"system": {"machine": "g2-standard-8"}}, "system.machine", "has a GPU"),
        ({"cluster": {"high_availability": True}}, "system.min", "nodes of their own"),
        (
            {"cluster": {"high_availability": True}, "system": {"min": 3}, "zones": ["europe-west4-a"]},
            "zones",
            "second zone",
        ),
        # maintenance
        (maintenance(freeze("a", "2026-02-02", "2026-02-01")), "cluster.maintenance.exclusions.0.end", "ends before"),
        (maintenance(freeze("a", "2026-01-01", "2026-04-01")), "cluster.maintenance.exclusions.0.end", "91 days"),
        (
            maintenance(freeze("a", "2026-01-01", "2027-03-03", "NO_MINOR_UPGRADES")),
            "cluster.maintenance.exclusions.0.end",
            "may last 426",
        ),
        (
            maintenance(freeze("a", "2026-01-01", "2026-03-01"), freeze("b", "2026-03-10", "2026-05-10")),
            "cluster.maintenance.exclusions",
            "GKE asks for 48",
        ),
        (
            maintenance(*(freeze(f"f{number}", f"202{number}-01-01", f"202{number}-01-02") for number in range(5, 9))),
            "cluster.maintenance.exclusions",
            "3 exclusions",
        ),
        (
            maintenance(freeze("a", "2026-01-01", "2026-01-02"), freeze("a", "2027-01-01", "2027-01-02")),
            "cluster.maintenance.exclusions.1",
            "there already",
        ),
        (maintenance(days=["SA", "SU", "SA"]), "cluster.maintenance.days.2", "there already"),
        # the rest
        ({"storage": {"run_days": 7, "soft_delete_days": 8}}, "storage.soft_delete_days", "live 7 days"),
        ({"builds": {"private_pool": True, "machine": "x9"}}, "builds.machine", "not a machine type"),
        (
            {"budget": {"amount": 1, "billing_account": "012345-6789AB-CDEF01", "emails": ["a@b.cc", "A@b.cc"]}},
            "budget.emails.1",
            "there already",
        ),
        (
            {
                "budget": {
                    "amount": 1,
                    "billing_account": "012345-6789AB-CDEF01",
                    "emails": ["a@b.cc"],
                    "thresholds": [0.8, 0.5],
                }
            },
            "budget.thresholds",
            "do not ascend",
        ),
        ({"labels": {"managed-by": "me"}}, "labels.managed-by", "set by tunery"),
        ({"labels": {"goog-x": "me"}}, "labels.goog-x", "set by tunery"),
        ({"state_bucket": "example-test-test-models"}, "state_bucket", "Terraform itself makes"),
    ],
)
def test_one_broken_rule_is_one_problem_at_its_key(problems: Problems, changes: Changes, key: str, words: str) -> None:
    (problem,) = problems(changes)
    assert problem.key == key
    assert words in problem.message
    assert problem.fix


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"network": {**NETWORK, "services": "10.20.0.0/27"}},
        {"network": {**NETWORK, "nodes": "100.64.0.0/20"}},
        # 4 system + 3 spot + 3 on-demand for each of two pools, and one more in each of 5 node pools: 21 nodes
        {"network": {**NETWORK, "nodes": "10.10.0.0/27", "pods": "10.64.0.0/19"}},
        {"teams": {"a": {"gpus": 6}}},
        pool(min=3, capacity=["spot", "on-demand"]),
        pool(min=1, capacity=["reservation"], reservation="llm"),
        pool(zones=["europe-west4-b"]),
        # europe-west1-d has no L4, which only matters to a pool that is in it
        {"region": "europe-west1", "zones": ["europe-west1-b", "europe-west1-d"], **pool(zones=["europe-west1-b"])},
        {"region": "europe-north1", "zones": ["europe-north1-a"], "pools": {"cpu": CPU}, "teams": {"a": {"gpus": 0}}},
        # a 90-day freeze leaves 2 of 92 days; a weekend window of 24 hours is 48 hours
        maintenance(freeze("a", "2026-01-05", "2026-04-03"), days=["MO", "TU", "WE", "TH", "FR", "SA", "SU"], hours=24),
        maintenance(freeze("a", "2026-01-01", "2027-03-02", "NO_MINOR_UPGRADES")),
        # the least that GKE takes: four hours a week
        maintenance(days=["MO"], hours=4),
    ],
)
def test_the_limit_itself_is_allowed(problems: Problems, changes: Changes) -> None:
    assert problems(changes) == []


def test_a_name_that_cloud_storage_refuses(tmp_path: Path, problems: Problems) -> None:
    found = problems({"name": "google"})
    assert "Cloud Storage refuses" in " ".join(problem.message for problem in found)


def test_checks_need_no_section_that_is_absent(environment: Callable[..., Any]) -> None:
    """A check that reads a section it does not declare would raise AttributeError here."""
    prod = environment("prod")
    for section in type(prod).model_fields:
        rest = {key: getattr(prod, key) for key in type(prod).model_fields if key != section}
        assert check(type(prod).model_construct(**rest), absent={section}) == []


def test_a_project_is_one_environment_s(environment: Callable[..., Any]) -> None:
    dev, staging = environment("dev"), environment("staging", project="example-llm-dev")
    ((blamed, finding),) = collisions([dev, staging])
    assert blamed is staging
    assert finding.key == ("project",)
    assert "dev" in finding.message


def test_two_projects_whose_buckets_would_have_one_name(environment: Callable[..., Any]) -> None:
    first = environment("dev", project="example-a").model_copy(update={"name": "b-c"})
    second = environment("dev", project="example-a-b").model_copy(update={"name": "c"})
    ((_blamed, finding),) = collisions([first, second])
    assert "example-a-b-c-models" in finding.message


def test_the_committed_environments_do_not_collide(environment: Callable[..., Any]) -> None:
    assert collisions([environment(name) for name in ("dev", "staging", "prod")]) == []
