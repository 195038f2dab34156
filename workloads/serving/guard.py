"""What every request to /v1 passes before it is read: the API key and the size of its body."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from starlette.responses import JSONResponse

from workloads.serving.protocol import ApiError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send


_DISCARDED_BODIES = 8
"""How much of a refused body is read and thrown away, in bodies of the allowed size."""


async def _discard(receive: Receive, most: int) -> None:
    """Reads a refused body: a connection closed over unread bytes is reset, and the client never sees the answer."""
    while most > 0:
        message = await receive()
        most -= len(message.get("body", b""))
        if message["type"] != "http.request" or not message.get("more_body", False):
            return


class Guard:
    """Refuses a wrong key (401) and a body over ``body_bytes`` (413), counted as it arrives when its size is not told.

    It stands outside the application so that a body without the right key is never parsed or kept.
    """

    def __init__(self, app: ASGIApp, api_key: str | None, body_bytes: int) -> None:
        self._app, self._body_bytes = app, body_bytes
        self._api_key = None if api_key is None else api_key.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith("/v1/"):
            await self._app(scope, receive, send)
            return
        refusal = self._refuse(dict(scope["headers"]))
        if refusal is not None:
            await _discard(receive, _DISCARDED_BODIES * self._body_bytes)
            response = JSONResponse(refusal.body(), refusal.status_code, refusal.headers)
            await response(scope, receive, send)
            return
        read = 0

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self._body_bytes:
                if message.get("more_body", False):
                    await _discard(receive, _DISCARDED_BODIES * self._body_bytes)
                raise self._too_large()
            return message

        await self._app(scope, counted, send)

    def _refuse(self, headers: dict[bytes, bytes]) -> ApiError | None:
        scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
        if self._api_key is not None and not (
            hmac.compare_digest(given.strip(), self._api_key) and scheme.lower() == b"bearer"
        ):
            return ApiError(
                401, "the API key is missing or wrong", "invalid_api_key", headers={"WWW-Authenticate": "Bearer"}
            )
        told = headers.get(b"content-length", b"0")
        return self._too_large() if told.isdigit() and int(told) > self._body_bytes else None

    def _too_large(self) -> ApiError:
        # what is left of the body may not have been read, so the connection cannot be used again
        return ApiError(
            413,
            f"the body has more than {self._body_bytes} bytes",
            "request_too_large",
            headers={"Connection": "close"},
        )
