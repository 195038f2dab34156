"""What must hold before a run is sent to a cluster: asked all at once, and answered with who must do what."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from workloads.engines import cluster_client as k8s
from workloads.engines.cluster_client import Cluster, Kind
from workloads.engines.cluster_errors import RefusedError
from workloads.engines.image_preflight import image_problems
from workloads.errors import Problem
from workloads.render.run import ClusterRun
from workloads.render.steps import STEPS
from workloads.render.workflow import EXECUTOR, planned

_ACCESS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
_GROUP_MEMBER = "operations: add your group to the team ({team}.group in configs/environments), then deploy"
_DEPLOY = "operations: deploy the platform stack of {environment} (cdktf deploy platform-{environment})"
_WORKERS = 8

SUBMIT: tuple[tuple[Kind, str, str], ...] = (
    (k8s.WORKFLOW, "create", ""),
    (k8s.WORKFLOW, "get", ""),
    (k8s.WORKFLOW, "list", ""),
    (k8s.WORKFLOW, "watch", ""),
    (k8s.WORKFLOW, "patch", ""),
    (k8s.JOB, "list", ""),
    (k8s.POD, "list", ""),
    (k8s.POD, "get", "log"),
    (k8s.WORKLOAD, "list", ""),
)
"""What it takes to submit a run and to follow it: kind, verb, subresource."""
SCHEDULE: tuple[tuple[Kind, str, str], ...] = tuple(
    (kind, verb, "") for kind in (k8s.TEMPLATE, k8s.CRON) for verb in ("create", "patch")
)


@dataclass(frozen=True, slots=True)
class Preflight:
    """The answers.

    Attributes:
        version: of the API server, such as ``v1.34.4``.
        problems: what stops the run.
        warnings: what could not be found out, and stops nothing.
        unknown: what could not be looked at for lack of rights, one text each.
    """

    version: str
    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...]
    unknown: tuple[str, ...]


class _MayNotLookError(Exception):
    """The person may not read what is asked about; the names say what."""


Check = Callable[[Cluster, ClusterRun], Iterable[Problem]]


def check(cluster: Cluster, run: ClusterRun) -> Preflight:
    """Asks the cluster everything.

    Raises:
        UnavailableError: it cannot be reached.
        InputError: it does not know who asks.
    """
    version = str(cluster.get("/version").get("gitVersion", "unknown"))

    def one(each: Check) -> tuple[list[Problem], str | None]:
        try:
            return list(each(cluster, run)), None
        except _MayNotLookError as hidden:
            return [], str(hidden)

    with ThreadPoolExecutor(_WORKERS) as pool:
        answers = list(pool.map(one, _checks(run)))
    found = [problem for problems, _ in answers for problem in problems]
    return Preflight(
        version,
        tuple(each for each in found if not each.is_warning),
        tuple(each for each in found if each.is_warning),
        tuple(dict.fromkeys(hidden for _, hidden in answers if hidden)),
    )


def _checks(run: ClusterRun) -> Sequence[Check]:
    rights = SUBMIT if run.spec.schedule is None else (*SUBMIT, *SCHEDULE)
    apis = [("Argo Workflows", k8s.WORKFLOW), ("Kueue", k8s.WORKLOAD)] + (
        [("JobSet", k8s.JOBSET)] if run.nodes > 1 else []
    )
    return [
        *([_images] if run.platform.local is None else []),  # first, since it takes the longest
        *(_served(name, kind) for name, kind in apis),
        _namespace,
        _queue,
        _quota,
        _priority,
        *(_account(name) for name in sorted({EXECUTOR, *(run.platform.stages[stage] for stage in planned(run))})),
        *(_secret_class(name) for name in _secret_classes(run)),
        *(_may(*right) for right in rights),
    ]


def _served(name: str, kind: Kind) -> Check:
    def ask(cluster: Cluster, run: ClusterRun) -> Iterator[Problem]:
        try:
            resources = cluster.get(kind.root).get("resources", [])
        except RefusedError as answer:
            if answer.status != 404:
                raise
            resources = []
        if any(each.get("name") == kind.plural for each in resources):
            return
        found = cluster.get("/apis").get("groups", [])
        versions = [
            each["groupVersion"] for group in found if group["name"] == kind.group for each in group["versions"]
        ]
        has = f"serves {', '.join(versions)}" if versions else "has nothing of it"
        yield _problem(run, f"{name} is needed in version {kind.api}; the cluster {has}.", _deploy(run), "crd")

    return ask


def _images(_: Cluster, run: ClusterRun) -> Iterator[Problem]:
    yield from image_problems(run)


def _namespace(cluster: Cluster, run: ClusterRun) -> Iterator[Problem]:
    if _look(cluster, k8s.NAMESPACE, run, run.team.namespace) is None:
        yield _problem(run, f"There is no namespace {run.team.namespace}.", _deploy(run), "namespace")


def _queue(cluster: Cluster, run: ClusterRun) -> Iterator[Problem]:
    name = run.pool.queue
    queue = _look(cluster, k8s.LOCAL_QUEUE, run, name)
    if queue is None:
        yield _problem(run, f"The namespace {run.team.namespace} has no queue {name}.", _deploy(run), "queue")
        return
    if queue.get("spec", {}).get("stopPolicy", "None") != "None":
        yield _problem(run, f"The queue {name} is stopped.", "operations: set its stopPolicy to None", "queue")
    yield from _inactive(run, f"The queue {name}", queue)


def _quota(cluster: Cluster, run: ClusterRun) -> Iterator[Problem]:
    """The queue of the team as the cluster has it; the run may wait for quota, but must fit in when all is free."""
    name = run.team.cluster_queues[run.pool_name]
    queue = _look(cluster, k8s.CLUSTER_QUEUE, run, name)
    if queue is None:
        yield _problem(run, f"There is no quota {name} for the team.", _deploy(run), "quota")
        return
    spec = queue.get("spec", {})
    if spec.get("stopPolicy", "None") != "None":
        yield _problem(run, f"The quota {name} is stopped.", "operations: set its stopPolicy to None", "quota")
    yield from _inactive(run, f"The quota {name}", queue)
    asked = run.gpus * run.nodes
    if not asked:
        return
    resource = run.platform.taints.gpu
    quotas = [
        amount
        for group in spec.get("resourceGroups", [])
        for flavor in group.get("flavors", [])
        if flavor.get("name") == run.pool_name
        for amount in flavor.get("resources", [])
        if amount.get("name") == resource
    ]
    if not quotas:
        yield _problem(run, f"The quota {name} knows no GPUs of pool {run.pool_name}.", _deploy(run), "quota")
        return
    nominal, limit = int(quotas[0]["nominalQuota"]), quotas[0].get("borrowingLimit")
    most = (
        _pool_gpus(run)
        if limit is None and (spec.get("cohortName") or spec.get("cohort"))
        else nominal + int(limit or 0)
    )
    if asked > most:
        yield _problem(
            run,
            f"The run asks for {asked} GPUs of pool {run.pool_name}; the team can hold at most {most} ({nominal} of "
            "its own), so it would wait for ever.",
            f"ask for fewer with resources.nodes and resources.count, name another pool, or let operations raise "
            f"teams.{run.team_name}.gpus",
            "quota",
            key="resources",
        )


def _pool_gpus(run: ClusterRun) -> int:
    return run.pool.max * len(run.pool.capacity) * run.pool.gpus


def _priority(cluster: Cluster, run: ClusterRun) -> Iterator[Problem]:
    name = run.spec.resources.priority
    if _look(cluster, k8s.PRIORITY, run, name) is None:
        yield _problem(run, f"The cluster has no priority {name}.", _deploy(run), "priority", key="resources.priority")


def _account(name: str) -> Check:
    def ask(cluster: Cluster, run: ClusterRun) -> Iterator[Problem]:
        if _look(cluster, k8s.SERVICE_ACCOUNT, run, name) is None:
            text = f"The namespace {run.team.namespace} has no service account {name}."
            yield _problem(run, text, _deploy(run), "service-account")

    return ask


def _secret_classes(run: ClusterRun) -> list[str]:
    if run.platform.local is not None:
        return []
    roles = {run.platform.stages[stage] for stage in planned(run) if stage in STEPS}
    return sorted(run.platform.secret_classes[role] for role in roles if run.platform.secrets_of(role))


def _secret_class(name: str) -> Check:
    def ask(cluster: Cluster, run: ClusterRun) -> Iterator[Problem]:
        if _look(cluster, k8s.SECRET_CLASS, run, name) is None:
            text = f"The namespace {run.team.namespace} has no {name}: its pods would find no secrets."
            yield _problem(run, text, _deploy(run), "secret")

    return ask


def _may(kind: Kind, verb: str, subresource: str) -> Check:
    def ask(cluster: Cluster, run: ClusterRun) -> Iterator[Problem]:
        attributes = {
            "namespace": run.team.namespace,
            "verb": verb,
            "group": kind.group,
            "resource": kind.plural,
            **({"subresource": subresource} if subresource else {}),
        }
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        if not cluster.ask(_ACCESS, review).get("allowed"):
            what = f"{kind.plural}/{subresource}" if subresource else kind.plural
            text = f"You may not {verb} {what} in {run.team.namespace}."
            yield _problem(run, text, _GROUP_MEMBER.format(team=f"teams.{run.team_name}"), "rights")

    return ask


def _look(cluster: Cluster, kind: Kind, run: ClusterRun, name: str) -> dict[str, Any] | None:
    try:
        return cluster.find(kind, run.team.namespace, name)
    except RefusedError as answer:
        if answer.status == 403:
            raise _MayNotLookError(f"{kind.plural} {name}") from answer
        raise


def _inactive(run: ClusterRun, what: str, queue: dict[str, Any]) -> Iterator[Problem]:
    for condition in queue.get("status", {}).get("conditions", []):
        if condition.get("type") == "Active" and condition.get("status") == "False":
            said = condition.get("message") or condition.get("reason")
            yield _problem(run, f"{what} admits nothing: {said}", _deploy(run), "queue")


def _deploy(run: ClusterRun) -> str:
    if run.platform.local is not None:
        return "whoever runs this cluster: install what is missing"
    return _DEPLOY.format(environment=run.platform.environment)


def _problem(run: ClusterRun, message: str, fix: str, code: str, key: str | None = None) -> Problem:
    return Problem(message, fix, file=f"environment {run.platform.environment}", key=key, code=f"preflight-{code}")
