"""Runs the API: in the foreground until it is told to stop, or in a thread for as long as a block lasts."""

from __future__ import annotations

import errno
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import uvicorn

from workloads.errors import InputError, Problem, TuneryError, UnavailableError

if TYPE_CHECKING:
    from fastapi import FastAPI

DRAIN_SECONDS = 30
"""How long requests that are running may take to end once the server is told to stop."""


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one.

    Raises:
        UnavailableError: another program has the port.
        InputError: the address is not one of this machine, or the port needs privileges.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UnavailableError.of(
                f"Port {port} on {host} is in use.", "stop what uses it, or name another by --port"
            ) from error
        raise InputError.of(
            f"The server cannot listen on {host} port {port}: {error.strerror or error}.",
            "give an address of this machine by --host, and a port from 1024 to 65535 by --port",
        ) from error


def address(listener: socket.socket) -> str:
    """The base URL of a listening socket, as a client on this machine writes it."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def run_server(
    app: FastAPI,
    listener: socket.socket,
    *,
    loading: Future[Any] | None = None,
    drain_seconds: int = DRAIN_SECONDS,
    on_ready: Callable[[], None] | None = None,
) -> None:
    """Serves until SIGTERM or SIGINT, then lets accepted requests end for ``drain_seconds``.

    Args:
        loading: the model's future; when it fails the server stops and its error is raised.
        on_ready: called once, from another thread, when the model is loaded.
    """
    server = _Server(app, drain_seconds)

    def loaded(future: Future[Any]) -> None:
        if future.exception() is not None:
            server.should_exit = True
        elif on_ready is not None:
            on_ready()

    if loading is not None:
        loading.add_done_callback(loaded)

    def stop(*_: object) -> None:
        server.should_exit = True

    # uvicorn raises the signal again when it has stopped, and a server that was told to stop has not failed
    before = {each: signal.signal(each, stop) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        with closing(listener):
            server.run(sockets=[listener])
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
    if loading is not None and loading.done():
        loading.result()


@contextmanager
def serving(app: FastAPI, host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """Serves in a thread for as long as the block lasts, and gives the base URL once requests are answered."""
    with closing(bind(host, port)) as listener:
        server = _Server(app, DRAIN_SECONDS)
        thread = threading.Thread(target=server.run_in_thread, args=(listener,), name="serve", daemon=True)
        thread.start()
        server.ready.wait()
        try:
            if not server.started:
                raise TuneryError(Problem("The server did not start.", "see the log for the reason"))
            yield address(listener)
        finally:
            server.should_exit = True
            thread.join()


class _Server(uvicorn.Server):
    def __init__(self, app: FastAPI, drain_seconds: int) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                log_level="warning",
                access_log=False,
                timeout_graceful_shutdown=drain_seconds,
                server_header=False,
                ws="none",
            )
        )
        self.ready = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    def run_in_thread(self, listener: socket.socket) -> None:
        """Runs; ``ready`` is set even when the start fails, so that nobody waits for ever."""
        try:
            self.run(sockets=[listener])
        finally:
            self.ready.set()
