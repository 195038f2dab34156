"""Answers of a server: one whose body is still on its way, and one that has been read."""

from __future__ import annotations

import http.client
import json
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from workloads.hub.http_errors import StatusError, WrongAnswerError, place_of
from workloads.hub.tokens import Token, redact

LARGEST_REPLY = 64 << 20
"""Bytes of a body that is read as a whole: listings and small files."""
_CHUNK = 1 << 20
_SHOWN = 300
"""Characters of a server's message that are shown."""


@dataclass(slots=True)
class Answer:
    """An answer whose body is still to be read.

    Attributes:
        url: where it came from after redirects.
        left: bytes of the body that have not been read; None when the server does not say.
    """

    status: int
    headers: http.client.HTTPMessage
    url: str
    response: http.client.HTTPResponse
    left: int | None

    def read_into(self, view: memoryview) -> int:
        """Fills a part of ``view`` with what has come; 0 at the end of the body.

        Raises:
            ConnectionError: the body ended early.
        """
        if self.left is None:
            return self.response.readinto(view)
        if self.left == 0:
            return 0
        # The response's own readinto waits until the buffer is full, behind which a slow server could hide.
        count: int = self.response.fp.readinto1(view[: self.left])
        if count == 0:
            raise ConnectionError(f"the connection ended {self.left:,} bytes early")
        self.left -= count
        return count

    def read(self, limit: int = LARGEST_REPLY) -> bytes:
        """The whole body.

        Raises:
            WrongAnswerError: it has more than ``limit`` bytes.
        """
        found = bytearray()
        view = memoryview(bytearray(min(_CHUNK, limit + 1)))
        while count := self.read_into(view):
            found += view[:count]
            if len(found) > limit:
                raise WrongAnswerError(f"{place_of(self.url)} sends more than {limit:,} bytes")
        return bytes(found)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer that has been read."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def json(self) -> Any:
        """The JSON value in the body; None when it is not JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


def status_error(answer: Answer, token: Token | None) -> StatusError:
    try:
        text = answer.read(_CHUNK).decode(errors="replace")
    except (OSError, http.client.HTTPException, WrongAnswerError):
        text = ""
    try:
        message = "; ".join(str(each["message"]) for each in json.loads(text)["errors"])
    except (ValueError, KeyError, TypeError):
        error = answer.headers.get("X-Error-Message")
        message = error or ("" if text.lstrip().startswith("<") else text)
    message = redact(" ".join(message.split()), token)[:_SHOWN]
    return StatusError(answer.status, place_of(answer.url), message, _retry_after(answer.headers.get("Retry-After")))


def _retry_after(value: str | None) -> float | None:
    if value is None:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError):
        return None
