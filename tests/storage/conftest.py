"""Stores to test: a folder, and Cloud Storage as fake-gcs-server plays it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Literal

import httpx
import pytest

from workloads.storage.objects import Store, open_store

Fault = Literal["403", "503", "stall", "cut", "flip", "lost"]
INSTALL = "go install github.com/fsouza/fake-gcs-server@latest"


def _program() -> str:
    kit = Path(os.environ.get("KIT_HOME") or Path.home() / ".cache" / "one-node-kubernetes") / "bin"
    found = shutil.which("fake-gcs-server") or shutil.which("fake-gcs-server", path=str(kit))
    if found is None:
        message = f"there is no fake-gcs-server; install it: {INSTALL}"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def gcs_emulator() -> Iterator[str]:
    """The address of an emulator of Cloud Storage."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [_program(), "-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-external-url", url]
    process = subprocess.Popen([*command, "-backend", "memory", "-log-level", "error"])
    try:
        deadline = time.monotonic() + 20
        while True:
            try:
                httpx.get(f"{url}/storage/v1/b", timeout=1)
                break
            except httpx.TransportError:
                assert process.poll() is None, "the emulator ended"
                assert time.monotonic() < deadline, "the emulator does not answer"
                time.sleep(0.02)
        yield url
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def gcs_url(gcs_emulator: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """``gs://BUCKET/team`` with a new bucket of the emulator."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs_emulator)
    bucket = f"bucket-{uuid.uuid4().hex[:12]}"
    httpx.post(f"{gcs_emulator}/storage/v1/b", json={"name": bucket}, timeout=10).raise_for_status()
    return f"gs://{bucket}/team"


@pytest.fixture(params=["folder", "gcs"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """Each kind of store, empty."""
    if request.param == "folder":
        return open_store(str(tmp_path / "store"))
    return open_store(request.getfixturevalue("gcs_url"))


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[..., Path]:
    """``make_folder("name", {"path": b"content"})``: a committed folder."""

    def make(name: str, files: dict[str, bytes]) -> Path:
        from workloads.storage import manifest

        folder = tmp_path / name
        for path, content in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
        manifest.commit(folder)
        return folder

    return make


class FaultyProxy(ThreadingHTTPServer):
    """Stands between a client and the emulator, and spoils the answers to as many requests as it is told."""

    daemon_threads = True

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream.removeprefix("http://")
        self.fault: Fault | None = None
        self.left = 0
        self.spoiled = 0
        self.released = threading.Event()
        self._lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), _Forward)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def spoil(self, fault: Fault, times: int = 1_000_000) -> None:
        """The next ``times`` requests fail in this way."""
        self.fault, self.left, self.spoiled = fault, times, 0

    def next_fault(self) -> Fault | None:
        with self._lock:
            if self.left == 0:
                return None
            self.left -= 1
            self.spoiled += 1
            return self.fault

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that gave up is what some tests are about."""


class _Forward(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultyProxy

    def _forward(self) -> None:
        fault = self.server.next_fault()
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if fault == "stall":
            self.server.released.wait(30)
            self.close_connection = True
            return
        if fault in ("403", "503"):
            self.send_response(int(fault))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        upstream = HTTPConnection(self.server.upstream, timeout=30)
        headers = {name: value for name, value in self.headers.items() if name.lower() != "accept-encoding"}
        upstream.request(self.command, self.path, body, headers)
        answer = upstream.getresponse()
        content = answer.read()
        upstream.close()
        if fault == "lost":  # the service did its work, and nobody hears of it
            self.close_connection = True
            return
        if fault == "flip" and content:
            content = bytes([content[0] ^ 1]) + content[1:]
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if fault == "cut" else content)
        self.close_connection = fault == "cut"

    do_GET = do_POST = do_PUT = do_DELETE = _forward  # noqa: N815 names that the base class prescribes

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing: what fails is the test's to say."""


@pytest.fixture
def faults(gcs_url: str, gcs_emulator: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:
    """The way to the emulator of this test, which can be spoilt; the client's pauses take no time."""
    proxy = FaultyProxy(gcs_emulator)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", proxy.url)
    monkeypatch.setattr("google.api_core.retry.retry_unary.time.sleep", lambda _: None)
    thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield proxy
    proxy.released.set()
    proxy.shutdown()
    proxy.server_close()
