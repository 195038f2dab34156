"""The login for a registry that this machine has: that of ``docker login``, or Google's application default.

Source: the reference of Docker's ``config.json`` and the protocol of its credential helpers.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from base64 import b64decode, b64encode
from binascii import Error as NoBase64
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from workloads.storage.atomic import read_json

_HELPER_SECONDS = 10.0
_GOOGLE_SECONDS = 5.0
_GOOGLE = re.compile(r"([a-z0-9-]+-docker\.pkg\.dev|([a-z]+\.)?gcr\.io)")
_GOOGLE_USER = "oauth2accesstoken"
"""The user with whom Artifact Registry takes an access token for a password."""
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_HELPER = re.compile(r"[A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True)
class Login:
    """A user and the password, which no message shows."""

    user: str
    password: str = field(repr=False)

    @property
    def basic(self) -> str:
        """The value of an Authorization header."""
        return f"Basic {b64encode(f'{self.user}:{self.password}'.encode()).decode()}"


def stored_login(host: str, environ: Mapping[str, str] = os.environ) -> Login | None:
    """The login for a registry, or None when this machine has none; then it is asked without."""
    folder = Path(environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
    try:
        config = read_json(folder / "config.json")
    except OSError:  # it may belong to somebody else
        config = None
    found = _docker(host, config if isinstance(config, dict) else {})
    return found or (_google() if _GOOGLE.fullmatch(host) else None)


def how_to_log_in(host: str) -> str:
    """What a person does who has no login, or not the right one."""
    if _GOOGLE.fullmatch(host):
        return (
            "log in with `gcloud auth application-default login`, and ask operations for "
            "roles/artifactregistry.reader on the repository if that does not help"
        )
    return f"log in with `docker login {host}`, and ask operations for the right to read if that does not help"


def _docker(host: str, config: Mapping[str, Any]) -> Login | None:
    helper = _table(config.get("credHelpers")).get(host) or config.get("credsStore")
    if isinstance(helper, str) and (found := _helped(host, helper)) is not None:
        return found
    for name, entry in _table(config.get("auths")).items():
        if re.sub(r"^https?://", "", name).partition("/")[0] == host:
            return _written(_table(entry))
    return None


def _written(entry: Mapping[str, Any]) -> Login | None:
    """An entry of ``auths``: user and password, together in base64 or each by itself."""
    user, password = entry.get("username"), entry.get("password")
    if entry.get("auth"):
        try:
            user, _, password = b64decode(str(entry["auth"])).decode().partition(":")
        except (NoBase64, UnicodeDecodeError):
            return None
    return Login(str(user), str(password)) if user and password else None


def _helped(host: str, helper: str) -> Login | None:
    """What the program ``docker-credential-HELPER`` knows."""
    program = shutil.which(f"docker-credential-{helper}") if _HELPER.fullmatch(helper) else None
    if program is None:
        return None
    try:
        done = subprocess.run(
            [program, "get"], input=host, capture_output=True, text=True, timeout=_HELPER_SECONDS, check=True
        )
        value = _table(json.loads(done.stdout))
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    user, password = value.get("Username"), value.get("Secret")
    return Login(str(user), str(password)) if user and password else None


def _google() -> Login | None:
    """An access token of the application default: of a person, of a build, or of a pod."""
    try:
        import google.auth
        from google.auth.exceptions import GoogleAuthError
        from google.auth.transport.requests import Request
    except ImportError:
        return None
    try:
        credentials, _ = google.auth.default(scopes=[_SCOPE])
        credentials.refresh(partial(Request(), timeout=_GOOGLE_SECONDS))  # type: ignore[no-untyped-call]
    except (GoogleAuthError, OSError):
        return None
    return Login(_GOOGLE_USER, str(credentials.token)) if credentials.token else None


def _table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
