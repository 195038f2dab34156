"""Sockets: one thread a connection, kept alive, and file bytes that never pass through Python."""

from __future__ import annotations

import socket
import ssl
import struct
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import Any

from artifactory.wire import CHUNK, Body, Content, DisconnectedError, Host, Recorded, Reply, Request

_DRAINED = 8 * CHUNK
"""Bytes of a refused upload that are still read, so that the client sees the refusal and not a reset."""


class Listener(ThreadingTCPServer):
    """A listening socket whose connections end with it."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(
        self,
        host: Host,
        answer: Callable[[Request], Reply],
        record: Callable[[Recorded], None],
        context: ssl.SSLContext | None,
    ) -> None:
        super().__init__(("127.0.0.1", 0), Connection)
        self.host, self.answer, self.record = host, answer, record
        self.stopped = threading.Event()
        self.failures: list[BaseException] = []
        """What went wrong in the fake itself, which is never a client's fault."""
        self._open: set[socket.socket] = set()
        if context is not None:
            # The handshake waits for the connection's own thread: a client that stalls in it stops nobody else.
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exception()
        if error is not None and not isinstance(error, OSError | DisconnectedError):
            self.failures.append(error)

    def stop(self) -> None:
        self.stopped.set()
        self.shutdown()
        for connection in list(self._open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # it ended by itself
        self.server_close()
        self._thread.join()


class Connection(BaseHTTPRequestHandler):
    """Reads requests one after another and sends what the fake answers."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    rbufsize = 1 << 16
    server: Listener

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are recorded, not printed."""

    def _answer(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        recorded = Recorded(self.server.host, self.command, self.path, headers)
        self.server.record(recorded)
        body = Body(self.rfile, headers)
        try:
            reply = self.server.answer(Request(self.server.host, self.command, self.path, headers, body))
        except DisconnectedError:
            self._reset()
            return
        finally:
            recorded.received = body.received
        recorded.status = reply.status
        unread = not body.finished
        self.close_connection = self.close_connection or unread
        self._send(reply, recorded)
        if unread and reply.delivery.body_bytes is None:
            self._drain(body)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_PATCH = _answer  # noqa: N815 (names of http.server)

    def _send(self, reply: Reply, recorded: Recorded) -> None:
        delivery = reply.delivery
        if self.close_connection:
            reply = reply.with_headers({"Connection": "close"})
        if delivery.body_bytes != -1:
            self._send_head(reply.head(self.command), delivery.pause)
            if self.command != "HEAD":
                whole = delivery.body_bytes is None
                content = reply.content if whole else reply.content.part(0, delivery.body_bytes or 0)
                self._send_content(content, recorded)
        if delivery.body_bytes is None:
            return
        self.close_connection = True
        if delivery.then == "stall":
            self.server.stopped.wait()
        elif delivery.then == "reset":
            self._reset()

    def _send_head(self, head: bytes, pause: float) -> None:
        if not pause:
            self.connection.sendall(head)
            return
        for position in range(len(head)):
            self.connection.sendall(head[position : position + 1])
            if self.server.stopped.wait(pause):
                raise DisconnectedError

    def _send_content(self, content: Content, recorded: Recorded) -> None:
        # Counted before: a client that has the last byte must not find it uncounted.
        recorded.sent += content.size
        if isinstance(content.source, bytes):
            self.connection.sendall(content.read())
        elif content.size:
            with content.source.open("rb") as file:
                file.seek(content.start)
                try:
                    self.connection.sendfile(file, content.start, content.size)
                except OSError:
                    recorded.sent -= content.start + content.size - file.tell()
                    raise

    def _reset(self) -> None:
        """Ends the connection by RST and not by FIN: what a killed load balancer does."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.rfile.close()
        self.connection.close()

    def _drain(self, body: Body) -> None:
        left = _DRAINED
        for chunk in body.chunks():
            left -= len(chunk)
            if left < 0:
                return
