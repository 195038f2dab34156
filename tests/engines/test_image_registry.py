"""Whether an image is there: asked of a real registry, and of answers as Google's and JFrog's registries give them."""

from __future__ import annotations

import json
import os
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from oci_registry.server import PASSWORD, USER, RealRegistry, running_registry

from workloads import platform
from workloads.engines.image_preflight import image_problems
from workloads.engines.image_registry import Presence, Registries
from workloads.engines.registry_login import Login, stored_login
from workloads.errors import InputError, Problem, UnavailableError
from workloads.render.run import ClusterRun
from workloads.run_spec import RunSpec

DIGEST = f"sha256:{'5' * 64}"
HOST = "europe-west4-docker.pkg.dev"
REPOSITORY = "acme-llm-dev/gke-llm/trainer"
Handler = Callable[[httpx.Request], httpx.Response]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealRegistry]:
    with running_registry(tmp_path_factory.mktemp("registry")) as found:
        yield found


def person(_: str) -> Login:
    return Login(USER, PASSWORD)


def test_a_real_registry_says_what_it_has(registry: RealRegistry) -> None:
    digest = registry.push("team/trainer")
    registry.tokens.asked.clear()
    with Registries(person) as asked:
        assert asked.look(f"{registry.host}/team/trainer@{digest}") is Presence.THERE
        assert asked.look(f"{registry.host}/team/trainer@{DIGEST}") is Presence.NO_DIGEST
    # The token is for pulling from this repository, and is used again.
    assert registry.tokens.asked == [{"service": "registry", "scope": "repository:team/trainer:pull"}]


@pytest.mark.parametrize("login", [lambda _: None, lambda _: Login(USER, "guessed")])
def test_a_real_registry_that_lets_nobody_in(registry: RealRegistry, login: Callable[[str], Login | None]) -> None:
    digest = registry.push("team/trainer")
    with Registries(login) as asked, pytest.raises(InputError, match="does not let you read team/trainer") as refused:
        asked.look(f"{registry.host}/team/trainer@{digest}")
    assert f"docker login {registry.host}" in refused.value.problems[0].fix
    assert "guessed" not in str(refused.value)


def test_a_registry_that_is_not_there() -> None:
    with Registries(person) as asked, pytest.raises(UnavailableError, match="could not be asked"):
        asked.look(f"127.0.0.1:1/team/trainer@{DIGEST}")


def recorded(handler: Handler, login: Callable[[str], Login | None] = person) -> Registries:
    return Registries(login, httpx.MockTransport(handler))


def artifact_registry(request: httpx.Request) -> httpx.Response:
    """As https://europe-west4-docker.pkg.dev answers."""
    if request.url.path == "/v2/token":
        user, _, password = b64decode(request.headers["Authorization"].removeprefix("Basic ")).decode().partition(":")
        assert (user, password) == ("oauth2accesstoken", "ya29.token")
        return httpx.Response(200, json={"token": "of-the-registry", "expires_in": 3600})
    if request.headers.get("Authorization") != "Bearer of-the-registry":
        scope = f"repository:{REPOSITORY}:pull"
        asked = f'Bearer realm="https://{HOST}/v2/token",service="{HOST}",scope="{scope}"'
        return httpx.Response(401, headers={"WWW-Authenticate": asked})
    if "acme-llm-dev" not in request.url.path:
        body = {"errors": [{"code": "NAME_UNKNOWN", "message": 'Repository "x" not found'}]}
        return httpx.Response(404, json=body)
    if not request.url.path.endswith(DIGEST):
        body = {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "Failed to fetch"}]}
        return httpx.Response(404, json=body)
    return httpx.Response(200, headers={"Docker-Content-Digest": DIGEST})


def google(_: str) -> Login:
    return Login("oauth2accesstoken", "ya29.token")


def test_artifact_registry() -> None:
    with recorded(artifact_registry, google) as asked:
        assert asked.look(f"{HOST}/{REPOSITORY}@{DIGEST}") is Presence.THERE
        assert asked.look(f"{HOST}/{REPOSITORY}@sha256:{'6' * 64}") is Presence.NO_DIGEST
        assert asked.look(f"{HOST}/other/gke-llm/trainer@{DIGEST}") is Presence.NO_REPOSITORY


def artifactory(request: httpx.Request) -> httpx.Response:
    """As a JFrog Artifactory with the repository path method answers; layers and manifests may be elsewhere."""
    if request.url.host == "storage.example.com":
        assert "Authorization" not in request.headers
        return httpx.Response(200)
    if request.url.path == "/artifactory/api/docker/llm/v2/token":
        return httpx.Response(200, json={"access_token": "jf"})
    if request.headers.get("Authorization") != "Bearer jf":
        realm = "https://acme.jfrog.io/artifactory/api/docker/llm/v2/token"
        asked = f'Bearer realm="{realm}",service="acme.jfrog.io",scope="repository:llm/trainer:pull,push"'
        return httpx.Response(401, headers={"WWW-Authenticate": asked})
    return httpx.Response(307, headers={"Location": f"https://storage.example.com{request.url.path}"})


def test_artifactory_with_a_redirect() -> None:
    with recorded(artifactory) as asked:
        assert asked.look(f"acme.jfrog.io/llm/trainer@{DIGEST}") is Presence.THERE


def test_a_registry_that_takes_user_and_password_as_they_are() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.headers.get("Authorization") == Login(USER, PASSWORD).basic:
            return httpx.Response(200)
        return httpx.Response(401, headers={"WWW-Authenticate": 'Basic realm="Artifactory Realm"'})

    with recorded(answer) as asked:
        assert asked.look(f"registry.example.com/trainer@{DIGEST}") is Presence.THERE
    with recorded(answer, lambda _: None) as asked, pytest.raises(InputError, match="does not let you read trainer"):
        asked.look(f"registry.example.com/trainer@{DIGEST}")


