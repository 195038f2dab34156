"""What Kubernetes does when a stage's process ends: rendered from the exit codes, in one place.

The facts behind it (Kubernetes 1.34, JobSet 0.12):

- A pod that is evicted, preempted or drained carries the condition DisruptionTarget. A Job replaces it for free
  when a rule says Ignore; of a gang every pod must start again, so there the rule fails the Job and the JobSet starts
  all of them anew.
- Rules are tried in order, so the disruption comes first: the process of a disrupted pod may end with any code.
- A Job that fails by such a rule has the reason PodFailurePolicy and a message with the exit code in it. JobSet
  matches the message by a regular expression (RE2).
"""

from __future__ import annotations

from typing import Any

from workloads.errors import ExitCode

CONTAINER = "main"
"""The container whose exit code counts."""

_RETRIES = 4
"""How often a service that is away, or a fault of ours, is tried again."""
_DISRUPTED = {"type": "DisruptionTarget", "status": "True"}


def job_policy() -> dict[str, Any]:
    """``backoffLimit`` and ``podFailurePolicy`` of a Job with one pod.

    Argo can compare ``status.failed`` with a number and nothing else, so the first failure that counts is the last.
    A service that is away is waited for inside the pod; a disruption does not count.
    """
    return {
        "backoffLimit": 0,
        "podFailurePolicy": {
            "rules": [
                {"action": "Ignore", "onPodConditions": [_DISRUPTED]},
                {"action": "Ignore", "onExitCodes": _on(ExitCode.PREEMPTED)},
            ]
        },
    }


def gang_policy() -> dict[str, Any]:
    """``backoffLimit`` and ``podFailurePolicy`` of a Job whose pods start and stop together."""
    return {
        "backoffLimit": 0,
        "podFailurePolicy": {
            "rules": [
                {"action": "FailJob", "onPodConditions": [_DISRUPTED]},
                {"action": "FailJob", "onExitCodes": _on(ExitCode.PREEMPTED)},
                {"action": "FailJob", "onExitCodes": _on(ExitCode.INPUT)},
            ]
        },
    }


def jobset_policy() -> dict[str, Any]:
    """``failurePolicy`` of a JobSet: a wrong config fails it at once, a lost node restarts it free of charge."""
    return {
        "maxRestarts": _RETRIES,
        "rules": [
            {
                "name": "wrong_config",
                "action": "FailJobSet",
                "onJobFailureReasons": ["PodFailurePolicy"],
                "onJobFailureMessagePatterns": [f"exit code {int(ExitCode.INPUT)} "],
            },
            {
                "name": "preempted",
                "action": "RestartJobSetAndIgnoreMaxRestarts",
                "onJobFailureReasons": ["PodFailurePolicy"],
                "onJobFailureMessagePatterns": [
                    "condition DisruptionTarget ",
                    f"exit code {int(ExitCode.PREEMPTED)} ",
                ],
            },
        ],
    }


def step_retry() -> dict[str, Any]:
    """``retryStrategy`` of an Argo step that is a pod of its own.

    Argo says Error when the pod was lost (evicted, deleted, its node gone) and Failed when the process ended by
    itself; only a service that is away, a fault of ours, and a stop for preemption are worth another try.
    """
    again = " || ".join(
        f"lastRetry.exitCode == '{int(code)}'" for code in (ExitCode.UNAVAILABLE, ExitCode.INTERNAL, ExitCode.PREEMPTED)
    )
    return {
        "limit": str(_RETRIES),
        "retryPolicy": "Always",
        "expression": f"lastRetry.status == 'Error' || {again}",
        "backoff": {"duration": "10", "factor": "2", "maxDuration": "10m"},
    }


ACTION = f"{{{{=retries in {[str(number) for number in range(0, 2 * _RETRIES + 1, 2)]} ? 'create' : 'get'}}}}"
"""What an Argo step with a Job or JobSet does: creates it, or if another try of the step has, finds it.

Argo checks a workflow with a placeholder for the number of the try, so that nothing may be calculated from it.
"""


def resource_retry() -> dict[str, Any]:
    """``retryStrategy`` of an Argo step that creates a Job or JobSet and waits for its end.

    The pod that waits may be lost with its node, and the Job goes on meanwhile. Whether it was created before that is
    found out by trying both in turn; a Job that failed, or may not be made, is not tried again.
    """
    return {
        "limit": str(2 * _RETRIES),
        "retryPolicy": "Always",
        "expression": "lastRetry.status == 'Error' || lastRetry.message matches '[(](AlreadyExists|NotFound)[)]'",
        "backoff": {"duration": "2", "factor": "1"},
    }


def _on(code: ExitCode) -> dict[str, Any]:
    return {"containerName": CONTAINER, "operator": "In", "values": [int(code)]}
