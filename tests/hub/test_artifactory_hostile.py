"""What networks, proxies and attackers do: in the end the right bytes are there, or an error says why not."""

from __future__ import annotations

import logging
import os
import traceback

import pytest
from artifactory import hostile
from artifactory.server import FakeArtifactory

from workloads.errors import InputError, TuneryError, UnavailableError
from workloads.hub.connections import Connections
from workloads.hub.interface import ModelReference
from workloads.storage import manifest

WEIGHTS = os.urandom(300_000)
FILES = {"config.json": b"{}", "model.safetensors": WEIGHTS}
NAME = "acme/base"
FILE = r"resolve/.*model\.safetensors"


@pytest.fixture
def hub(artifactory, open_artifactory):
    artifactory.put_model("huggingface", NAME, FILES)
    return open_artifactory(artifactory)


def fetched(hub, folder):
    hub.fetch(hub.resolve(ModelReference(NAME, "main")), folder)
    assert manifest.damage(folder) == []
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS


def refused(hub, folder, match, kind=UnavailableError):
    with pytest.raises(kind, match=match):
        hub.fetch(hub.resolve(ModelReference(NAME, "main")), folder)
    assert manifest.read(folder) is None
    assert not (folder / "model.safetensors").exists()


@pytest.mark.parametrize(
    "fault",
    [
        hostile.reset(),
        hostile.reset(100_000),
        hostile.cut(100_000),
        hostile.stall(100_000),
        hostile.wrong_length(50),
        hostile.wrong_length(-50),
        hostile.corrupt(1000),
        hostile.status(500),
        hostile.status(503),
        hostile.served(b"something else"),
        hostile.gzip_bomb(1 << 20),
        hostile.huge_headers(100_000),
        hostile.page(502),
    ],
)
@pytest.mark.parametrize("times", [1, 2])
def test_what_passes_ends_in_the_right_bytes(artifactory, hub, tmp_path, fault, times):
    artifactory.hostile(fault, path=FILE, methods=("GET",), times=times)
    fetched(hub, tmp_path / "m")


@pytest.mark.parametrize(
    ("fault", "match"),
    [
        (hostile.reset(), "cannot be reached"),
        (hostile.corrupt(), "does not have the digest"),
        (hostile.served(b"x" * 300_000), "does not have the digest"),
        (hostile.served(b"x" * 300_001), r"announces 300,001 bytes"),
        (hostile.wrong_length(1), r"announces 300,001 bytes"),
        (hostile.gzip_bomb(1 << 20), "compressed"),
        (hostile.huge_headers(100_000), "does not speak HTTP"),
        (hostile.status(500), "answers 500 Internal Server Error: it broke"),
        (hostile.status(401, "Token failed verification: expired"), r"401 Unauthorized.*expired"),
        (hostile.status(403, "no"), "403 Forbidden"),
        (hostile.redirect("file:///etc/passwd"), "not encrypted"),
    ],
)
def test_what_stays_ends_in_an_error_and_no_file(artifactory, hub, tmp_path, fault, match):
    artifactory.hostile(fault, path=FILE, methods=("GET",))
    refused(hub, tmp_path / "m", match)


def test_a_connection_that_breaks_again_and_again_gets_on(artifactory, hub, tmp_path):
    artifactory.hostile(hostile.cut(20_000), path=FILE, methods=("GET",))
    fetched(hub, tmp_path / "m")


def test_a_file_that_changes_between_two_ranges_is_begun_anew(artifactory, hub, tmp_path):
    artifactory.hostile(hostile.cut(100_000), path=FILE, methods=("GET",), times=1)
    artifactory.hostile(hostile.changed(os.urandom(300_000)), path=FILE, methods=("GET",), skip=1, times=1)
    fetched(hub, tmp_path / "m")


def test_the_server_says_how_long_to_wait(artifactory, hub, pauses, tmp_path):
    artifactory.hostile(hostile.too_many("7"), path=FILE, methods=("GET",), times=2)
    fetched(hub, tmp_path / "m")
    assert pauses == [7.0, 7.0]


