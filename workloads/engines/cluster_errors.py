"""What goes wrong between here and a Kubernetes API server, as errors that a person can use.

::

    InputError
    └── RefusedError      the server is there and says no: what, why, who must do what
    UnavailableError
    └── AwayError         there is no usable answer now: asked again while patience lasts
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

from workloads.errors import InputError, Problem, UnavailableError

_TRY_LATER = frozenset({408, 425, 429, 500, 502, 503, 504})


class RefusedError(InputError):
    """The server refused.

    Attributes:
        status: the HTTP status.
        reason: Kubernetes' own word, such as AlreadyExists; empty when the answer was none of Kubernetes'.
    """

    def __init__(self, problem: Problem, status: int, reason: str) -> None:
        super().__init__(problem)
        self.status = status
        self.reason = reason


class AwayError(UnavailableError):
    """The server could not be reached, or could not answer."""


def refusal(status: int, body: bytes, context: str, what: str) -> RefusedError | AwayError:
    """The error that an HTTP status of 400 and more means."""
    try:
        value = json.loads(body)
    except ValueError:
        value = {}
    value = value if isinstance(value, dict) else {}
    said = str(value.get("message") or body[:200].decode(errors="replace").strip() or f"HTTP {status}")
    reason = str(value.get("reason") or "")
    where = f"context {context}"
    if status in _TRY_LATER:
        return AwayError(
            Problem(f"The API server cannot answer {what}: {said}", "try again in a minute", where, code="unavailable")
        )
    return RefusedError(
        Problem(f"The API server refused {what}: {said}", _fix(status), where, code="refused"), status, reason
    )


def _fix(status: int) -> str:
    match status:
        case 401:
            return "your login has expired: log in again (on Google Cloud: gcloud auth login)"
        case 403:
            return "ask operations to add you to the team's group, or use the kubeconfig context of an account in it"
        case 404:
            return "check the name with `tunery list --on ENV`; finished runs leave the cluster after a week"
        case 422 | 400:
            return "the cluster's definitions are of another version: use tunery and the platform of the same commit"
        case _:
            return "read what the server says; `tunery status RUN` shows where the run stands"


@contextmanager
def explained(context: str, host: str) -> Iterator[None]:
    """Turns what the connection raises into AwayError, with the most likely cause and what to do.

    A certificate that is not trusted is no matter of time: that is an InputError.
    """
    import urllib3.exceptions as wrong

    try:
        yield
    except (wrong.HTTPError, OSError) as error:
        cause = getattr(error, "reason", None) or error
        where = f"context {context}"
        start = f"The API server {host} cannot be reached"
        if isinstance(cause, wrong.SSLError):
            raise InputError.of(
                f"{start}: its certificate is not accepted ({cause}).",
                "the kubeconfig is of another or an older cluster: get it anew "
                "(on Google Cloud: gcloud container clusters get-credentials CLUSTER)",
                file=where,
            ) from error
        raise AwayError(_problem(start, cause, where)) from error


def _problem(start: str, cause: Exception | str, where: str) -> Problem:
    import urllib3.exceptions as wrong

    if isinstance(cause, wrong.NameResolutionError):
        text, fix = "its name is not known here", "connect to the company's network or VPN, and check the kubeconfig"
    elif isinstance(cause, wrong.NewConnectionError):
        text, fix = "nothing answers at its address", "connect to the VPN, or start the cluster; is it still there?"
    elif isinstance(cause, wrong.ConnectTimeoutError):
        text = "the connection was not made in time"
        fix = "connect to the VPN: the control plane answers only to authorized networks"
    elif isinstance(cause, wrong.ReadTimeoutError | TimeoutError):
        text, fix = "it did not answer in time", "try again; if it stays so, tell operations"
    else:
        text, fix = f"{cause or 'the connection broke off'}", "try again; if it stays so, check network and kubeconfig"
    return Problem(f"{start}: {text}.", fix, where, code="unreachable")
