"""Connections that are kept open: one pool for all threads, with the machine's proxies and certificates."""

from __future__ import annotations

import http.client
import os
import socket
import ssl
import threading
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from urllib.parse import unquote, urlsplit

from workloads.errors import InputError
from workloads.hub.http_errors import place_of


class Connections:
    """Idle connections by origin (scheme, host, port); safe to use from several threads.

    ``http.client`` itself is used, and not a library on top of it, since only it lets the bytes of a body go from
    the socket into a buffer that is used again: at some GB/s every further copy counts.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._idle: dict[tuple[str, str, int | None], list[http.client.HTTPConnection]] = {}
        self._lock = threading.Lock()

    def take(self, url: str) -> tuple[http.client.HTTPConnection, bool]:
        """A connection to the origin of ``url``, and whether it was used before."""
        with self._lock:
            idle = self._idle.get(_origin(url))
            if idle:
                return idle.pop(), True
        return self.fresh(url), False

    def give(self, url: str, connection: http.client.HTTPConnection) -> None:
        """Puts a connection back, whose last answer has been read to its end."""
        with self._lock:
            self._idle.setdefault(_origin(url), []).append(connection)

    def close(self) -> None:
        """Closes what is idle."""
        with self._lock:
            for connection in (each for idle in self._idle.values() for each in idle):
                connection.close()
            self._idle.clear()

    @cached_property
    def _context(self) -> ssl.SSLContext:
        context = ssl.create_default_context()  # reads SSL_CERT_FILE
        if bundle := os.environ.get("REQUESTS_CA_BUNDLE"):  # what teams that use requests have set
            context.load_verify_locations(bundle)
        return context

    def fresh(self, url: str) -> http.client.HTTPConnection:
        """A connection that is made when it is first used."""
        scheme, host, port = _origin(url)
        proxy = None if urllib.request.proxy_bypass(host) else urllib.request.getproxies().get(scheme)
        address = (host, port) if proxy is None else _address(proxy)
        connection = (
            http.client.HTTPSConnection(*address, timeout=self._timeout, context=self._context)
            if scheme == "https"
            else http.client.HTTPConnection(*address, timeout=self._timeout)
        )
        if proxy is not None:
            connection.set_tunnel(host, port, headers=_proxy_headers(proxy))
        return connection


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InputError.of(f"{place_of(url)!r} is no address of a web server.", "write https://HOST/artifactory")
    return parts.scheme, parts.hostname, parts.port


def same_origin(one: str, other: str) -> bool:
    """Whether two addresses are of one scheme, host and port, and so may see the same credentials."""
    defaults = {"http": 80, "https": 443}
    first, second = _origin(one), _origin(other)
    return (*first[:2], first[2] or defaults[first[0]]) == (*second[:2], second[2] or defaults[second[0]])


def _address(proxy: str) -> tuple[str, int | None]:
    parts = urlsplit(proxy if "//" in proxy else f"//{proxy}")
    return parts.hostname or "", parts.port


def _proxy_headers(proxy: str) -> dict[str, str]:
    parts = urlsplit(proxy if "//" in proxy else f"//{proxy}")
    if not parts.username:
        return {}
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return {"Proxy-Authorization": f"Basic {b64encode(pair.encode()).decode()}"}


@contextmanager
def cut_after(connection: http.client.HTTPConnection, seconds: float) -> Iterator[None]:
    """Breaks the connection when what is done with it takes too long, though single bytes keep coming."""

    def cut() -> None:
        if connection.sock is not None:
            with suppress(OSError):  # it has ended by itself
                connection.sock.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
