"""Asks a registry whether it has an image: the OCI distribution API, logged in as ``docker pull`` would be.

A registry that wants a login says in its 401 where tokens are given for which scope, or that it takes user and
password as they are; Artifact Registry and Artifactory do the first. The token's address is trusted with the login
only over TLS.

Source: the OCI Distribution Specification 1.1 (pull, error codes), and the token authentication of CNCF Distribution.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.request import parse_http_list, parse_keqv_list

from workloads.engines.registry_login import Login, how_to_log_in, stored_login
from workloads.errors import InputError, UnavailableError

if TYPE_CHECKING:
    import httpx

_CONNECT_SECONDS, _READ_SECONDS = 3.0, 5.0
_KINDS = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
"""A registry has no manifest for a client that does not name its kind."""


class Presence(Enum):
    """What a registry has of an image."""

    THERE = "there"
    NO_DIGEST = "no digest"
    NO_REPOSITORY = "no repository"


class Registries:
    """The registries that images are named in; one thread uses it."""

    def __init__(
        self, login: Callable[[str], Login | None] = stored_login, transport: httpx.BaseTransport | None = None
    ) -> None:
        """``login`` gives a user and password for a registry's host; ``transport`` is httpx's own when absent."""
        import httpx

        self._login = login
        self._logins: dict[str, Login | None] = {}
        self._tokens: dict[tuple[str, str], str] = {}
        timeout = httpx.Timeout(_READ_SECONDS, connect=_CONNECT_SECONDS)
        self._client = httpx.Client(timeout=timeout, transport=transport, follow_redirects=True)

    def __enter__(self) -> Registries:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._client.close()

    def look(self, reference: str) -> Presence:
        """What the registry has of ``HOST/REPOSITORY@sha256:DIGEST``.

        Raises:
            UnavailableError: the registry cannot be reached or cannot answer.
            InputError: it does not let this person read the repository.
        """
        host, _, rest = reference.partition("/")
        repository, _, digest = rest.partition("@")
        url = f"{_scheme(host)}://{host}/v2/{repository}/manifests/{digest}"
        answer = self._ask("HEAD", url, host, repository)
        if answer.status_code == 404:
            # The answer to HEAD has no body, and the reason is in the body.
            answer = self._ask("GET", url, host, repository)
            return Presence.NO_REPOSITORY if "NAME_UNKNOWN" in _codes(answer) else Presence.NO_DIGEST
        return Presence.THERE

    def fetch(self, method: str, host: str, repository: str, path: str) -> httpx.Response:
        """The answer for ``manifests/TAG``, ``manifests/DIGEST`` or ``blobs/DIGEST``: its status is 200 or 404.

        Raises:
            UnavailableError: as :meth:`look`.
            InputError: as :meth:`look`.
        """
        return self._ask(method, f"{_scheme(host)}://{host}/v2/{repository}/{path}", host, repository)

    def _ask(self, method: str, url: str, host: str, repository: str) -> httpx.Response:
        answer = self._send(host, method, url, self._tokens.get((host, repository)))
        if answer.status_code == 401:
            self._tokens[host, repository] = self._authorization(answer, host, repository)
            answer = self._send(host, method, url, self._tokens[host, repository])
        if answer.status_code in (401, 403):
            raise _denied(host, repository)
        if answer.status_code not in (200, 404):
            raise _away(host, f"it answered with HTTP {answer.status_code}")
        return answer

    def _authorization(self, refused: httpx.Response, host: str, repository: str) -> str:
        """The Authorization header that the registry asks for."""
        kind, _, rest = refused.headers.get("WWW-Authenticate", "").partition(" ")
        asked = parse_keqv_list(parse_http_list(rest)) if "=" in rest else {}
        if host not in self._logins:
            self._logins[host] = self._login(host)
        login = self._logins[host]
        if kind.lower() == "basic":
            if login is None:
                raise _denied(host, repository)
            return login.basic
        realm = asked.get("realm", "")
        if kind.lower() != "bearer" or not realm.startswith(("https://", f"{_scheme(host)}://")):
            raise _away(host, "it asks for a kind of login that tunery does not know")
        scope = asked.get("scope") or f"repository:{repository}:pull"
        query = {"scope": scope} | ({"service": asked["service"]} if "service" in asked else {})
        answer = self._send(host, "GET", realm, None if login is None else login.basic, query)
        if answer.status_code in (400, 401, 403):
            raise _denied(host, repository)
        value = _json(answer)
        token = value.get("token") or value.get("access_token")
        if answer.status_code != 200 or not isinstance(token, str):
            raise _away(host, f"its token service answered with HTTP {answer.status_code} and no token")
        return f"Bearer {token}"

    def _send(
        self, host: str, method: str, url: str, authorization: str | None, query: dict[str, str] | None = None
    ) -> httpx.Response:
        import httpx

        headers = {"Accept": ", ".join(_KINDS) if query is None else "application/json"}
        if authorization is not None:
            headers["Authorization"] = authorization
        try:
            return self._client.request(method, url, headers=headers, params=query)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise _away(host, str(error) or type(error).__name__) from error


def _scheme(host: str) -> str:
    """TLS, but for this machine's own registries, as all clients of registries have it."""
    name = host.partition(":")[0]
    return "http" if name == "localhost" or name.startswith("127.") else "https"


def _codes(answer: httpx.Response) -> set[str]:
    errors = _json(answer).get("errors")
    return {str(each.get("code")) for each in errors if isinstance(each, dict)} if isinstance(errors, list) else set()


def _json(answer: httpx.Response) -> dict[str, Any]:
    try:
        value = answer.json()
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _away(host: str, why: str) -> UnavailableError:
    return UnavailableError.of(
        f"The registry {host} could not be asked for the image: {why}.",
        "connect to the company's network or VPN if it answers only there; the nodes of the cluster pull from inside",
    )


def _denied(host: str, repository: str) -> InputError:
    return InputError.of(f"The registry {host} does not let you read {repository}.", how_to_log_in(host))
