"""The alerts of an environment, as data: what is watched, for how long, and what the reader of the mail should do.

Every metric name is Google's or the controller's own; each alert names its source.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from infra.bindings import google
from infra.scope import Scope

IDLE_PERCENT = 5
"""Percent of the time in which a kernel runs on the GPU. Training keeps it above half, so below this it only waits."""
MINUTE = 60
HOUR = 3600
DAY = 24 * HOUR

VISIBILITY_LOG = 'log_id("container.googleapis.com/cluster-autoscaler-visibility")'
NO_CAPACITY = ("scale.up.error.out.of.resources", "scale.up.error.quota.exceeded", "scale.up.error.ip.space.exhausted")
SKIPPED = "jsonPayload.noDecisionStatus.noScaleUp.skippedMigs.reason"
POOL_FULL = "max node group size reached"


@dataclass(frozen=True)
class Alert:
    """One alert: a condition of Cloud Monitoring and what to do about it."""

    name: str
    title: str
    condition: dict[str, Any]
    advice: str
    severity: Literal["WARNING", "ERROR"] = "WARNING"
    mails_every: int | None = None
    """Seconds between two mails; Cloud Monitoring asks for it when the condition is a log entry."""


def catalogue(scope: Scope) -> list[Alert]:
    """The alerts of an environment. Adds the metric that counts preemptions, since Google Cloud has none."""
    environment, cluster = scope.environment, scope.names.cluster
    alerts = [
        _idle_gpu(cluster, environment.alerts.idle_gpu_minutes),
        _pending_pods(cluster, environment.alerts.pending_minutes),
        _failed_runs(cluster),
        _no_capacity(cluster),
        _pool_full(cluster),
    ]
    spot_nodes = sum(pool.max for pool in environment.pools.values() if "spot" in pool.capacity)
    return [*alerts, _preemptions(_preemption_metric(scope), spot_nodes)] if spot_nodes else alerts


def policy(scope: Scope, alert: Alert, channels: Sequence[Any]) -> Any:
    """Adds the policy of one alert."""
    strategy: dict[str, Any] = {"auto_close": f"{DAY}s"}
    if alert.mails_every is not None:
        strategy["notification_rate_limit"] = {"period": f"{alert.mails_every}s"}
    return google.monitoring_alert_policy.MonitoringAlertPolicy(
        scope.stack,
        f"alert-{alert.name}",
        display_name=f"{scope.names.prefix}: {alert.title}",
        combiner="OR",
        conditions=[{"display_name": alert.title, **alert.condition}],
        alert_strategy=strategy,
        documentation={"content": alert.advice, "mime_type": "text/markdown"},
        notification_channels=[channel.id for channel in channels],
        severity=alert.severity,
        user_labels=scope.names.labels(),
    )


def _idle_gpu(cluster: str, minutes: int) -> Alert:
    # GKE's own system metric: DCGM would be one more package to pay for, and says the same here.
    metric = "kubernetes.io/container/accelerator/duty_cycle"
    return Alert(
        "idle-gpu",
        f"GPU idle for {minutes} minutes",
        {
            "condition_threshold": {
                "filter": f'resource.type="k8s_container" AND resource.labels.cluster_name="{cluster}" '
                f'AND metric.type="{metric}"',
                "comparison": "COMPARISON_LT",
                "threshold_value": IDLE_PERCENT,
                "duration": f"{minutes * MINUTE}s",
                "aggregations": [
                    {
                        "alignment_period": f"{5 * MINUTE}s",
                        "per_series_aligner": "ALIGN_MEAN",
                        # The least busy GPU of a pod: one that idles beside a busy one is paid for as well.
                        "cross_series_reducer": "REDUCE_MIN",
                        "group_by_fields": ["resource.labels.namespace_name", "resource.labels.pod_name"],
                    }
                ],
                # A pod that has ended reports nothing, and is not idle.
                "evaluation_missing_data": "EVALUATION_MISSING_DATA_INACTIVE",
            }
        },
        "A pod holds a GPU and does not use it. `kubectl logs -n NAMESPACE POD` says what it waits for. An endpoint "
        "that is seldom asked can scale to zero.",
    )


def _pending_pods(cluster: str, minutes: int) -> Alert:
    # A run that Kueue has not admitted has no pods yet: a pending pod has its quota and lacks a node.
    return Alert(
        "pending-pods",
        f"pod pending for {minutes} minutes",
        _promql(
            f'sum by (namespace, pod) (kube_pod_status_phase{{cluster="{cluster}", phase="Pending"}}) > 0',
            minutes * MINUTE,
        ),
        "A pod has quota and no node, or cannot pull its image. `kubectl describe pod -n NAMESPACE POD` says which.",
    )


def _failed_runs(cluster: str) -> Alert:
    # A counter by phase and namespace since Argo Workflows 3.6, the same in 4. Prometheus renames the label
    # `namespace` to `exported_namespace`, since `namespace` is the controller's own.
    failed = f'argo_workflows_total_count{{cluster="{cluster}", phase=~"Failed|Error"}}'
    window = "10m"
    # increase() does not see the first failure of a namespace: the series is born with the value 1.
    born = f"({failed} unless {failed} offset {window})"
    query = f"sum by (exported_namespace) ((increase({failed}[{window}]) > 0) or {born}) > 0"
    return Alert(
        "failed-runs",
        "run failed",
        _promql(query, 0),
        "A run of this team failed. `tunery list` names it; `tunery report RUN` says at which stage and why.",
        severity="ERROR",
    )


def _no_capacity(cluster: str) -> Alert:
    messages = " OR ".join(f'"{message}"' for message in NO_CAPACITY)
    return _from_log(
        "no-capacity",
        "no machines, quota or addresses for a new node",
        f"{_autoscaler(cluster)} AND jsonPayload.resultInfo.results.errorMsg.messageId=({messages})",
        "Google Cloud refused a node. `out.of.resources`: add a zone or a capacity to the pool. `quota.exceeded`: ask "
        "for quota. `ip.space.exhausted`: widen network.pods.",
    )


def _pool_full(cluster: str) -> Alert:
    return _from_log(
        "pool-full",
        "node pool at its maximum while pods wait",
        f'{_autoscaler(cluster)} AND {SKIPPED}.parameters="{POOL_FULL}"',
        "Runs wait for a node and the pool may not grow. Raise pools.POOL.max in the environment, or let them wait.",
    )


def _preemptions(metric: Any, spot_nodes: int) -> Alert:
    return Alert(
        "preemptions",
        "spot nodes preempted as fast as they start",
        {
            "condition_threshold": {
                "filter": f'resource.type="gce_instance" AND metric.type="logging.googleapis.com/user/{metric.name}"',
                "comparison": "COMPARISON_GT",
                # As many in an hour as there may be spot nodes: each was lost once.
                "threshold_value": spot_nodes,
                "duration": "0s",
                "aggregations": [
                    {
                        "alignment_period": f"{HOUR}s",
                        "per_series_aligner": "ALIGN_DELTA",
                        "cross_series_reducer": "REDUCE_SUM",
                    }
                ],
            }
        },
        "Runs resume from their checkpoints, but lose time. Put flex-start or on-demand first in pools.POOL.capacity.",
    )


def _preemption_metric(scope: Scope) -> Any:
    return google.logging_metric.LoggingMetric(
        scope.stack,
        "metric-preemptions",
        name=f"{scope.names.prefix}-preemptions",
        description="Spot nodes that Compute Engine took back",
        filter='resource.type="gce_instance" AND log_id("cloudaudit.googleapis.com/system_event") '
        'AND protoPayload.methodName="compute.instances.preempted"',
        metric_descriptor={"metric_kind": "DELTA", "value_type": "INT64", "unit": "1"},
        depends_on=list(scope.apis),
    )


def _promql(query: str, seconds: int) -> dict[str, Any]:
    return {
        "condition_prometheus_query_language": {
            "query": query,
            "duration": f"{seconds}s",
            "evaluation_interval": f"{MINUTE}s",
            # The cluster's first run brings the metric into being; the policy is made before that.
            "disable_metric_validation": True,
        }
    }


def _from_log(name: str, title: str, filter_: str, advice: str) -> Alert:
    return Alert(name, title, {"condition_matched_log": {"filter": filter_}}, advice, mails_every=HOUR)


def _autoscaler(cluster: str) -> str:
    return f'resource.type="k8s_cluster" AND resource.labels.cluster_name="{cluster}" AND {VISIBILITY_LOG}'
