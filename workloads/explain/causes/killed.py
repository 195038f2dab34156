"""Kubernetes ended the work, and the stage had no time to say anything."""

from __future__ import annotations

from collections.abc import Iterator

from workloads.explain.cause import Act, Found, cause, found
from workloads.explain.evidence import Evidence
from workloads.explain.objects import Object, condition_line, ended, happened_line, holds, name_of, part, text

_SIGKILL = 137


@cause(
    "host-memory",
    "The pod used more of its node's memory than it may (OOMKilled); the GPU's memory is another matter.",
    Act.DEVELOPER,
    "use a pool whose nodes have more memory, or lower preprocessing_num_workers and dataloader_num_workers, or set "
    "streaming: true for large data; then run the changed spec",
)
def host_memory(e: Evidence) -> Found | None:
    for pod in reversed(e.newest_pods):
        end = ended(pod)
        if end.get("reason") == "OOMKilled":
            limit = _limit(pod, "memory")
            more = f" of {limit}" if limit else ""
            line = f"pod {name_of(pod)}: container main terminated, OOMKilled, exit code {end.get('exitCode')}"
            return found(f"The memory{more} of pod {name_of(pod)} was not enough for {e.stage}.", line, *e.advice)
    return None


@cause(
    "evicted-disk",
    "The pod wrote more to its node's disk than it may, and was evicted.",
    Act.DEVELOPER,
    "keep fewer checkpoints (save_total_limit), or use a pool with more scratch space; then run the changed spec",
)
def evicted_disk(e: Evidence) -> Found | None:
    return _evicted(e, ("ephemeral",), "wrote more to its disk than it may")


@cause(
    "shared-memory",
    "The pod used more shared memory (/dev/shm) than it may, and was evicted.",
    Act.DEVELOPER,
    "lower dataloader_num_workers, or use a pool whose nodes have more memory; then run the changed spec",
)
def shared_memory(e: Evidence) -> Found | None:
    return _evicted(e, ('EmptyDir volume "shm"',), "used more shared memory than it may")


@cause(
    "evicted",
    "The pod's node ran out of something, and the kubelet evicted the pod.",
    Act.OPERATIONS,
    "see what else was on the node; then {again}",
)
def evicted(e: Evidence) -> Found | None:
    return _evicted(e, ("",), "was evicted from its node")


@cause(
    "deadline",
    "The stage or the workflow took longer than it may.",
    Act.DEVELOPER,
    "raise resources.max_hours, or train fewer steps, and run the changed spec; {again} goes on from the last "
    "checkpoint with the same limit",
)
def deadline(e: Evidence) -> Found | None:
    for job in (*e.jobs, e.job):
        if holds(job, "Failed").get("reason") == "DeadlineExceeded":
            limit = part(job, "spec", "activeDeadlineSeconds")
            hours = f" of {limit / 3600:g} hours" if isinstance(limit, int) else ""
            what = f"The {e.stage} of {e.run} was stopped at its limit{hours}."
            return found(what, condition_line(job, "Failed"), _progress(e))
    if not e.failed:
        return None
    for said in (text(e.step.get("message")), text(part(e.workflow, "status", "message"))):
        if "exceeded its deadline" in said or "Max duration limit exceeded" in said or "DeadlineExceeded" in said:
            return found(f"{e.run} was stopped at its time limit in {e.stage}.", f"workflow: {said}", _progress(e))
    return None


@cause(
    "restarts-spent",
    "The work was started again as often as it may be, and failed each time.",
    Act.DEVELOPER,
    "read what the last try said: tunery logs {run} --stage {stage}; when its reason is gone: {again}",
)
def restarts_spent(e: Evidence) -> Found | None:
    if not e.failed:
        return None
    for job in (e.job, *e.jobs):
        end = holds(job, "Failed")
        if end.get("reason") in ("BackoffLimitExceeded", "ReachedMaxRestarts") or "max number of restarts" in text(
            end.get("message")
        ):
            restarts = part(job, "status", "restarts")
            count = f" after {restarts} restarts" if isinstance(restarts, int) and restarts else ""
            codes = ", ".join(sorted(_codes(e)))
            return found(f"The {e.stage} of {e.run} failed{count}.", condition_line(job, "Failed"), codes)
    said = text(e.step.get("message"))
    if e.step.get("type") == "Retry" and said.startswith("No more retries left"):
        codes = ", ".join(sorted(_codes(e)))
        return found(f"Every try of {e.stage} failed.", f"workflow: {e.stage}: {said}", codes)
    return None


@cause(
    "killed",
    "The pod's process was killed from outside, and nobody said why.",
    Act.DEVELOPER,
    "{again} goes on from the last checkpoint; if it happens again, look for memory: tunery estimate SPEC",
)
def killed(e: Evidence) -> Found | None:
    if not e.failed:
        return None
    for pod in e.newest_pods:
        if ended(pod).get("exitCode") == _SIGKILL:
            line = f"pod {name_of(pod)}: container main terminated, {ended(pod).get('reason')}, exit code {_SIGKILL}"
            return found(f"The process of {e.stage} in pod {name_of(pod)} was killed.", line)
    return None


def _evicted(e: Evidence, marks: tuple[str, ...], what: str) -> Found | None:
    # One that was evicted for what it used itself is evicted again, also when its successor works now.
    for pod in reversed(e.newest_pods if marks == ("",) else e.stage_pods):
        said = text(part(pod, "status", "message"))
        if part(pod, "status", "reason") == "Evicted" and any(mark in said for mark in marks):
            events = [happened_line(each) for each in e.happened("Evicted")[-1:]]
            return found(f"Pod {name_of(pod)} of {e.stage} {what}.", f"pod {name_of(pod)}: Evicted: {said}", *events)
    return None


def _limit(pod: Object, resource: str) -> str:
    containers = part(pod, "spec", "containers")
    first = containers[0] if isinstance(containers, list) and containers else {}
    return text(part(first, "resources", "limits", resource))


def _codes(e: Evidence) -> Iterator[str]:
    for pod in e.stage_pods:
        code = ended(pod).get("exitCode")
        if code is not None:
            yield f"pod {name_of(pod)}: exit code {code}"


def _progress(e: Evidence) -> str | None:
    step, most = e.progress.get("step"), e.progress.get("max_steps")
    return f"training: step {step} of {most}" if step is not None else None
