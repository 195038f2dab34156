"""Who is told what about an environment, and where its logs are kept.

Alerts go to the budget's e-mail addresses; without an address there is nobody to tell, and no alert is made. Metrics
of the cluster come from GKE's system metrics, its kube-state package and Managed Service for Prometheus.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from infra.bindings import google
from infra.parts import alerts
from infra.scope import Scope

SEARCHABLE_DAYS = 30
"""Days for which logs can be searched in Cloud Logging; after that they are in the logs bucket alone. 30 is free."""

AUDIT = 'log_id("cloudaudit.googleapis.com/activity") OR log_id("cloudaudit.googleapis.com/data_access")'
AUDIT_RARE = 'log_id("cloudaudit.googleapis.com/system_event") OR log_id("cloudaudit.googleapis.com/policy")'
PLATFORM = 'resource.type=("build" OR "gke_cluster" OR "gke_nodepool") OR resource.type=~"^k8s_"'
KEPT_LOGS = f"{AUDIT} OR {AUDIT_RARE} OR {PLATFORM}"

GKE_OWN_PODS = 'resource.labels.namespace_name=~"^(kube-system|gmp-.*|gke-.*)$"'
NOISE = f'resource.type="k8s_container" AND {GKE_OWN_PODS} AND severity<WARNING'
"""What GKE's own pods say when nothing is wrong: most of a cluster's log by volume, and nobody reads it. Audit logs
are of other resource types and never match."""


@dataclass(frozen=True)
class Monitoring:
    """Channels people are told through, and the policies that use them."""

    channels: Sequence[Any]
    policies: Sequence[Any]
    sink: Any


def add(scope: Scope, logs_bucket: Any) -> Monitoring:
    """Adds notification channels, alert policies, the log sink to ``logs_bucket`` and what Cloud Logging leaves out."""
    channels = _channels(scope)
    policies = [alerts.policy(scope, alert, channels) for alert in alerts.catalogue(scope)] if channels else []
    _limit_searchable_logs(scope)
    return Monitoring(channels, policies, _sink(scope, logs_bucket))


def _channels(scope: Scope) -> list[Any]:
    budget = scope.environment.budget
    return [
        google.monitoring_notification_channel.MonitoringNotificationChannel(
            scope.stack,
            f"channel-{terraform_id(email)}",
            display_name=f"{scope.names.prefix}: {email}",
            type="email",
            labels={"email_address": email},
            user_labels=scope.names.labels(),
            depends_on=list(scope.apis),
        )
        for email in dict.fromkeys(budget.emails if budget else ())
    ]


def terraform_id(email: str) -> str:
    """An address as part of a Terraform name; no two addresses give the same."""
    return re.sub(rb"[^A-Za-z0-9-]", lambda found: b"_%02x" % found[0][0], email.encode()).decode()


def _sink(scope: Scope, logs_bucket: Any) -> Any:
    sink = google.logging_project_sink.LoggingProjectSink(
        scope.stack,
        "log-sink",
        name=f"{scope.names.prefix}-logs",
        description="Audit, cluster and build logs, for as long as storage.log_days says",
        destination=f"storage.googleapis.com/{logs_bucket.name}",
        filter=KEPT_LOGS,
        exclusions=[{"name": "gke-noise", "filter": NOISE, "description": "GKE's own pods when nothing is wrong"}],
        unique_writer_identity=True,
    )
    google.storage_bucket_iam_member.StorageBucketIamMember(
        scope.stack,
        "log-sink-writer",
        bucket=logs_bucket.name,
        role="roles/storage.objectCreator",
        member=sink.writer_identity,
    )
    return sink


def _limit_searchable_logs(scope: Scope) -> None:
    google.logging_project_exclusion.LoggingProjectExclusion(
        scope.stack,
        "log-exclusion",
        name=f"{scope.names.prefix}-gke-noise",
        description="GKE's own pods when nothing is wrong",
        filter=NOISE,
        depends_on=list(scope.apis),
    )
    google.logging_project_bucket_config.LoggingProjectBucketConfig(
        scope.stack,
        "log-retention",
        project=scope.environment.project,
        location="global",
        bucket_id="_Default",
        description="Logs that can be searched",
        retention_days=SEARCHABLE_DAYS,
        depends_on=list(scope.apis),
    )
