"""The API on a real socket: clients that leave, clients that come all at once, ports, and a clean end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from workloads.errors import InputError, UnavailableError
from workloads.serving.app import Limits, create_app
from workloads.serving.server import bind, run_server, serving

CHAT = "/v1/chat/completions"


def ask(text: str = "one two three", /, **more: Any) -> dict[str, Any]:
    return {"model": "demo", "messages": [{"role": "user", "content": text}]} | more


def test_a_client_that_leaves_a_stream_stops_the_generation(engine: Any) -> None:
    engine.hold()
    with serving(create_app(engine, model_name="demo")) as url:
        with httpx.stream("POST", url + CHAT, json=ask(stream=True)) as response:
            lines = response.iter_lines()
            assert next(lines).startswith("data: ")
        assert engine.cancelled.wait(10)


def test_a_client_that_leaves_before_its_answer_stops_the_generation(engine: Any) -> None:
    engine.hold()
    with serving(create_app(engine, model_name="demo")) as url:
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as client:
            body = httpx.Request("POST", url, json=ask()).content
            head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
            client.sendall(f"{head}\r\n\r\n".encode() + body)
            assert engine.begun.wait(10)
        assert engine.cancelled.wait(10)


def test_a_full_queue_is_429_and_a_place_that_is_free_again_is_given(engine: Any) -> None:
    engine.hold()
    app = create_app(engine, model_name="demo", limits=Limits(concurrent=1, waiting=1))
    with serving(app) as url, ThreadPoolExecutor(3) as clients:
        first = [clients.submit(httpx.post, url + CHAT, json=ask(), timeout=20) for _ in range(3)]
        refused = next(each for each in _as_they_end(first) if each.status_code == 429)
        assert refused.json()["error"]["code"] == "overloaded"
        assert refused.headers["retry-after"] == "1"
        engine.gate.set()
        assert sorted(each.result().status_code for each in first) == [200, 200, 429]
        assert httpx.post(url + CHAT, json=ask()).status_code == 200


def _as_they_end(futures: list[Future[httpx.Response]]) -> Any:
    from concurrent.futures import as_completed

    return (future.result() for future in as_completed(futures, timeout=20))


def test_many_clients_at_once_all_get_their_own_answer(engine: Any) -> None:
    with serving(create_app(engine, model_name="demo")) as url, ThreadPoolExecutor(16) as clients:
        texts = [f"number {index} of many" for index in range(48)]
        answers = clients.map(lambda text: httpx.post(url + CHAT, json=ask(text), timeout=20).json(), texts)
        assert [answer["choices"][0]["message"]["content"] for answer in answers] == texts


def test_a_body_far_over_the_limit_gets_its_413_on_a_real_socket(engine: Any) -> None:
    with serving(create_app(engine, model_name="demo")) as url:
        response = httpx.post(url + CHAT, json=ask("x" * (16 << 20)), timeout=20)
    assert response.status_code == 413
    assert response.json()["error"]["code"] == "request_too_large"


def test_after_the_block_the_port_is_free_and_nothing_runs(engine: Any) -> None:
    with serving(create_app(engine, model_name="demo")) as url:
        assert httpx.get(url + "/health").status_code == 200
    port = int(url.rpartition(":")[2])
    with pytest.raises(httpx.ConnectError):
        httpx.get(url + "/health")
    bind("127.0.0.1", port).close()


def test_a_port_in_use_is_said_before_anything_is_loaded() -> None:
    with bind("127.0.0.1", 0) as taken, pytest.raises(UnavailableError, match="is in use") as raised:
        bind("127.0.0.1", taken.getsockname()[1])
    assert "--port" in str(raised.value)


@pytest.mark.parametrize("host", ["203.0.113.1", "no such host"])
def test_an_address_of_another_machine_is_refused(host: str) -> None:
    with pytest.raises(InputError, match="cannot listen"):
        bind(host, 0)


def test_a_model_that_does_not_load_stops_the_server_with_its_error() -> None:
    loading: Future[Any] = Future()
    app = create_app(loading, model_name="demo")
    loading.set_exception(InputError.of("The model does not load.", "publish it again"))
    with pytest.raises(InputError, match="does not load"):
        run_server(app, bind("127.0.0.1", 0), loading=loading)


_DRAINING = """
import sys
from echo_engine import EchoEngine
from workloads.serving.app import create_app
from workloads.serving.server import address, bind, run_server

class Held(EchoEngine):
    def complete(self, *arguments, **options):
        print("begun", flush=True)
        sys.stdin.readline()
        return super().complete(*arguments, **options)

listener = bind("127.0.0.1", 0)
print(address(listener), flush=True)
run_server(create_app(Held(), model_name="demo"), listener)
print("ended", flush=True)
"""


def test_sigterm_lets_an_accepted_request_end_and_takes_no_other(tmp_path: Path, repository: Path) -> None:
    (tmp_path / "echo_engine.py").write_text((Path(__file__).parent / "conftest.py").read_text())
    environ = os.environ | {"PYTHONPATH": f"{repository}{os.pathsep}{tmp_path}"}
    with (
        subprocess.Popen(
            [sys.executable, "-c", _DRAINING],
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process,
        ThreadPoolExecutor(1) as clients,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        answer = clients.submit(httpx.post, url + CHAT, json=ask(), timeout=60)
        assert process.stdout.readline() == "begun\n"
        process.send_signal(signal.SIGTERM)
        _until_refused(url)
        process.stdin.write("go on\n")
        process.stdin.flush()
        assert answer.result().json()["choices"][0]["message"]["content"] == "one two three"
        assert process.stdout.read() == "ended\n"
        assert process.wait(20) == 0


def _until_refused(url: str) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            httpx.get(url + "/health")
        except httpx.TransportError:
            return
    raise AssertionError("the server still takes requests")
