from __future__ import annotations

import pytest
from artifactory import hostile
from artifactory.server import FakeArtifactory

from workloads.hub.preflight import preflight
from workloads.hub.tokens import TokenSource
from workloads.hub.transport import Transport

NAME = "acme/base"
FILES = {"config.json": b'{"model_type": "llama"}', "model.safetensors": b"w" * 100}
RESOLVE = r"/resolve/"


def tried(server, *, token=None, endpoint=None, model=NAME):
    tokens = TokenSource({"TUNERY_ARTIFACTORY_TOKEN": server.token() if token is None else token})
    endpoint = endpoint or server.endpoint()
    transport = Transport(endpoint, tokens, timeout=1.0, sleep=lambda seconds: None)
    return list(preflight(transport, endpoint, model))


@pytest.fixture
def server(artifactory):
    artifactory.put_model("huggingface", NAME, FILES)
    return artifactory


def test_all_is_well(server):
    steps = tried(server)
    assert [step.problem for step in steps] == [None] * 4
    assert not any("model.safetensors" in each.path for each in server.requests)


def test_no_token(server):
    (step,) = tried(server, token="wrong")
    assert "401 Unauthorized" in step.problem.message
    assert "TUNERY_ARTIFACTORY_TOKEN" in step.problem.fix


def test_no_permission(server):
    (step,) = tried(server, token=server.token("read", repositories=["published"]))
    assert "403 Forbidden" in step.problem.message
    assert "account" in step.problem.fix


def test_no_repository_and_no_model(server):
    (step,) = tried(server, endpoint=server.endpoint("absent"))
    assert "404" in step.problem.message
    assert "name of the repository" in step.problem.fix
    (step,) = tried(server, model="acme/absent")
    assert "has no model acme/absent" in step.problem.message


def test_no_commit_in_the_answer(server):
    server.hostile(hostile.page(200), path="/api/models/")
    assert "without the commit" in tried(server)[-1].problem.message


@pytest.mark.parametrize("name", ["X-Repo-Commit", "ETag"])
def test_headers_that_are_taken_away(server, name):
    server.hostile(hostile.without(name), path=RESOLVE)
    last = tried(server)[-1]
    assert f"without {name}" in last.problem.message


def test_a_redirect_to_a_host_that_cannot_be_reached(server):
    server.hostile(hostile.redirect("http://localhost:9/x"), path=RESOLVE, methods=("GET",))
    last = tried(server)[-1]
    assert "sends downloads to localhost" in last.problem.message
    assert "network policy" in last.problem.fix


def test_bytes_that_were_changed_on_the_way(server):
    server.hostile(hostile.served(b"{}"), path=RESOLVE, methods=("GET",))
    assert "does not have the digest" in tried(server)[-1].problem.message


def test_a_certificate_of_a_private_authority(monkeypatch):
    with FakeArtifactory(tls=True) as server:
        server.put_model("huggingface", NAME, FILES)
        (step,) = tried(server)
        assert "certificate" in step.problem.message
        assert "SSL_CERT_FILE" in step.problem.fix
        monkeypatch.setenv("SSL_CERT_FILE", str(server.ca_file))
        assert tried(server)[-1].problem is None
