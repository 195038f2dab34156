"""Answers to clients that may leave: server-sent events, and waiting only while somebody listens."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from typing import TYPE_CHECKING, Any, TypeVar

from starlette.responses import StreamingResponse

from workloads.serving.dispatch import Event, Piece
from workloads.serving.protocol import ApiError, ChatRequest, Envelope

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

    from workloads.serving.interface import Completion

T = TypeVar("T")
_GONE = 499  # nginx's status for a client that closed the connection; nobody is there to read it


async def while_connected(request: Request, answer: Awaitable[T]) -> T:
    """The result of ``answer``, which is cancelled when the client leaves first.

    Raises:
        ApiError: the client has left.
    """
    wanted = asyncio.ensure_future(answer)
    left = asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait((wanted, left), return_when=asyncio.FIRST_COMPLETED)
        if wanted.done():
            return wanted.result()
        raise ApiError(_GONE, "the client has left", "client_gone")
    finally:
        wanted.cancel()
        left.cancel()
        await asyncio.gather(wanted, left, return_exceptions=True)


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


class EventStream(StreamingResponse):
    """A chat completion as server-sent events; ``first`` is the first of ``events``, already taken.

    The generation stops when the response ends, in whatever way it ends.
    """

    def __init__(
        self, first: Event, events: AsyncGenerator[Event, None], envelope: Envelope, request: ChatRequest
    ) -> None:
        super().__init__(
            _encoded(_chunks(first, events, envelope, request)),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
        )
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._events.aclose()


async def _chunks(
    first: Event, events: AsyncIterator[Event], envelope: Envelope, request: ChatRequest
) -> AsyncIterator[dict[str, Any]]:
    completions: list[Completion] = []
    for index in range(request.choices):
        yield envelope.chunk(index, {"role": "assistant", "content": ""})
    event: Event | None = first
    while event is not None:
        if isinstance(event, Piece):
            yield envelope.chunk(event.index, {"content": event.text})
        else:
            completions.append(event.completion)
            yield envelope.chunk(event.index, {}, event.completion.finish_reason)
        event = await anext(events, None)
    if request.stream_options is not None and request.stream_options.include_usage:
        yield envelope.usage_chunk(completions)


async def _encoded(chunks: AsyncIterator[dict[str, Any]]) -> AsyncIterator[str]:
    try:
        async for chunk in chunks:
            yield _data(chunk)
    except ApiError as error:
        yield _data(error.body())
    except Exception:
        logging.getLogger("uvicorn.error").exception("a generation failed after its answer had begun")
        yield _data(ApiError(500, "the server failed on this request", "internal_error").body())
    yield "data: [DONE]\n\n"


def _data(value: dict[str, Any]) -> str:
    return f"data: {json.dumps(value, ensure_ascii=False, separators=(',', ':'))}\n\n"
