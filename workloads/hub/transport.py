"""Requests to Artifactory: with the token to it and to no other host, tried again where that may help."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from urllib.parse import urljoin, urlsplit

from workloads.errors import TuneryError
from workloads.hub.answers import LARGEST_REPLY, Answer, Reply, status_error
from workloads.hub.connections import Connections, cut_after, same_origin
from workloads.hub.http_errors import (
    HttpError,
    StatusError,
    UnsafeRedirectError,
    WrongAnswerError,
    explained,
    is_passing,
    place_of,
)
from workloads.hub.tokens import TokenSource

T = TypeVar("T")
ATTEMPTS = 6
"""Of a request that brings nothing; a download that gets on starts counting anew."""
TIMEOUT = 30.0
"""Seconds without a byte, or for all headers of an answer."""
_UPLOAD_TIMEOUT = 600.0
"""Seconds until an upload is answered: the server computes checksums first."""
_REDIRECTS = 5
_REDIRECTING = frozenset({301, 302, 303, 307, 308})
_CHUNK = 1 << 20


@dataclass
class Transport:
    """Requests with one token.

    Attributes:
        home: the only server that gets the token.
        sleep: waits between attempts; tests have their own.
    """

    home: str
    tokens: TokenSource = field(default_factory=TokenSource)
    timeout: float = TIMEOUT
    sleep: Callable[[float], None] = time.sleep

    def __post_init__(self) -> None:
        self._connections = Connections(self.timeout)

    def call(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | Path = b"",
        accept: frozenset[int] = frozenset(),
        redirects: bool = True,
        limit: int = LARGEST_REPLY,
    ) -> Reply:
        """Sends a request, again where that may help, and reads the answer.

        Args:
            accept: statuses of 300 and above that are an answer, and no error.
            redirects: whether a redirect to another host is followed; within ``home`` it always is.

        Raises:
            TuneryError: what went wrong, and what to do about it.
        """

        def once() -> Reply:
            with self.open(method, url, headers=headers, body=body, accept=accept, redirects=redirects) as answer:
                content = b"" if method == "HEAD" else answer.read(limit)
                return Reply(answer.status, answer.headers, content)

        return self.persist(once, url)

    def persist(self, work: Callable[[], T], url: str, progress: Callable[[], int] = lambda: 0) -> T:
        """Calls ``work`` until it succeeds or cannot.

        Args:
            url: what an error is about.
            progress: a number that grows as the work gets on, which makes up for failures before it.

        Raises:
            TuneryError: what went wrong, and what to do about it.
        """
        try:
            return work()
        except (HttpError, OSError, http.client.HTTPException, TuneryError) as error:
            first: Exception = error
        if not is_passing(first):
            raise explained(first, url)  # without what caused it, which may hold headers
        return self._persist(first, work, url, progress)

    def _persist(self, first: Exception, work: Callable[[], T], url: str, progress: Callable[[], int]) -> T:
        """As :meth:`persist`, after a first attempt that failed."""
        from tenacity import RetryCallState, Retrying, retry_if_exception, wait_random_exponential

        failed = [first]

        def attempt() -> T:
            if failed:
                raise failed.pop()
            return work()

        jitter = wait_random_exponential(multiplier=0.5, max=20)
        failures, reached = 0, -1

        def enough(_: RetryCallState) -> bool:
            nonlocal failures, reached
            now = progress()
            failures, reached = (failures + 1, reached) if now <= reached else (1, now)
            return failures >= ATTEMPTS

        def pause(state: RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome else None
            asked = error.retry_after if isinstance(error, StatusError) else None
            return jitter(state) if asked is None else asked

        again = Retrying(retry=retry_if_exception(is_passing), stop=enough, wait=pause, sleep=self.sleep, reraise=True)
        try:
            return again(attempt)
        except (HttpError, OSError, http.client.HTTPException, TuneryError) as error:
            failure = explained(error, url)
        raise failure

    @contextmanager
    def open(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        headers_home: Mapping[str, str] | None = None,
        body: bytes | Path = b"",
        accept: frozenset[int] = frozenset(),
        redirects: bool = True,
    ) -> Iterator[Answer]:
        """Sends a request once; the connection is kept when its answer has been read to the end.

        Args:
            headers_home: further headers, which only ``home`` understands.

        Raises:
            HttpError: the answer is an error.
            OSError, http.client.HTTPException: the connection failed.
        """
        token = self.tokens.read()
        for _ in range(_REDIRECTS + 1):
            sent = {**(headers or {}), "Accept-Encoding": "identity", "User-Agent": "tunery"}
            if same_origin(url, self.home):
                sent |= dict(headers_home or {})
                if token is not None:
                    sent["Authorization"] = f"Bearer {token.value}"
            connection, answer = self._exchange(method, url, sent, body)
            whole = False
            try:
                target = self._redirect(answer, redirects) if method in ("GET", "HEAD") else None
                if target is None:
                    if answer.status >= 300 and answer.status not in accept:
                        raise status_error(answer, token)
                    yield answer
                    whole = method == "HEAD" or answer.left == 0 or answer.response.isclosed()
                    return
                answer.read(_CHUNK)
                whole = True
                url = target
            finally:
                answer.response.close()
                if whole and not answer.response.will_close:
                    self._connections.give(answer.url, connection)
                else:
                    connection.close()
        raise UnsafeRedirectError(f"{place_of(url)} redirects again and again")

    def _exchange(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | Path
    ) -> tuple[http.client.HTTPConnection, Answer]:
        connection, used = self._connections.take(url)
        try:
            return connection, self._send(connection, method, url, headers, body)
        except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
            connection.close()
            if not used:  # a server may close what has been idle, and say so only now
                raise
        except BaseException:
            connection.close()
            raise
        connection = self._connections.fresh(url)
        try:
            return connection, self._send(connection, method, url, headers, body)
        except BaseException:
            connection.close()
            raise

    def _send(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | Path,
    ) -> Answer:
        parts = urlsplit(url)
        connection.putrequest(
            method, f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}", skip_accept_encoding=True
        )
        for name, value in headers.items():
            connection.putheader(name, value)
        size = body.stat().st_size if isinstance(body, Path) else len(body)
        if size or method in ("PUT", "POST"):
            connection.putheader("Content-Length", str(size))
        connection.endheaders()
        broken = _send_body(connection, body)
        patience = _UPLOAD_TIMEOUT if size else self.timeout
        if connection.sock is not None:
            connection.sock.settimeout(patience)
        with cut_after(connection, patience):
            try:
                response = connection.getresponse()
            except (OSError, http.client.HTTPException):
                if broken is not None:
                    raise broken from None
                raise
        if connection.sock is not None:
            connection.sock.settimeout(self.timeout)
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise WrongAnswerError(f"{place_of(url)} sends compressed bytes that were not asked for")
        left = 0 if method == "HEAD" else response.length
        return Answer(response.status, response.headers, url, response, left)

    def _redirect(self, answer: Answer, elsewhere: bool) -> str | None:
        """Where the answer sends us; None when it is to be taken as it is."""
        location = answer.headers.get("Location")
        if answer.status not in _REDIRECTING or location is None:
            return None
        target = urljoin(answer.url, location)
        if urlsplit(target).scheme not in ("http", "https") or (
            answer.url.startswith("https:") and target.startswith("http:")
        ):
            raise UnsafeRedirectError(f"{place_of(answer.url)} redirects to {place_of(target)}, which is not encrypted")
        return target if elsewhere or same_origin(target, answer.url) else None


def _send_body(connection: http.client.HTTPConnection, body: bytes | Path) -> OSError | None:
    """Sends a body; a server that refuses it early may close the connection, and its answer says why."""
    try:
        if isinstance(body, Path):
            with body.open("rb") as stream:
                while chunk := stream.read(_CHUNK):
                    connection.send(chunk)
        elif body:
            connection.send(body)
    except (BrokenPipeError, ConnectionResetError) as error:
        return error
    return None
