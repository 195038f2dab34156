from __future__ import annotations

import base64
import json

import pytest

from workloads.errors import InputError, UnavailableError
from workloads.hub.tokens import Token, TokenSource, redact

NOW = 1_800_000_000


def jwt(**claims):
    parts = (json.dumps({"alg": "RS256"}), json.dumps(claims))
    return ".".join([*(base64.urlsafe_b64encode(each.encode()).rstrip(b"=").decode() for each in parts), "c2ln"])


def reference(end):
    return base64.b64encode(f"reftkn:01:{end:010d}:abcdefghijklmnopqrstuvwxyzA".encode()).decode()


def source(token):
    return TokenSource({"TUNERY_ARTIFACTORY_TOKEN": token}, clock=lambda: NOW)


def test_files_go_before_the_environment(tmp_path):
    (tmp_path / "named").write_text("from-file\n")
    (tmp_path / "artifactory-token").write_text("mounted")
    environ = {"TUNERY_ARTIFACTORY_TOKEN": "plain"}
    assert TokenSource(environ).read() == Token("plain", "TUNERY_ARTIFACTORY_TOKEN")
    environ["TUNERY_SECRETS"] = str(tmp_path)
    assert TokenSource(environ).read().value == "mounted"
    environ["TUNERY_ARTIFACTORY_TOKEN_FILE"] = str(tmp_path / "named")
    assert TokenSource(environ).read().value == "from-file"
    assert TokenSource({}).read() is None


def test_a_renewed_secret_is_seen(tmp_path):
    path = tmp_path / "artifactory-token"
    path.write_text("old")
    tokens = TokenSource({"TUNERY_SECRETS": str(tmp_path)})
    assert tokens.read().value == "old"
    path.write_text("new")
    assert tokens.read().value == "new"


@pytest.mark.parametrize("content", [b"", b"two words", b"a\nInjected: header", b"\xff\xfe"])
def test_what_is_no_token_is_refused_without_being_shown(tmp_path, content):
    path = tmp_path / "token"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        TokenSource({"TUNERY_ARTIFACTORY_TOKEN_FILE": str(path)}).read()
    assert "Injected" not in str(caught.value)
    with pytest.raises(InputError, match="cannot be read"):
        TokenSource({"TUNERY_ARTIFACTORY_TOKEN_FILE": str(tmp_path / "absent")}).read()


@pytest.mark.parametrize("make", [lambda end: jwt(exp=end), reference])
def test_a_token_that_ends_too_early_is_noticed_before_a_long_download(make):
    with pytest.raises(UnavailableError, match="has expired"):
        source(make(NOW - 1)).check_lifetime(1)
    with pytest.raises(UnavailableError, match=r"expires in 60 s, before 100,000,000,000 bytes"):
        source(make(NOW + 60)).check_lifetime(100_000_000_000)
    assert "may be too early" in source(make(NOW + 600)).check_lifetime(10_000_000_000)
    assert source(make(NOW + 3600)).check_lifetime(1_000_000) is None


@pytest.mark.parametrize("token", [jwt(sub="x"), reference(0), "AKCpopaque", "a.b.c"])
def test_a_token_that_never_ends_or_does_not_tell_is_tried(token):
    assert source(token).check_lifetime(10**12) is None


def test_the_subject_of_a_token_is_its_user():
    assert Token(jwt(sub="jfac@x/users/ci"), "x").subject == "ci"
    assert Token("opaque", "x").subject is None


def test_a_token_is_in_no_representation():
    token = Token(jwt(sub="x"), "file")
    assert token.value not in repr(token) + repr(source(token.value)) + redact(f"{token.value} and", token)
    assert reference(0) not in redact(f"the server says {reference(0)}")
