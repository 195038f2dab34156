"""Who may do what: access tokens and reference tokens with an expiry and permissions.

An access token is a JSON Web Token whose claims anyone can read; a reference token is 64 characters that mean one
(jfrog.com/help: Understanding Reference Tokens; Understanding Identity Tokens). Both go as ``Authorization: Bearer``,
as the password of basic authentication, or as ``X-JFrog-Art-Api``.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import secrets
import string
import time
import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from artifactory.wire import RefusalError, Reply, json_reply

PERMISSIONS = frozenset({"read", "annotate", "deploy", "delete", "manage"})
_REALM = {"WWW-Authenticate": 'Basic realm="Artifactory Realm"'}


@dataclass(frozen=True, slots=True)
class Grant:
    """What a token lets its bearer do. ``repositories`` is None for all; ``expires`` is None for never."""

    user: str
    permissions: frozenset[str]
    repositories: frozenset[str] | None
    issued: int
    expires: int | None
    identifier: str

    def allows(self, permission: str, repository: str) -> bool:
        return permission in self.permissions and (self.repositories is None or repository in self.repositories)


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _basic_password(credentials: str) -> str:
    try:
        return base64.b64decode(credentials, validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError) as error:
        raise RefusalError(401, "Bad credentials", _REALM) from error


class Tokens:
    """The tokens of one server."""

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(32)
        self._grants: dict[str, Grant] = {}
        self._revoked: set[str] = set()

    def issue(
        self,
        permissions: str,
        *,
        repositories: Collection[str] | None,
        expires_in: float | None,
        reference: bool,
        user: str,
    ) -> str:
        """A new token; ``permissions`` are words of PERMISSIONS, and ``expires_in`` seconds may be negative."""
        wanted = frozenset(permissions.split())
        if unknown := wanted - PERMISSIONS:
            raise ValueError(f"no such permissions: {sorted(unknown)}; use {sorted(PERMISSIONS)}")
        now = int(time.time())
        only = None if repositories is None else frozenset(repositories)
        expires = None if expires_in is None else int(now + expires_in)
        grant = Grant(user, wanted, only, now, expires, str(uuid.uuid4()))
        token = self._reference(grant) if reference else self._jwt(grant)
        self._grants[token] = grant
        return token

    def revoke(self, token: str) -> None:
        self._revoked.add(token)

    def grant(self, headers: Mapping[str, str]) -> Grant:
        """Raises RefusalError (401) for no token, one of another server, an expired or a revoked one."""
        scheme, _, credentials = headers.get("authorization", "").partition(" ")
        token = credentials.strip() if scheme.lower() == "bearer" else headers.get("x-jfrog-art-api", "")
        if scheme.lower() == "basic":
            token = _basic_password(credentials.strip())
        if not token:
            raise RefusalError(401, "Authentication is required", _REALM)
        grant = self._grants.get(token)
        if grant is None:
            raise RefusalError(401, "Token failed verification: parse", _REALM)
        if token in self._revoked:
            raise RefusalError(401, "Token failed verification: revoked", _REALM)
        if grant.expires is not None and grant.expires <= time.time():
            raise RefusalError(401, "Token failed verification: expired", _REALM)
        return grant

    def describe(self, grant: Grant) -> Reply:
        """``GET /access/api/v1/tokens/me``: the only way to learn when a reference token ends."""
        return json_reply(self._claims_of(grant))

    @staticmethod
    def _claims_of(grant: Grant) -> dict[str, Any]:
        found: dict[str, Any] = {
            "token_id": grant.identifier,
            "subject": f"jfac@fake/users/{grant.user}",
            "issued_at": grant.issued,
            "issuer": "jfac@fake",
            "refreshable": False,
            "scope": "applied-permissions/user",
        }
        return found if grant.expires is None else found | {"expiry": grant.expires}

    def _jwt(self, grant: Grant) -> str:
        claims = {"sub": f"jfac@fake/users/{grant.user}", "scp": "applied-permissions/user", "aud": "*@*"}
        times = {"iss": "jfac@fake", "iat": grant.issued, "jti": grant.identifier}
        if grant.expires is not None:
            times["exp"] = grant.expires
        head = _encode(json.dumps({"ver": "2", "typ": "JWT", "alg": "HS256", "kid": "fake"}).encode())
        signed = f"{head}.{_encode(json.dumps({**claims, **times}).encode())}"
        return f"{signed}.{_encode(hmac.digest(self._secret, signed.encode(), hashlib.sha256))}"

    @staticmethod
    def _reference(grant: Grant) -> str:
        name = "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(27))
        return base64.b64encode(f"reftkn:01:{grant.expires or 0:010d}:{name}".encode()).decode()
