"""An OpenAI-compatible API over one model: /v1/models, /v1/chat/completions and /health."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from concurrent.futures import Future
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from workloads.errors import InputError, did_you_mean
from workloads.serving.dispatch import Busy, Dispatcher, Event, Finished, Piece, Work
from workloads.serving.guard import Guard
from workloads.serving.interface import Completion, Engine
from workloads.serving.protocol import ApiError, ChatRequest, Envelope
from workloads.serving.stream import EventStream, while_connected

_NO_RETRY = {"X-Should-Retry": "false"}  # OpenAI's clients repeat a 5xx otherwise, and it would take as long again


@dataclass(frozen=True, slots=True)
class Limits:
    """What one server takes on.

    Attributes:
        concurrent: generations at once.
        waiting: requests that may wait for one of them; beyond, the answer is 429.
        seconds: the longest that one request may take, waiting included.
        body_bytes: the largest request.
    """

    concurrent: int = 4
    waiting: int = 64
    seconds: float = 300
    body_bytes: int = 1 << 20


def create_app(
    engine: Engine | Future[Engine],
    *,
    model_name: str,
    api_key: str | None = None,
    other_names: Sequence[str] = (),
    version: str | None = None,
    digest: str | None = None,
    limits: Limits | None = None,
) -> FastAPI:
    """The API over one model.

    Args:
        engine: the loaded model, or the future of one that is loading; until then /health and the rest answer 503.
        model_name: the id in /v1/models and in answers.
        api_key: what ``Authorization: Bearer`` must carry for /v1; None lets everybody in.
        other_names: what else a request may call the model.
        version: shown by /health.
        digest: SHA-256 (hex) of the model's manifest, shown by /health.
    """
    limits = limits or Limits()
    service = _Service(engine, limits, Dispatcher(limits.concurrent, limits.waiting), model_name, other_names, digest)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await service.dispatcher.close()

    app = FastAPI(title="tunery", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.add_middleware(Guard, api_key=api_key, body_bytes=limits.body_bytes)
    _add_error_handlers(app)
    card = {"id": model_name, "object": "model", "created": int(time.time()), "owned_by": "tunery"}

    @app.get("/health")
    async def health() -> JSONResponse:
        state = service.state
        body = {"status": state, "model": model_name, "version": version, "digest": digest}
        return JSONResponse(body, 200 if state == "ok" else 503)

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [card]}

    @app.get("/v1/models/{name:path}")
    async def model(name: str) -> dict[str, Any]:
        service.check_name(name)
        return card

    @app.post("/v1/chat/completions")
    async def chat(body: ChatRequest, request: Request) -> Response:
        return await service.chat(body, request)

    return app


class _Service:
    def __init__(
        self,
        engine: Engine | Future[Engine],
        limits: Limits,
        dispatcher: Dispatcher,
        model_name: str,
        other_names: Sequence[str],
        digest: str | None,
    ) -> None:
        if isinstance(engine, Future):
            self._engine = engine
        else:
            self._engine = Future()
            self._engine.set_result(engine)
        self.dispatcher = dispatcher
        self._limits = limits
        self._model_name, self._names = model_name, (model_name, *other_names)
        self._fingerprint = digest and digest[:12]

    @property
    def state(self) -> str:
        if not self._engine.done():
            return "loading"
        return "ok" if self._engine.exception() is None else "failed"

    def check_name(self, name: str) -> None:
        if name not in self._names:
            near = did_you_mean(name, self._names) or self._model_name
            raise ApiError(404, f"no model {name!r} here; this server has {near!r}", "model_not_found", "model")

    async def chat(self, body: ChatRequest, request: Request) -> Response:
        self.check_name(body.model)
        if self.state != "ok":
            raise ApiError(
                503, f"the model is not ready ({self.state})", "model_not_ready", headers={"Retry-After": "2"}
            )
        events = self._events(_work(body, self._engine.result()))
        envelope = Envelope(f"chatcmpl-{uuid.uuid4().hex}", int(time.time()), self._model_name, self._fingerprint)
        if not body.stream:
            async with aclosing(events):
                return JSONResponse(envelope.whole(await while_connected(request, _completions(events))))
        try:
            # the status goes out before the body, so what fails before the first word still gets its own
            first = await while_connected(request, anext(events))
        except BaseException:
            await events.aclose()
            raise
        return EventStream(first, events, envelope, body)

    async def _events(self, work: Work) -> AsyncGenerator[Event, None]:
        """The events of one request; every failure that has a status as an ApiError."""
        try:
            async with aclosing(self.dispatcher.events(work, self._limits.seconds)) as events:
                async for event in events:
                    yield event
        except TimeoutError as error:
            message = f"no answer within {self._limits.seconds:g} seconds; ask for fewer tokens"
            raise ApiError(504, message, "timeout", headers=_NO_RETRY) from error
        except Busy as error:
            raise ApiError(429, "too many requests are waiting", "overloaded", headers={"Retry-After": "1"}) from error
        except InputError as error:
            raise ApiError(400, str(error), "context_length_exceeded", "messages") from error


async def _completions(events: AsyncGenerator[Event, None]) -> list[Completion]:
    return [event.completion async for event in events if isinstance(event, Finished)]


def _work(body: ChatRequest, engine: Engine) -> Work:
    messages = body.conversation()

    def work(tell: Callable[[Event], None], cancelled: threading.Event) -> None:
        for index in range(body.choices):

            def on_text(text: str, index: int = index) -> None:
                tell(Piece(index, text))

            heard = on_text if body.stream else None
            completion = engine.complete(messages, body.sampling(index), on_text=heard, cancelled=cancelled)
            if cancelled.is_set():
                return
            tell(Finished(index, completion))

    return work


def _add_error_handlers(app: FastAPI) -> None:
    @app.exception_handler(ApiError)
    async def refused(_: Request, error: ApiError) -> JSONResponse:
        return JSONResponse(error.body(), error.status_code, error.headers)

    @app.exception_handler(HTTPException)
    async def no_such_path(request: Request, error: HTTPException) -> JSONResponse:
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "invalid_request")
        message = f"{request.method} {request.url.path}: {error.detail}"
        return await refused(request, ApiError(error.status_code, message, code, headers=dict(error.headers or {})))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        param = ".".join(str(part) for part in first["loc"][1:]) or None
        message = f"{param}: {first['msg']}" if param else first["msg"]
        return await refused(request, ApiError(400, message, "invalid_value", param))

    @app.exception_handler(Exception)
    async def failed(request: Request, _: Exception) -> JSONResponse:
        # uvicorn logs the traceback; a client learns nothing of the inside
        return await refused(request, ApiError(500, "the server failed on this request", "internal_error"))
