"""What goes wrong between here and Artifactory, and how it is told.

::

    HttpError                   caught in workloads.hub, never shown as it is
    ├── StatusError             the server answered, and not with what was asked for
    ├── WrongAnswerError        what it sent cannot be right (range, encoding)
    │   └── WrongLengthError
    └── UnsafeRedirectError     it sent us where we do not go
"""

from __future__ import annotations

import http.client
import socket
import ssl
from http import HTTPStatus
from urllib.parse import urlsplit

from workloads.errors import InputError, Problem, TuneryError, UnavailableError
from workloads.hub.tokens import HOW_TO_GIVE

RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses that another attempt may not get."""
LONGEST_WAIT = 300.0
"""Seconds of a Retry-After that are waited; a server that asks for more is away."""


class HttpError(Exception):
    """A request that did not give what it should."""


class StatusError(HttpError):
    """An answer with an error status.

    Attributes:
        retry_after: seconds that the server asks to wait.
    """

    def __init__(self, status: int, place: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(f"{place} answers {status} {phrase(status)}{message and ': '}{message}")
        self.status, self.place, self.message, self.retry_after = status, place, message, retry_after


class WrongAnswerError(HttpError):
    """What was sent contradicts itself or what was asked for."""


class WrongLengthError(WrongAnswerError):
    """A file has more or fewer bytes than was said of it."""


class UnsafeRedirectError(HttpError):
    """A redirect that is not followed."""


def phrase(status: int) -> str:
    """The words of a status."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "(unknown status)"


def place_of(url: str) -> str:
    """An address as it may be shown: without its query, which in a signed address is a credential."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}{parts.path}"


def is_passing(error: BaseException) -> bool:
    """Whether another attempt may succeed."""
    if isinstance(error, StatusError):
        return error.status in RETRIED and (error.retry_after or 0.0) <= LONGEST_WAIT
    if isinstance(error, ssl.SSLCertVerificationError | UnsafeRedirectError):
        return False
    return isinstance(error, OSError | http.client.HTTPException | WrongAnswerError)


def explained(error: BaseException, url: str) -> TuneryError:
    """The error that a person sees when a request to ``url`` has failed for good."""
    place = place_of(url)
    if isinstance(error, TuneryError):
        return error
    if isinstance(error, StatusError):
        return _status(error)
    if isinstance(error, ssl.SSLCertVerificationError):
        return UnavailableError.of(
            f"The certificate of {place} is not trusted: {error.verify_message}.",
            "name the file with your company's certificate authority in SSL_CERT_FILE; when that is done already, "
            "the certificate has expired or is of another host",
        )
    if isinstance(error, socket.gaierror):
        return UnavailableError.of(
            f"{place} cannot be reached: {error.strerror}.", "correct the address, or see whether DNS works here"
        )
    if isinstance(error, TimeoutError):
        return UnavailableError.of(
            f"{place} cannot be reached: connection timed out.", "see whether a firewall or a network policy drops it"
        )
    if isinstance(error, WrongLengthError):
        fix = "tell whoever runs Artifactory: this file is damaged there, or changed on the way"
        return UnavailableError(Problem(f"{error}.", fix, code="wrong-bytes"))
    if isinstance(error, HttpError):
        return UnavailableError.of(f"{error}.", "tell whoever runs Artifactory, with this message")
    if isinstance(error, OSError):
        return UnavailableError.of(
            f"{place} cannot be reached: {error.strerror or error}.", "see whether the server runs, and try again"
        )
    return UnavailableError.of(
        f"{place} does not speak HTTP as it should: {type(error).__name__}.", "correct the address, or try again later"
    )


def _status(error: StatusError) -> TuneryError:
    said = f"{error}".rstrip(".") + "."
    if error.status == HTTPStatus.UNAUTHORIZED:
        return UnavailableError(Problem(said, f"the token is missing, wrong or expired: {HOW_TO_GIVE}", code="token"))
    if error.status == HTTPStatus.FORBIDDEN:
        fix = "ask whoever runs Artifactory to let the token's account do this in that repository"
        return UnavailableError(Problem(said, fix, code="permission"))
    if error.status in (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.INSUFFICIENT_STORAGE):
        return UnavailableError.of(said, "free space in Artifactory, or ask for a larger quota, and publish again")
    if error.status in RETRIED:
        return UnavailableError.of(said, "try again later: what has been moved so far is kept")
    return InputError.of(said, "see whether the address and the name of the repository are right")
