from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.parts import monitoring
from infra.settings import Environment

BUCKET = SimpleNamespace(name="example-llm-prod-prod-logs")
BUDGET = {"amount": 1, "billing_account": "012345-6789AB-CDEF01", "emails": ["llm@example.com"]}


@pytest.fixture
def resources(environment: Callable[..., Environment], synthesize: Callable[..., Any]) -> Callable[..., dict[str, Any]]:
    def made(name: str = "prod", **changes: Any) -> dict[str, Any]:
        found: dict[str, Any] = synthesize(lambda scope: monitoring.add(scope, BUCKET), environment(name, **changes))[
            "resource"
        ]
        return found

    return made


def condition(policy: dict[str, Any], kind: str) -> dict[str, Any]:
    found: dict[str, Any] = policy["conditions"][0][f"condition_{kind}"]
    return found


def test_every_alert_reaches_every_address_and_says_what_to_do(resources: Callable[..., Any]) -> None:
    made = resources()
    channels = made["google_monitoring_notification_channel"]
    addresses = [channel["labels"]["email_address"] for channel in channels.values()]
    assert addresses == ["llm-platform@example.com", "finance@example.com"]
    policies = made["google_monitoring_alert_policy"]
    assert policies
    for name, policy in policies.items():
        assert policy["notification_channels"] == [
            f"${{google_monitoring_notification_channel.{channel}.id}}" for channel in channels
        ], name
        assert len(policy["documentation"]["content"]) > 40, name
        assert policy["user_labels"]["environment"] == "prod", name


def test_without_an_address_no_alert_is_made_and_logs_are_kept_all_the_same(resources: Callable[..., Any]) -> None:
    made = resources("dev")
    assert "google_monitoring_alert_policy" not in made
    assert "google_logging_metric" not in made
    assert made["google_logging_project_sink"]


def test_an_address_that_is_written_twice_is_one_channel(resources: Callable[..., Any]) -> None:
    made = resources("dev", budget={**BUDGET, "emails": ["a@example.com", "a@example.com"]})
    assert len(made["google_monitoring_notification_channel"]) == 1


@given(st.sets(st.text("ab05e2._+@-é", max_size=4), min_size=2))
def test_no_two_addresses_share_a_name_in_terraform(emails: set[str]) -> None:
    assert len({monitoring.terraform_id(email) for email in emails}) == len(emails)


def test_waits_are_those_of_the_settings(resources: Callable[..., Any]) -> None:
    policies = resources(alerts={"pending_minutes": 7, "idle_gpu_minutes": 45})["google_monitoring_alert_policy"]
    assert condition(policies["alert-pending-pods"], "prometheus_query_language")["duration"] == "420s"
    assert condition(policies["alert-idle-gpu"], "threshold")["duration"] == "2700s"


@pytest.mark.parametrize("minutes", [10, 1380])
def test_cloud_monitoring_can_look_back_that_far(resources: Callable[..., Any], minutes: int) -> None:
    policies = resources(alerts={"pending_minutes": minutes, "idle_gpu_minutes": minutes})[
        "google_monitoring_alert_policy"
    ]
    idle = condition(policies["alert-idle-gpu"], "threshold")
    looked_back = int(idle["duration"][:-1]) + int(idle["aggregations"][0]["alignment_period"][:-1])
    assert looked_back <= 23.5 * 3600


def test_an_idle_gpu_is_one_of_a_pod_on_this_cluster_that_still_reports(resources: Callable[..., Any]) -> None:
    idle = condition(resources()["google_monitoring_alert_policy"]["alert-idle-gpu"], "threshold")
    assert 'resource.labels.cluster_name="tunery-prod"' in idle["filter"]
    assert idle["comparison"] == "COMPARISON_LT"
    assert idle["aggregations"][0]["cross_series_reducer"] == "REDUCE_MIN"
    assert idle["evaluation_missing_data"] == "EVALUATION_MISSING_DATA_INACTIVE"


def test_prometheus_queries_are_of_this_cluster_and_made_before_their_metric(resources: Callable[..., Any]) -> None:
    policies = resources()["google_monitoring_alert_policy"]
    for name in ("alert-pending-pods", "alert-failed-runs"):
        asked = condition(policies[name], "prometheus_query_language")
        assert asked["query"].count('cluster="tunery-prod"') == asked["query"].count("{"), name
        assert asked["disable_metric_validation"] is True


def test_the_first_failure_of_a_team_is_seen(resources: Callable[..., Any]) -> None:
    asked = condition(resources()["google_monitoring_alert_policy"]["alert-failed-runs"], "prometheus_query_language")
    assert asked["query"].startswith("sum by (exported_namespace)")
    assert "unless" in asked["query"]
    assert 'phase=~"Failed|Error"' in asked["query"]


def test_alerts_of_log_entries_limit_their_mails_and_no_others_do(resources: Callable[..., Any]) -> None:
    for name, policy in resources()["google_monitoring_alert_policy"].items():
        of_log = "condition_matched_log" in policy["conditions"][0]
        assert ("notification_rate_limit" in policy["alert_strategy"]) is of_log, name


def test_preemptions_are_many_when_every_spot_node_was_lost_within_an_hour(resources: Callable[..., Any]) -> None:
    pools = {
        "cpu": {"machine": "e2-standard-8", "max": 10, "capacity": ["on-demand"]},
        "l4x1": {"machine": "g2-standard-8", "gpus": 1, "max": 4, "capacity": ["spot"]},
        "l4x2": {"machine": "g2-standard-24", "gpus": 2, "max": 3, "capacity": ["spot", "on-demand"]},
    }
    watched = condition(resources(pools=pools)["google_monitoring_alert_policy"]["alert-preemptions"], "threshold")
    assert watched["threshold_value"] == 7
    assert "${google_logging_metric.metric-preemptions.name}" in watched["filter"]


def test_without_spot_nodes_preemptions_are_not_counted(resources: Callable[..., Any]) -> None:
    made = resources(pools={"cpu": {"machine": "e2-standard-8", "capacity": ["on-demand"]}})
    assert "google_logging_metric" not in made
    assert "alert-preemptions" not in made["google_monitoring_alert_policy"]


def test_the_sink_writes_as_itself_and_only_creates(resources: Callable[..., Any]) -> None:
    made = resources()
    sink = made["google_logging_project_sink"]["log-sink"]
    assert sink["destination"] == f"storage.googleapis.com/{BUCKET.name}"
    assert sink["unique_writer_identity"] is True
    writer = made["google_storage_bucket_iam_member"]["log-sink-writer"]
    assert writer["member"] == "${google_logging_project_sink.log-sink.writer_identity}"
    assert writer["role"] == "roles/storage.objectCreator"
    assert writer["bucket"] == BUCKET.name


def test_no_audit_log_is_ever_left_out(resources: Callable[..., Any]) -> None:
    made = resources()
    sink = made["google_logging_project_sink"]["log-sink"]
    assert 'log_id("cloudaudit.googleapis.com/activity")' in sink["filter"]
    left_out = [sink["exclusions"][0]["filter"], made["google_logging_project_exclusion"]["log-exclusion"]["filter"]]
    for filter_ in left_out:
        assert filter_.startswith('resource.type="k8s_container" AND ')
        assert " OR " not in filter_
        assert "severity<WARNING" in filter_
