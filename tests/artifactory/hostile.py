"""Faults: what networks, proxies and attackers do to requests and replies.

A fault is a function of the request and of what would answer it; it gives the reply that is sent instead. A
:class:`Rule` says which requests it meets and how often.
"""

from __future__ import annotations

import json
import re
import threading
import zlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from artifactory.wire import Answer, Content, Delivery, DisconnectedError, Host, RefusalError, Reply, Request, serve

Fault = Callable[[Request, Answer], Reply]


@dataclass
class Rule:
    """Which requests a fault meets.

    Attributes:
        path: regular expression that is searched in the request target as it was sent.
        methods: HTTP methods; all when empty.
        host: ``artifactory`` or the ``storage`` it redirects to; either when None.
        skip: matching requests that go well before the first that does not.
        times: requests that are met after that; None is every one.
        hits: requests that were met.
    """

    fault: Fault
    path: str = ""
    methods: Collection[str] = ()
    host: Host | None = None
    skip: int = 0
    times: int | None = None
    hits: int = 0
    _seen: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def meets(self, request: Request) -> bool:
        """Whether this request is met; counts it."""
        if self.methods and request.method not in self.methods:
            return False
        if self.host not in (None, request.host) or not re.search(self.path, request.target):
            return False
        with self._lock:
            self._seen += 1
            if self._seen <= self.skip or (self.times is not None and self.hits >= self.times):
                return False
            self.hits += 1
            return True


def _delivered(delivery: Delivery) -> Fault:
    return lambda request, answer: replace(answer(), delivery=delivery)


def reset(after: int = -1) -> Fault:
    """The connection is reset after so many bytes of the body; -1: before anything is sent, although it was done."""
    return _delivered(Delivery(after, "reset"))


def cut(after: int) -> Fault:
    """The connection closes in good order after so many bytes of a body that was announced longer."""
    return _delivered(Delivery(after, "close"))


def stall(after: int = -1) -> Fault:
    """Nothing more comes after so many bytes of the body (-1: nothing at all), and the connection stays open."""
    return _delivered(Delivery(after, "stall"))


def slow_loris(pause: float) -> Fault:
    """The head comes byte by byte with ``pause`` seconds between: never silent, never done."""
    return _delivered(Delivery(pause=pause))


def upload_reset(after: int) -> Fault:
    """The connection is reset when so many bytes of an upload have arrived; nothing of it is kept."""

    def fault(request: Request, answer: Answer) -> Reply:
        request.body.limit = after
        try:
            return answer()
        finally:
            if request.body.limit >= 0:
                raise DisconnectedError

    return fault


def wrong_length(by: int) -> Fault:
    """Content-Length is off by ``by``: more than what is sent, or less."""

    def fault(request: Request, answer: Answer) -> Reply:
        reply = answer()
        short = min(by, 0)
        size = reply.content.size + by
        names = ("Content-Length", *(name for name in reply.headers if name == "X-Linked-Size"))
        lengths = dict.fromkeys(names, str(size))
        sent = Delivery(reply.content.size + short, "close")
        return replace(reply.with_headers(lengths), delivery=sent)

    return fault


def corrupt(position: int = 0) -> Fault:
    """One bit of the body is wrong, and every header says that all is well."""

    def fault(request: Request, answer: Answer) -> Reply:
        reply = answer()
        data = bytearray(reply.content.read())
        if data:
            data[position % len(data)] ^= 1
        return replace(reply, content=Content.of(bytes(data)))

    return fault


def changed(content: bytes, etag: str = '"changed"') -> Fault:
    """The file is another one now, with another entity tag: for the second of two ranges, use ``skip=1``."""

    def fault(request: Request, answer: Answer) -> Reply:
        kept = ("x-repo-commit", "x-linked-etag")
        headers = {name: value for name, value in answer().headers.items() if name.lower() in kept}
        linked = {"X-Linked-Etag": etag, "X-Linked-Size": str(len(content))} if "X-Linked-Etag" in headers else {}
        return serve(request, Content.of(content), etag, headers | linked)

    return fault


def status(code: int, message: str = "it broke", headers: Mapping[str, str] | None = None) -> Fault:
    """An error in Artifactory's form, and nothing is done: 401, 403, 404, bursts of 500, 502, 503."""
    return lambda request, answer: RefusalError(code, message, headers).reply


def too_many(retry_after: str) -> Fault:
    """429 with Retry-After, in seconds or as a date."""
    return status(429, "Too many requests", {"Retry-After": retry_after})


def page(code: int, text: str = "<html><body>Sign in to the company proxy</body></html>") -> Fault:
    """A page for people in place of the answer: a proxy's login (200) or its error (502)."""
    return lambda request, answer: Reply(code, {"Content-Type": "text/html"}, Content.of(text.encode()))


def huge_headers(size: int) -> Fault:
    """One header of so many bytes."""
    return lambda request, answer: answer().with_headers({"X-Huge": "h" * size})


def without(*names: str) -> Fault:
    """Headers that a proxy in between takes away, such as X-Repo-Commit and ETag."""
    gone = {name.lower() for name in names}

    def fault(request: Request, answer: Answer) -> Reply:
        reply = answer()
        return replace(
            reply, headers={name: value for name, value in reply.headers.items() if name.lower() not in gone}
        )

    return fault


def redirect(location: str, code: int = 302) -> Fault:
    """Sends the client to another address, keeping what the true reply says of the file."""

    def fault(request: Request, answer: Answer) -> Reply:
        told = {name: value for name, value in answer().headers.items() if name.lower().startswith("x-")}
        return Reply(code, {**told, "Location": location})

    return fault


def listed(*names: str) -> Fault:
    """Every list of files (siblings, tree, File List) also names these, such as ``../../outside``."""

    def fault(request: Request, answer: Answer) -> Reply:
        reply = answer()
        value: Any = json.loads(reply.content.read())
        if isinstance(value, list):
            value += [{"type": "file", "path": name, "size": 1, "oid": "0" * 40} for name in names]
        elif "siblings" in value:
            value["siblings"] += [{"rfilename": name} for name in names]
        elif "files" in value:
            value["files"] += [{"uri": f"/{name}", "size": 1, "folder": False, "sha2": "0" * 64} for name in names]
        return replace(reply, content=Content.of(json.dumps(value).encode()))

    return fault


def served(content: bytes) -> Fault:
    """200 with these bytes, whatever was asked for."""
    return lambda request, answer: serve(request, Content.of(content), '"served"', {"X-Repo-Commit": "0" * 40})


@cache
def _bomb(size: int) -> bytes:
    squeezer, zeros = zlib.compressobj(9, wbits=31), bytes(1 << 20)
    return b"".join(squeezer.compress(zeros) for _ in range(size >> 20)) + squeezer.flush()


def gzip_bomb(size: int = 1 << 28) -> Fault:
    """A small body that says ``Content-Encoding: gzip`` and unpacks to ``size`` zeros (whole MiB)."""

    def fault(request: Request, answer: Answer) -> Reply:
        reply = answer().with_headers({"Content-Encoding": "gzip"})
        return replace(reply, status=200, content=Content.of(_bomb(size)))

    return fault
