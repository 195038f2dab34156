from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import pytest

from infra.policy.cis import CONTROLS, Control

CHECKED = [control for control in CONTROLS if control.check]


@pytest.mark.parametrize("environment_name", ["dev", "staging", "prod"])
@pytest.mark.parametrize("control", CHECKED, ids=lambda control: control.id)
def test_what_is_called_met_is_met(
    control: Control, environment_name: str, stacks: Mapping[str, Mapping[str, Any]]
) -> None:
    assert control.check is not None
    assert control.check(stacks[environment_name][f"cluster-{environment_name}"]), control.title


def test_every_check_can_fail(stacks: Mapping[str, Mapping[str, Any]]) -> None:
    """A stack with every security argument taken out, and with what a control forbids added, passes no check."""
    bare = copy.deepcopy(dict(stacks["dev"]["cluster-dev"]))
    found = bare["resource"]
    found["google_container_cluster"] = {
        "cluster": {"name": "x", "enable_legacy_abac": True, "enable_kubernetes_alpha": True}
    }
    found["google_container_node_pool"] = {"pool": {"name": "x"}}
    found["google_compute_subnetwork"] = {"subnet": {"name": "x"}}
    found["google_project_service"] = {}
    found["google_binary_authorization_policy"] = {
        "policy": {"default_admission_rule": {"evaluation_mode": "ALWAYS_ALLOW"}}
    }
    found["google_artifact_registry_repository_iam_member"] = {
        "x": {"role": "roles/artifactregistry.admin", "member": "allUsers"}
    }
    found["google_compute_firewall"] = {"x": {"source_ranges": ["0.0.0.0/0"], "allow": [{"protocol": "tcp"}]}}
    passed = [control.id for control in CHECKED if control.check is not None and control.check(bare)]
    assert passed == []


def test_controls_are_numbered_once_and_say_why() -> None:
    ids = [control.id for control in CONTROLS]
    assert len(ids) == len(set(ids))
    assert all(control.how for control in CONTROLS)
    assert all(control.check is None for control in CONTROLS if control.status != "met")
