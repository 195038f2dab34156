"""HTTP as the fake speaks it: replies are data until they are sent, so that a fault can change them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from http import HTTPStatus
from io import BufferedIOBase
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs, unquote, urlsplit

CHUNK = 1 << 20
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
Host = Literal["artifactory", "storage"]


@dataclass(slots=True)
class Recorded:
    """One request as it arrived, and what became of it.

    Attributes:
        path: the request target with its query, undecoded.
        headers: names in lower case; everything the client sent, ``authorization`` too.
        status: of the reply; None while there is none.
        sent: bytes of the reply's body that went out.
        received: bytes of the request's body that came in.
    """

    host: Host
    method: str
    path: str
    headers: Mapping[str, str]
    status: int | None = None
    sent: int = 0
    received: int = 0


class DisconnectedError(Exception):
    """The client, or a fault, ended the connection in the middle of a body."""


class RefusalError(Exception):
    """An error in the form that Artifactory documents (jfrog.com/help: JFrog REST APIs, Error Responses)."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.reply = json_reply({"errors": [{"status": status, "message": message}]}, status, headers)


@dataclass(frozen=True, slots=True)
class Content:
    """Bytes in memory or a part of a file."""

    source: bytes | Path
    start: int
    size: int

    @classmethod
    def of(cls, source: bytes | Path) -> Content:
        return cls(source, 0, len(source) if isinstance(source, bytes) else source.stat().st_size)

    def part(self, start: int, size: int) -> Content:
        return replace(self, start=self.start + start, size=size)

    def read(self) -> bytes:
        if isinstance(self.source, bytes):
            return self.source[self.start : self.start + self.size]
        with self.source.open("rb") as file:
            file.seek(self.start)
            return file.read(self.size)


@dataclass(frozen=True, slots=True)
class Delivery:
    """How a reply is sent.

    Attributes:
        body_bytes: of the body that are sent before ``then`` happens; None sends it whole, -1 not even the head.
        then: ``reset`` the connection, ``close`` it, or ``stall`` with it open.
        pause: seconds between two bytes of the head.
    """

    body_bytes: int | None = None
    then: Literal["reset", "close", "stall"] = "close"
    pause: float = 0.0


@dataclass(frozen=True, slots=True)
class Reply:
    """A response that has not been sent. ``Content-Length`` is that of the content unless a header says otherwise."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    content: Content = field(default_factory=lambda: Content.of(b""))
    delivery: Delivery = field(default_factory=Delivery)

    def with_headers(self, headers: Mapping[str, str]) -> Reply:
        return replace(self, headers={**self.headers, **headers})

    def head(self, method: str) -> bytes:
        """The status line and the headers, up to the empty line."""
        headers = {"Date": formatdate(usegmt=True), **self.headers}  # as every server with a clock must
        if not any(name.lower() == "content-length" for name in headers) and self.status not in (204, 304):
            headers["Content-Length"] = str(self.content.size)
        reason = HTTPStatus(self.status).phrase
        lines = [f"HTTP/1.1 {self.status} {reason}", *(f"{name}: {value}" for name, value in headers.items())]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")


def json_reply(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    body = json.dumps(value, indent=2).encode()
    return Reply(status, {"Content-Type": "application/json", **(headers or {})}, Content.of(body))


class Body:
    """The body of a request, by Content-Length or in chunks."""

    def __init__(self, stream: BufferedIOBase, headers: Mapping[str, str]) -> None:
        self._stream = stream
        self._chunked = headers.get("transfer-encoding", "").lower() == "chunked"
        self._left = int(headers.get("content-length", "0"))
        self.limit: int | None = None
        """Bytes after which the connection breaks: a fault sets it."""
        self.received = 0

    @property
    def finished(self) -> bool:
        """Whether the next request can be read from the connection."""
        return not self._chunked and self._left == 0

    @property
    def announced(self) -> int:
        """Bytes the client said it sends; 0 when it did not say."""
        return self._left

    def chunks(self) -> Iterator[bytes]:
        """Raises DisconnectedError when the client goes away before the end."""
        for data in self._by_chunks() if self._chunked else self._by_length():
            self.received += len(data)
            if self.limit is not None:
                self.limit -= len(data)
                if self.limit < 0:
                    raise DisconnectedError
            yield data

    def read(self) -> bytes:
        return b"".join(self.chunks())

    def _by_length(self) -> Iterator[bytes]:
        while self._left:
            data = self._stream.read1(min(self._left, CHUNK))
            if not data:
                raise DisconnectedError
            self._left -= len(data)
            yield data

    def _by_chunks(self) -> Iterator[bytes]:
        while True:
            line = self._stream.readline(100).strip()
            if not line:
                raise DisconnectedError
            self._left = int(line.partition(b";")[0], 16)
            last = self._left == 0
            yield from self._by_length()
            self._stream.readline(100)
            if last:
                self._chunked = False
                return


@dataclass(frozen=True, slots=True)
class Request:
    """What a handler sees of a request."""

    host: Host
    method: str
    target: str
    headers: Mapping[str, str]
    body: Body

    @property
    def segments(self) -> tuple[str, ...]:
        """The path's segments, each decoded by itself, so that an encoded slash stays within its segment."""
        return tuple(unquote(part) for part in urlsplit(self.target).path.split("/")[1:])

    @property
    def query(self) -> dict[str, str]:
        found = parse_qs(urlsplit(self.target).query, keep_blank_values=True, separator="&")
        return {name: values[-1] for name, values in found.items()}


Answer = Callable[[], Reply]


def serve(request: Request, content: Content, etag: str, headers: Mapping[str, str]) -> Reply:
    """GET and HEAD of something with an entity tag, by RFC 9110: Range, If-Range and If-None-Match."""
    headers = {"Content-Type": "application/octet-stream", "Accept-Ranges": "bytes", "ETag": etag, **headers}
    if request.headers.get("if-none-match", "").strip('"') == etag.strip('"'):
        return Reply(304, headers)
    asked = _RANGE.fullmatch(request.headers.get("range", "").strip())
    condition = request.headers.get("if-range")
    current = condition is None or condition.strip('"') == etag.strip('"')
    if request.method != "GET" or asked is None or not any(asked.groups()) or not current:
        return Reply(200, headers, content)
    first, last = asked.groups()
    start = int(first) if first else max(content.size - int(last), 0)
    stop = min(int(last) + 1, content.size) if first and last else content.size
    if start >= content.size or stop <= start:
        return RefusalError(416, "Requested range not satisfiable", {"Content-Range": f"bytes */{content.size}"}).reply
    headers = {**headers, "Content-Range": f"bytes {start}-{stop - 1}/{content.size}"}
    return Reply(206, headers, content.part(start, stop - start))
