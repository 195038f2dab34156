"""Whether Artifactory works as a Hugging Face Hub, tried with one small file, and what is wrong when it does not."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

from workloads.errors import InputError, Problem, TuneryError, UnavailableError
from workloads.hub.answers import Reply
from workloads.hub.artifactory_huggingface import file_of, file_path, snapshot_path
from workloads.hub.growing import Verifier
from workloads.hub.http_errors import place_of
from workloads.hub.transport import Transport

SMALL = "config.json"
"""The file that is downloaded; every model of transformers has it."""
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MISSING = frozenset({404})
_COMMIT = re.compile(r"[0-9a-f]{40}")
_TYPE = "see that the repository in Artifactory is of the type Hugging Face, and Artifactory is 7.77 or newer"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was tried; ``problem`` is None when it works."""

    what: str
    problem: Problem | None = None


def preflight(transport: Transport, endpoint: str, model: str) -> Iterator[Step]:
    """Tries one thing after another, and ends after the first that does not work.

    Args:
        endpoint: what HF_ENDPOINT names.
        model: a model that the repository offers, such as ``Qwen/Qwen3-0.6B``.
    """
    step, reply = _try("the token and the repository", lambda: _describe(transport, endpoint, model))
    yield step
    if reply is None:
        return
    commit = (reply.json() or {}).get("sha")
    if not isinstance(commit, str) or not _COMMIT.fullmatch(commit):
        message = f"{endpoint} describes {model} without the commit that its name means."
        yield Step("the commit of the model", Problem(message, _TYPE, code="protocol"))
        return
    yield Step("the commit of the model")
    url = f"{endpoint}/{file_path(model, commit, SMALL)}"
    step, head = _try(
        f"the headers of {SMALL}",
        lambda: _with_headers(transport.call("HEAD", url, accept=_REDIRECTS, redirects=False), url),
    )
    yield step
    if head is None:
        return
    what = f"the bytes of {SMALL}"
    step, first = _try(what, lambda: transport.call("GET", url, accept=_REDIRECTS, redirects=False))
    if first is not None and first.status in _REDIRECTS:
        host = urlsplit(urljoin(url, first.headers.get("Location", ""))).hostname or "nowhere"
        step, first = _try(
            f"{what} from {host}, where Artifactory sends downloads", lambda: _from(transport, url, host)
        )
    if first is not None:
        body = first.body
        step, _ = _try(step.what, lambda: _compared(head, url, body))
    yield step


def _try(what: str, work: Callable[[], Reply]) -> tuple[Step, Reply | None]:
    try:
        return Step(what), work()
    except TuneryError as error:
        return Step(what, error.problems[0]), None


def _describe(transport: Transport, endpoint: str, model: str) -> Reply:
    reply = transport.call("GET", f"{endpoint}/{snapshot_path(model, 'main')}", accept=_MISSING)
    if reply.status not in _MISSING:
        return reply
    if reply.headers.get("X-Error-Code"):
        raise InputError.of(
            f"{endpoint} has no model {model}.",
            "write its name as Hugging Face has it, or see whether Artifactory may fetch it from there",
        )
    raise InputError.of(
        f"{endpoint} answers 404 Not Found.",
        "see that the name of the repository is right, that it is of the type Hugging Face, and that the token may "
        "read it: Artifactory can hide what it may not",
    )


def _with_headers(reply: Reply, url: str) -> Reply:
    """The answer, when it has the headers without which the official client refuses a file."""
    missing = [name for name in ("X-Repo-Commit", "ETag") if not reply.headers.get(name)]
    if reply.headers.get("X-Linked-Etag"):
        missing = [name for name in missing if name != "ETag"]
    if missing:
        message = f"{place_of(url)} is sent without {' and '.join(missing)}."
        fix = f"{_TYPE}; a proxy before it may also drop headers"
        raise UnavailableError(Problem(message, fix, code="protocol"))
    return reply


def _from(transport: Transport, url: str, host: str) -> Reply:
    """The file, which comes from another host."""
    try:
        return transport.call("GET", url)
    except UnavailableError as error:
        raise UnavailableError(
            Problem(
                f"Artifactory sends downloads to {host}, and that fails: {error.problems[0].message}",
                f"let the network policy and the firewall pass HTTPS to {host}, or switch off signed redirects for "
                "the repository in Artifactory",
                code="redirect",
            )
        ) from None


def _compared(head: Reply, url: str, body: bytes) -> Reply:
    """The headers, when the bytes are those that they announce."""
    file = file_of(head, url, SMALL)
    if file is not None:
        verifier = Verifier(file)
        verifier.update(memoryview(body))
        if verifier.entry is None:
            message = f"{place_of(url)} does not have the digest that its ETag gives."
            raise UnavailableError(Problem(message, "see what changes it on the way here", code="wrong-bytes"))
    return head
