"""The API over an engine that echoes: shapes, statuses, limits."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from workloads.serving.app import Limits, create_app

CHAT = "/v1/chat/completions"


def ask(text: str = "one two three", /, **more: Any) -> dict[str, Any]:
    return {"model": "demo@v1", "messages": [{"role": "user", "content": text}]} | more


def error_of(response: Any) -> dict[str, Any]:
    body = response.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    return dict(body["error"])


def chunks_of(response: Any) -> list[dict[str, Any]]:
    assert response.headers["content-type"].startswith("text/event-stream")
    events = response.text.split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    return [json.loads(event.removeprefix("data: ")) for event in events[:-2]]


@pytest.fixture
def client(engine: Any) -> Iterator[TestClient]:
    app = create_app(
        engine,
        model_name="demo@v1",
        other_names=["demo", "demo@production"],
        version="v1",
        digest="ab" * 32,
        limits=Limits(body_bytes=4000),
    )
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def test_an_answer_has_openais_shape(client: TestClient) -> None:
    answer = client.post(CHAT, json=ask()).json()
    assert answer["object"] == "chat.completion"
    assert answer["model"] == "demo@v1"
    assert answer["id"].startswith("chatcmpl-")
    assert answer["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "one two three"},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ]
    assert answer["usage"] == {"prompt_tokens": 1, "completion_tokens": 3, "total_tokens": 4}


@pytest.mark.parametrize("key", ["max_tokens", "max_completion_tokens"])
def test_the_limit_on_tokens_is_a_finish_reason(client: TestClient, key: str) -> None:
    answer = client.post(CHAT, json=ask(**{key: 2})).json()
    assert answer["choices"][0]["message"]["content"] == "one two"
    assert answer["choices"][0]["finish_reason"] == "length"


def test_a_stream_carries_the_role_the_text_the_reason_and_the_usage(client: TestClient) -> None:
    chunks = chunks_of(client.post(CHAT, json=ask(stream=True, stream_options={"include_usage": True})))
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert [chunk["choices"][0]["delta"].get("content") for chunk in chunks[1:-2]] == ["one", " two", " three"]
    assert chunks[-2]["choices"][0] == {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["total_tokens"] == 4


def test_a_stream_without_words_still_ends(client: TestClient) -> None:
    chunks = chunks_of(client.post(CHAT, json=ask("", stream=True)))
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize("stream", [False, True])
def test_several_choices_have_seeds_of_their_own(client: TestClient, engine: Any, stream: bool) -> None:
    response = client.post(CHAT, json=ask(n=3, seed=5, temperature=0.7, stream=stream))
    if stream:
        finished = [c["choices"][0]["index"] for c in chunks_of(response) if c["choices"][0]["finish_reason"]]
    else:
        finished = [choice["index"] for choice in response.json()["choices"]]
        assert response.json()["usage"] == {"prompt_tokens": 1, "completion_tokens": 9, "total_tokens": 10}
    assert finished == [0, 1, 2]
    assert [call["seed"] for call in engine.calls] == [5, 6, 7]


def test_the_request_reaches_the_engine(client: TestClient, engine: Any) -> None:
    messages = [
        {"role": "developer", "content": [{"type": "text", "text": "Be "}, {"type": "text", "text": "brief."}]},
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
    ]
    body = {"model": "demo", "messages": messages, "temperature": 0, "top_p": 0.5, "stop": "x", "user": "me"}
    assert client.post(CHAT, json=body).status_code == 200
    call = engine.calls[0]
    assert call["messages"][0] == {"role": "system", "content": "Be brief."}
    assert [message["role"] for message in call["messages"]] == ["system", "user", "assistant", "user"]
    assert (call["temperature"], call["top_p"], call["stop"], call["seed"]) == (0, 0.5, ("x",), None)


def test_what_is_left_out_or_null_has_openais_default(client: TestClient, engine: Any) -> None:
    assert client.post(CHAT, json=ask(temperature=None, tools=None, n=None, stream=None)).status_code == 200
    call = engine.calls[0]
    assert (call["temperature"], call["top_p"], call["stop"], call["max_new_tokens"]) == (1, 1, (), None)


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"n": 9}, "n"),
        ({"stop": ["a"] * 5}, "stop"),
        ({"seed": 2**63}, "seed"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": "x"}] * 2}, "messages.1.role"),
        ({"messages": [{"role": "system", "content": "x"}]}, "messages"),
        ({"temprature": 1}, "temprature"),
    ],
)
def test_a_wrong_value_is_400_and_named(client: TestClient, engine: Any, change: dict[str, Any], param: str) -> None:
    response = client.post(CHAT, json=ask(**change))
    error = error_of(response)
    assert response.status_code == 400, error
    assert error["type"] == "invalid_request_error"
    assert str(error["param"]).startswith(param)
    assert engine.calls == []


def test_an_unknown_parameter_gets_a_suggestion(client: TestClient) -> None:
    assert "did you mean 'temperature'" in error_of(client.post(CHAT, json=ask(temprature=1)))["message"]


@pytest.mark.parametrize(
    "change",
    [
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
        {"logprobs": True},
        {"presence_penalty": 0.5},
        {"response_format": {"type": "json_object"}},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
        {"messages": [{"role": "tool", "content": "x", "tool_call_id": "1"}]},
    ],
)
def test_what_would_be_ignored_is_422(client: TestClient, engine: Any, change: dict[str, Any]) -> None:
    response = client.post(CHAT, json=ask(**change))
    assert (response.status_code, error_of(response)["code"]) == (422, "unsupported")
    assert engine.calls == []


def test_what_asks_for_nothing_is_accepted(client: TestClient) -> None:
    neutral = {"tools": [], "logprobs": False, "presence_penalty": 0.0, "response_format": {"type": "text"}}
    assert client.post(CHAT, json=ask(**neutral, metadata={"a": "b"}, store=False)).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"",
        b"[]",
        b"[" * 1900,
        b"\xff",
        b'{"model": NaN}',
        b'{"model":"demo","messages":[{"role":"user","content":"\\ud800"}]}',
        b'{"model":"\\ud800","messages":[{"role":"user","content":"x"}]}',
        b'{"\\ud800":1,"model":"demo","messages":[{"role":"user","content":"x"}]}',
    ],
)
def test_a_body_that_is_no_request_is_400(client: TestClient, body: bytes) -> None:
    response = client.post(CHAT, content=body, headers={"content-type": "application/json"})
    assert response.status_code == 400
    error_of(response)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["model", "messages", "temperature", "stop", "n", "stream", "seed", "tools", "x"]),
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers()
            | st.floats(allow_nan=False, allow_infinity=False)
            | st.text(max_size=5),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
            max_leaves=5,
        ),
    )
)
def test_whatever_the_body_the_answer_is_never_500(client: TestClient, body: dict[str, Any]) -> None:
    response = client.post(CHAT, json=ask() | body)
    assert response.status_code in (200, 400, 404, 422), response.text


def test_models_are_listed_and_found_by_every_name(client: TestClient) -> None:
    listed = client.get("/v1/models").json()
    assert listed["object"] == "list"
    assert [model["id"] for model in listed["data"]] == ["demo@v1"]
    for name in ("demo@v1", "demo", "demo@production"):
        assert client.get(f"/v1/models/{name}").json() == listed["data"][0]
        assert client.post(CHAT, json=ask(model=name)).status_code == 200


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_unknown_model_is_404_and_says_what_is_there(client: TestClient, method: str) -> None:
    response = client.get("/v1/models/dem") if method == "GET" else client.post(CHAT, json=ask(model="dem"))
    error = error_of(response)
    assert (response.status_code, error["code"]) == (404, "model_not_found")
    assert "'demo'" in error["message"]


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/v1/nothing", 404), ("GET", CHAT, 405)])
def test_an_unknown_path_has_the_same_shape(client: TestClient, method: str, path: str, status: int) -> None:
    response = client.request(method, path)
    assert response.status_code == status
    assert path in error_of(response)["message"]


def test_health_tells_model_version_and_digest(client: TestClient) -> None:
    response = client.get("/health")
    assert response.status_code == 200
    assert response.json() == {"status": "ok", "model": "demo@v1", "version": "v1", "digest": "ab" * 32}


def test_until_the_model_is_loaded_everything_but_the_list_is_503(engine: Any) -> None:
    loading: Future[Any] = Future()
    with TestClient(create_app(loading, model_name="demo@v1")) as client:
        assert client.get("/health").status_code == 503
        assert client.get("/health").json()["status"] == "loading"
        response = client.post(CHAT, json=ask())
        assert (response.status_code, error_of(response)["code"]) == (503, "model_not_ready")
        assert response.headers["retry-after"]
        loading.set_result(engine)
        assert client.get("/health").status_code == 200
        assert client.post(CHAT, json=ask()).status_code == 200


def test_a_model_that_failed_to_load_is_never_ready() -> None:
    loading: Future[Any] = Future()
    loading.set_exception(RuntimeError("broken"))
    with TestClient(create_app(loading, model_name="demo@v1")) as client:
        assert client.get("/health").json()["status"] == "failed"
        assert client.post(CHAT, json=ask()).status_code == 503


@pytest.mark.parametrize("stream", [False, True])
def test_a_conversation_that_does_not_fit_is_400(client: TestClient, stream: bool) -> None:
    response = client.post(CHAT, json=ask("too long", stream=stream))
    assert (response.status_code, error_of(response)["code"]) == (400, "context_length_exceeded")


@pytest.mark.parametrize("stream", [False, True])
def test_a_failure_is_500_and_tells_nothing_of_the_inside(client: TestClient, stream: bool) -> None:
    response = client.post(CHAT, json=ask("explode at once", stream=stream))
    assert (response.status_code, error_of(response)["code"]) == (500, "internal_error")
    assert "secret" not in response.text


def test_a_failure_in_the_middle_of_a_stream_is_its_last_event(client: TestClient) -> None:
    chunks = chunks_of(client.post(CHAT, json=ask("one explode", stream=True)))
    assert chunks[-1]["error"]["code"] == "internal_error"
    assert "secret" not in json.dumps(chunks)


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_takes_too_long_is_stopped(engine: Any, stream: bool) -> None:
    engine.hold()
    with TestClient(create_app(engine, model_name="demo@v1", limits=Limits(seconds=0.05))) as client:
        response = client.post(CHAT, json=ask(stream=stream))
        error = chunks_of(response)[-1]["error"] if stream else error_of(response)
        assert error["code"] == "timeout"
        assert stream or (response.status_code == 504 and response.headers["x-should-retry"] == "false")
        assert engine.cancelled.wait(5)
