"""What a request passes before it is read: the key and the size."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fastapi.testclient import TestClient

from workloads.serving.app import Limits, create_app

CHAT = "/v1/chat/completions"
ASK = {"model": "demo@v1", "messages": [{"role": "user", "content": "one two three"}]}


def code_of(response: Any) -> Any:
    return response.json()["error"]["code"]


@pytest.mark.parametrize(
    "header", [None, "Bearer wrong", "Bearer ", "sesame", "Basic sesame", "Bearer sesame2", "Bearer sésame"]
)
def test_a_wrong_key_is_401_for_everything_but_health(engine: Any, header: str | None) -> None:
    with TestClient(create_app(engine, model_name="demo@v1", api_key="sesame")) as client:
        headers = {} if header is None else {b"authorization": header.encode()}
        for response in (
            client.get("/v1/models", headers=headers),
            client.post(CHAT, json=ASK, headers=headers),
            client.post(CHAT, content=b"{", headers=headers),
        ):
            assert (response.status_code, code_of(response)) == (401, "invalid_api_key")
        assert client.get("/health").status_code == 200
    assert engine.calls == []


def test_the_right_key_is_let_in(engine: Any) -> None:
    with TestClient(create_app(engine, model_name="demo@v1", api_key="sesame")) as client:
        assert client.post(CHAT, json=ASK, headers={"Authorization": "bearer sesame"}).status_code == 200


@pytest.mark.parametrize("told", [True, False])
def test_a_body_over_the_limit_is_413(engine: Any, told: bool) -> None:
    raw = json.dumps(ASK).encode()
    headers = {"content-type": "application/json"}

    def post(limit: int) -> Any:
        app = create_app(engine, model_name="demo@v1", limits=Limits(body_bytes=limit))
        with TestClient(app) as client:
            return client.post(CHAT, content=raw if told else iter([raw[:20], raw[20:]]), headers=headers)

    assert post(len(raw)).status_code == 200
    answers = len(engine.calls)
    response = post(len(raw) - 1)
    assert (response.status_code, code_of(response)) == (413, "request_too_large")
    assert len(engine.calls) == answers
