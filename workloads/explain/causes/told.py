"""A stage failed and said why: the best evidence that there is."""

from __future__ import annotations

import re

from workloads.errors import ExitCode
from workloads.explain.cause import Act, Found, cause, found
from workloads.explain.evidence import Evidence
from workloads.explain.objects import text, told

_HUB_STAGES = ("fetch", "publish", "serve")
_NO_NAME = r"Name or service not known|Temporary failure in name resolution|name resolution|nodename nor servname"
_NO_ROUTE = r"[Cc]onnection timed out|Network is unreachable|No route to host|ConnectTimeout"
_REFUSED = r"\b401\b|\b403\b|[Uu]nauthorized|[Ff]orbidden|token (?:is|was|has)|refuses the token"
_GPU_MEMORY = r"CUDA out of memory|torch\.(?:cuda\.)?OutOfMemoryError|CUBLAS_STATUS_ALLOC_FAILED"
_NO_LOSS = r"(?:loss|grad_norm)\W{1,4}nan\b"


@cause(
    "gate-failed",
    "The trained model did not meet the spec's gate, so it was not exported.",
    Act.DEVELOPER,
    "compare before and after in the report: tunery report {run}; then change the training, or the gate's rules",
)
def gate_failed(e: Evidence) -> Found | None:
    missed = [told(each) for each in e.problems if each.get("code") == "gate"]
    if not missed:
        return None
    return found(f"The model of {e.run} missed {len(missed)} of its gate's rules and was not exported.", *missed)


@cause(
    "gpu-memory",
    "The training needs more accelerator memory than the node's GPU has.",
    Act.DEVELOPER,
    "make one of the changes below (or name a pool with larger GPUs), then send the changed spec: "
    "tunery run SPEC --on {environment}",
)
def gpu_memory(e: Evidence) -> Found | None:
    said = e.problem("accelerator's memory was too small|CUDA out of memory")
    line = e.logged(_GPU_MEMORY)
    if said is None and (line is None or e.exit_code is None or e.failure is not None):
        return None  # what a stage said itself counts for more than an older line of the log
    return found(f"The GPU's memory ran out in {e.stage}.", said, line, *(e.advice or _USUAL))


_USUAL = (
    "change: per_device_train_batch_size=1, with gradient_accumulation_steps raised by the same factor",
    "change: cutoff_len halved, if rows are shorter than it",
    "change: quantization_bit=4",
)


@cause(
    "no-loss",
    "The loss is not a number any more: from there on the training learns nothing.",
    Act.DEVELOPER,
    "lower learning_rate (a third of it is a good start), set max_grad_norm: 1.0 and bf16 instead of fp16, look for "
    "empty answers in the data, and run the changed spec",
)
def no_loss(e: Evidence) -> Found | None:
    logs = [each for each in e.history if each.get("event") == "log" and "loss" in each]
    lost = [each for each in logs[-3:] if each["loss"] is None]
    said = e.problem(r"\bNaN\b|not a number|loss (?:exploded|is infinite)")
    if said is None and (not lost or lost[-1] is not logs[-1]):
        return None
    first = lost[0].get("step") if lost else None
    numbers = [each for each in logs if each["loss"] is not None]
    before = (
        f"last loss that was a number: {numbers[-1]['loss']} at step {numbers[-1].get('step')}" if numbers else None
    )
    where = f" since step {first}" if first is not None else ""
    return found(f"The loss of {e.run} is not a number{where}.", said, e.logged(_NO_LOSS), before)


@cause(
    "rank-absent",
    "Of several pods or GPUs that train together, one did not take part.",
    Act.OPERATIONS,
    "read that rank's log: tunery logs {run} --stage train; let the run go on with {again}; a node that fails twice "
    "should be drained",
)
def rank_absent(e: Evidence) -> Found | None:
    pattern = r"^Of \d+ nodes, |^Ranks? .+ on nodes? |^Rank \d+ on \S+ could not sum|^Node \d+ \(.+\) did not reach"
    said = e.problem(pattern)
    return None if said is None else found(f"The pods of {e.run} did not come together: {said.split(' Fix:')[0]}", said)


@cause(
    "peer-lost",
    "A process of a training with several ranks lost another one.",
    Act.DEVELOPER,
    "the reason is in the log of the rank that went first: tunery logs {run} --stage train; then {again}",
)
def peer_lost(e: Evidence) -> Found | None:
    said = e.problem("Another process of the training is gone")
    line = e.logged("Connection closed by peer|NCCL error|Watchdog caught collective operation timeout")
    return None if said is None else found(f"A rank of {e.run} lost another one in {e.stage}.", said, line)


@cause(
    "no-name",
    "A name could not be looked up: DNS is away, or a network policy stops it.",
    Act.OPERATIONS,
    "kubectl -n {namespace} get networkpolicies, and kubectl -n kube-system get pods -l k8s-app=kube-dns; then {again}",
)
def no_name(e: Evidence) -> Found | None:
    return _connection(e, _NO_NAME, "could not look up a name")