def test_a_server_that_asks_to_wait_for_an_hour_is_away(artifactory, hub, pauses, tmp_path):
    artifactory.hostile(hostile.too_many("3600"), path=FILE, methods=("GET",))
    refused(hub, tmp_path / "m", "429 Too Many Requests")
    assert pauses == []


def test_a_head_that_comes_byte_by_byte_is_not_waited_for(artifactory, hub, tmp_path):
    artifactory.hostile(hostile.slow_loris(0.02), path=FILE, methods=("GET",), times=1)
    fetched(hub, tmp_path / "m")


@pytest.mark.parametrize(
    "name", ["../outside", "/etc/cron.d/x", "a/../../b", "a\\b", "c:evil", "x\n", "tunery-manifest.json"]
)
def test_a_file_name_that_leaves_the_folder_is_refused(artifactory, hub, tmp_path, name):
    artifactory.hostile(hostile.listed(name), path="/api/models/")
    refused(hub, tmp_path / "m", "which is refused", InputError)
    assert not (tmp_path / "outside").exists()


def test_a_redirect_to_a_stranger_does_not_take_the_token_along(artifactory, hub, tmp_path):
    stranger = artifactory.storage_url + "/stranger"
    artifactory.hostile(hostile.redirect(stranger), path=FILE, methods=("GET",))
    refused(hub, tmp_path / "m", "403 Forbidden")
    seen = [each for each in artifactory.requests if each.path == "/stranger"]
    assert seen
    assert all("authorization" not in each.headers for each in seen)


def test_a_redirect_from_https_to_http_is_not_followed(open_artifactory, tmp_path, monkeypatch):
    with FakeArtifactory(tls=True) as server:
        monkeypatch.setenv("SSL_CERT_FILE", str(server.ca_file))
        server.put_model("huggingface", NAME, FILES)
        fetched(open_artifactory(server), tmp_path / "whole")
        server.hostile(hostile.redirect("http://localhost:9/x"), path=FILE, methods=("GET",))
        refused(open_artifactory(server), tmp_path / "m", "not encrypted")


def test_a_proxy_of_the_machine_is_used_and_its_exceptions_are_kept(monkeypatch):
    monkeypatch.setenv("https_proxy", "http://me:word@proxy.example:3128")
    monkeypatch.setenv("no_proxy", "inside.example")
    through = Connections(1.0).fresh("https://artifactory.example/x")
    assert (through.host, through.port, through._tunnel_host) == ("proxy.example", 3128, "artifactory.example")
    assert through._tunnel_headers["Proxy-Authorization"].startswith("Basic ")
    direct = Connections(1.0).fresh("https://inside.example/x")
    assert (direct.host, direct._tunnel_host) == ("inside.example", None)


def test_redirects_in_a_circle_end(artifactory, hub, tmp_path):
    artifactory.hostile(hostile.redirect(artifactory.storage_url + "/x"), path=FILE, methods=("GET",))
    artifactory.hostile(hostile.redirect(artifactory.storage_url + "/x"), host="storage")
    refused(hub, tmp_path / "m", "again and again")


def test_no_token_is_in_any_message(artifactory, open_artifactory, tmp_path, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    artifactory.put_model("huggingface", NAME, FILES)
    token = artifactory.token("read", reference=True)
    faults = [
        hostile.status(401, f"bad token {token}"),
        hostile.status(400, f"Authorization: Bearer {token} is wrong"),
        hostile.page(500, f"<pre>{token}</pre>"),
        hostile.redirect(f"{artifactory.storage_url}/x?Signature={token}"),
        hostile.reset(),
        hostile.huge_headers(100_000),
    ]
    written = []
    for fault in faults:
        artifactory.friendly()
        artifactory.hostile(fault, path=FILE)
        hub = open_artifactory(artifactory, token)
        with pytest.raises(TuneryError) as caught:
            hub.fetch(hub.resolve(ModelReference(NAME, "main")), tmp_path / "m")
        written += ["".join(traceback.format_exception(caught.value)), repr(hub._transport), str(caught.value)]
    written += [caplog.text, *capfd.readouterr()]
    written += [path.read_bytes().decode(errors="replace") for path in tmp_path.rglob("*") if path.is_file()]
    assert all(token not in text for text in written)
