"""A connection to Cloud Storage that can be spoilt, inside the process of the client."""

from __future__ import annotations

import io
import os
import re
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote

from urllib3 import HTTPResponse

from benchmarks.faults.clock import CLOCK

Answer = Literal["503", "stall", "cut", "flip", "lost", "SIGTERM", "SIGKILL"]
HASTE = 200.0
"""How much faster than real time a pod waits: a minute of a store that is away takes 0.3 s."""


@dataclass(frozen=True)
class Spoilt:
    """Requests whose method and object match are answered in another way than the store would.

    Attributes:
        pattern: of ``METHOD path`` with the object's name in it; bodies of uploads begin with that name.
        skip: how many matching requests go well before.
        times: how many do not.
    """

    pattern: str
    answer: Answer
    times: int = 1
    skip: int = 0

    def __call__(self, folder: Path) -> None:
        import requests
        from requests.adapters import HTTPAdapter

        CLOCK.haste = HASTE
        send = HTTPAdapter.send
        seen = 0

        def spoil(adapter: Any, request: Any, *arguments: Any, **named: Any) -> Any:
            nonlocal seen
            if not re.search(self.pattern, _describe(request), re.DOTALL):
                return send(adapter, request, *arguments, **named)
            seen += 1
            if not self.skip < seen <= self.skip + self.times:
                return send(adapter, request, *arguments, **named)
            if self.answer in ("SIGTERM", "SIGKILL"):
                os.kill(os.getpid(), signal.Signals[self.answer])
                return send(adapter, request, *arguments, **named)
            if self.answer == "stall":
                waited = named.get("timeout") or 1e9
                CLOCK.sleep(waited[1] if isinstance(waited, tuple) else waited)
                raise requests.ReadTimeout("the store says nothing", request=request)
            if self.answer == "503":
                refused = requests.Response()
                refused.status_code, refused.request, refused.url = 503, request, request.url
                refused._content = b"the store is away"
                return refused
            answer = send(adapter, request, *arguments, **{**named, "stream": False})
            if self.answer == "lost":
                raise requests.ConnectionError("the connection is gone", request=request)
            return _other_content(answer, cut=self.answer == "cut")

        patched: Any = HTTPAdapter
        patched.send = spoil


def _other_content(answer: Any, *, cut: bool) -> Any:
    """The same answer with half of its content, or with a bit of it flipped."""
    content = answer.content
    changed = content[: len(content) // 2] if cut else bytes([content[0] ^ 1]) + content[1:]
    answer._content, answer._content_consumed = False, False
    answer.raw = HTTPResponse(io.BytesIO(changed), answer.headers, answer.status_code, preload_content=False)
    return answer


def _describe(request: Any) -> str:
    body = request.body if isinstance(request.body, bytes) else b""
    return f"{request.method} {unquote(request.url)} {body[:400].decode(errors='replace')}"