@pytest.mark.parametrize(
    "challenge",
    [
        "",
        "Negotiate",
        'Bearer realm="http://tokens.example.com/"',  # a login never goes over an open line
        "Bearer realm",
        'Bearer realm="https://["',
        'Bearer realm="file:///etc/passwd"',
    ],
)
def test_a_strange_challenge_is_no_traceback(challenge: str) -> None:
    sent: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request.url.host)
        return httpx.Response(401, headers={"WWW-Authenticate": challenge})

    with recorded(answer) as asked, pytest.raises((UnavailableError, InputError)):
        asked.look(f"registry.example.com/trainer@{DIGEST}")
    assert "tokens.example.com" not in sent


@pytest.mark.parametrize("answer", [httpx.Response(200), httpx.Response(200, text="<html>"), httpx.Response(500)])
def test_a_token_service_without_tokens(answer: httpx.Response) -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        realm = 'Bearer realm="https://tokens.example.com/"'
        return answer if "tokens" in request.url.host else httpx.Response(401, headers={"WWW-Authenticate": realm})

    with recorded(handler) as asked, pytest.raises(UnavailableError, match="no token"):
        asked.look(f"registry.example.com/trainer@{DIGEST}")


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], dict[str, str]]:
    """Writes Docker's config.json; what the environment must say for it to be found."""

    def write(value: Any) -> dict[str, str]:
        (tmp_path / "config.json").write_text(value if isinstance(value, str) else json.dumps(value))
        return {"DOCKER_CONFIG": str(tmp_path)}

    return write


def encoded(text: str) -> str:
    return b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("config", "found"),
    [
        ({"auths": {"a.example.com": {"auth": encoded("ada:with:colon")}}}, Login("ada", "with:colon")),
        ({"auths": {"https://a.example.com/v2/": {"auth": encoded("ada:x")}}}, Login("ada", "x")),
        ({"auths": {"a.example.com": {"username": "ada", "password": "x"}}}, Login("ada", "x")),
        ({"auths": {"b.example.com": {"auth": encoded("ada:x")}}}, None),
        ({"auths": {"a.example.com": {"auth": "%%%"}}}, None),
        ({"auths": {"a.example.com": {}}}, None),
        ({"auths": []}, None),
        ({"credsStore": "not/a/name"}, None),
        ({"credsStore": "is-not-installed"}, None),
        ("not json", None),
    ],
)
def test_docker_s_own_logins(docker: Callable[[Any], dict[str, str]], config: Any, found: Login | None) -> None:
    assert stored_login("a.example.com", docker(config)) == found


@pytest.mark.parametrize(
    ("says", "found"),
    [
        ('echo \'{"Username": "ada", "Secret": "of \'$(cat)\'"}\'', Login("ada", "of a.example.com")),
        ("echo credentials not found in native keychain; exit 1", None),
        ("echo nonsense", None),
    ],
)
def test_a_credential_helper_is_asked(
    docker: Callable[[Any], dict[str, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    says: str,
    found: Login | None,
) -> None:
    program = tmp_path / "docker-credential-vault"
    program.write_text(f'#!/bin/sh\n[ "$1" = get ] || exit 9\n{says}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert stored_login("a.example.com", docker({"credHelpers": {"a.example.com": "vault"}})) == found


def test_google_s_registries_take_the_application_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Credentials:
        token = ""

        def refresh(self, request: Any) -> None:
            self.token = "ya29.token"

    monkeypatch.setattr("google.auth.default", lambda scopes: (Credentials(), "project"))
    nothing = {"DOCKER_CONFIG": str(tmp_path)}
    assert stored_login(HOST, nothing) == Login("oauth2accesstoken", "ya29.token")
    assert stored_login("eu.gcr.io", nothing) == Login("oauth2accesstoken", "ya29.token")
    assert stored_login("a.example.com", nothing) is None
    assert stored_login("x-docker.pkg.dev.example.com", nothing) is None


def test_a_password_is_in_no_text_about_it() -> None:
    assert "secret" not in repr(Login("ada", "secret"))


def problems(handler: Handler, repository: Path, digest: str = DIGEST) -> list[Problem]:
    dev = platform.load("dev", repository / "configs" / "platform")
    images = {name: f"{HOST}/acme-llm-dev/gke-llm/{name}@{digest}" for name in ("stager", "trainer", "server")}
    spec = RunSpec.model_validate({"name": "demo", "training": {"stage": "sft"}})
    return list(image_problems(ClusterRun("demo-0123456789", spec, "research", dev, images), lambda: recorded(handler)))


def test_the_check_names_each_image_its_key_and_what_to_do(repository: Path) -> None:
    def only_the_stager(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200 if "/stager/" in request.url.path else 404)

    assert problems(lambda _: httpx.Response(200), repository) == []
    (problem,) = problems(only_the_stager, repository)
    assert problem.message == (
        f"{HOST}/acme-llm-dev/gke-llm/trainer has no image with the digest {DIGEST}, which is that of trainer here."
    )
    assert (problem.where, problem.code) == ("configs/images.lock.json:images.trainer.digest", "preflight-image")
    assert "Cloud Build" in problem.fix
    assert not problem.is_warning


@pytest.mark.parametrize("status", [403, 429, 503])
def test_a_registry_that_does_not_say_is_one_warning(repository: Path, status: int) -> None:
    (problem,) = problems(lambda _: httpx.Response(status), repository)
    assert problem.is_warning
    assert problem.message.startswith("Whether the images exist is not known. The registry europe-west4")
    assert problem.fix