@cause(
    "hub-token",
    "The hub refused the token, or its account may not do what was asked.",
    Act.OPERATIONS,
    "put a valid token into Secret Manager as a new version of the artifactory-token secret of {environment}, then "
    "{again}",
)
def hub_token(e: Evidence) -> Found | None:
    if e.stage not in _HUB_STAGES or e.failure is None:
        return None
    said = e.problem(_REFUSED)
    return None if said is None else found(f"The hub refused {e.run} in {e.stage}.", said)


@cause(
    "blocked",
    "A connection was never answered: a network policy or firewall drops it, or the other side is down.",
    Act.OPERATIONS,
    "compare the address with the namespace's egress rules: kubectl -n {namespace} describe networkpolicies; then "
    "{again}",
)
def blocked(e: Evidence) -> Found | None:
    return _connection(e, _NO_ROUTE, "got no answer")


@cause(
    "disk-full",
    "A disk became full while a stage worked.",
    Act.DEVELOPER,
    "keep fewer checkpoints (save_total_limit) or use a pool with more scratch space, then {again}",
)
def disk_full(e: Evidence) -> Found | None:
    said = e.problem(r"disk became full|disk is full|disk is too small|No space left on device")
    return None if said is None else found(f"The disk was full in {e.stage} of {e.run}.", said)


@cause(
    "hub-away",
    "The hub did not answer for longer than a stage waits.",
    Act.OPERATIONS,
    "see whether the hub answers from the cluster's network; then {again}: finished stages are kept",
)
def hub_away(e: Evidence) -> Found | None:
    if e.failure is None or e.exit_code != ExitCode.UNAVAILABLE or e.stage not in _HUB_STAGES:
        return None
    if e.problem("Cloud Storage"):
        return None
    return found(f"The hub did not answer {e.run} in {e.stage}.", *_said(e))


@cause(
    "store-refused",
    "Cloud Storage refused access, or has no such bucket.",
    Act.OPERATIONS,
    "deploy the environment again (cdktf deploy cluster-{environment}), which gives the roles their access; then "
    "{again}",
)
def store_refused(e: Evidence) -> Found | None:
    said = e.problem("Cloud Storage refuses access|There is no bucket")
    return None if said is None else found(f"The store refused {e.run} in {e.stage}.", said)


@cause(
    "store-away",
    "Cloud Storage did not answer for longer than a stage waits.",
    Act.DEVELOPER,
    "when Cloud Storage answers again: {again}",
)
def store_away(e: Evidence) -> Found | None:
    said = e.problem("Cloud Storage does not answer")
    return None if said is None else found(f"The store did not answer {e.run} in {e.stage}.", said)


@cause(
    "damaged",
    "Bytes in the store are not those that were recorded for them.",
    Act.OPERATIONS,
    "remove the folder that is named from the store (soft deletion keeps it for a week), then {again} makes it anew",
)
def damaged(e: Evidence) -> Found | None:
    bad = [told(each) for each in e.problems if each.get("code") == "damaged"]
    return found(f"What {e.run} reads in {e.stage} is damaged.", *bad) if bad else None


@cause(
    "wrong-config",
    "What the spec or the data says cannot work; trying again changes nothing.",
    Act.DEVELOPER,
    "correct what is named, check it with tunery check SPEC, and send it: tunery run SPEC --on {environment}",
)
def wrong_config(e: Evidence) -> Found | None:
    if e.exit_code != ExitCode.INPUT:
        return None
    first = text(e.problems[0].get("message")) if e.problems else "its problems are in the log"
    return found(f"The stage {e.stage} of {e.run} refused its input: {first}", *_said(e))


@cause(
    "service-away",
    "Something that a stage needs did not answer for longer than it waits.",
    Act.OPERATIONS,
    "when it is there again: {again}",
)
def service_away(e: Evidence) -> Found | None:
    if e.failure is None or e.exit_code != ExitCode.UNAVAILABLE:
        return None
    return found(f"The stage {e.stage} of {e.run} gave up waiting.", *_said(e))


@cause(
    "fault",
    "A stage failed in a way that tunery does not know.",
    Act.DEVELOPER,
    "read the log: tunery logs {run} --stage {stage}; the same again with {again} shows whether it was chance",
)
def fault(e: Evidence) -> Found | None:
    if e.exit_code != ExitCode.INTERNAL and e.failure is None:
        return None
    return found(f"The stage {e.stage} of {e.run} failed.", *_said(e), e.logged(r"^\w*(Error|Exception)\b"))


def _connection(e: Evidence, pattern: str, what: str) -> Found | None:
    if e.exit_code != ExitCode.UNAVAILABLE or (e.failure is None and not e.failed):
        return None
    said = e.problem(pattern)
    line = e.logged(pattern)
    if said is None and line is None:
        return None
    address = re.search(r"https?://[^\s/'\"]+|host=?'?[\w.-]+", f"{said} {line}")
    named = f" ({address[0]})" if address else ""
    return found(f"The stage {e.stage} of {e.run} {what}{named}.", said, line)


def _said(e: Evidence) -> list[str]:
    lines = [told(each) for each in e.problems]
    if e.exit_code is not None:
        lines.append(f"exit code {e.exit_code} of stage {e.stage}")
    return [*lines, "the workflow goes on: it is tried again by itself"] if e.going else lines
