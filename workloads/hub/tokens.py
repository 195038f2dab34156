"""The token for Artifactory: where it is, when it ends, and how it stays out of every text.

It comes from a file (``TUNERY_ARTIFACTORY_TOKEN_FILE``, or ``artifactory-token`` in the folder of a pod's secrets) or
from ``TUNERY_ARTIFACTORY_TOKEN``, never from a command line, which other users of a machine can read.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from workloads.errors import InputError, Problem, UnavailableError
from workloads.runtime import (
    ARTIFACTORY_SECRET,
    ENV_ARTIFACTORY_TOKEN,
    ENV_ARTIFACTORY_TOKEN_FILE,
    ENV_SECRETS,
)
from workloads.secret_patterns import SECRET_VALUE

HOW_TO_GIVE = f"put a token into a file and name it in {ENV_ARTIFACTORY_TOKEN_FILE}, or set {ENV_ARTIFACTORY_TOKEN}"
_FAST, _SLOW = 200e6, 10e6
"""Bytes a second: what few networks exceed, and what most reach."""
_REFERENCE = re.compile(r"reftkn:\d+:(\d+):")
"""A decoded reference token: a version, the time when it ends (0 is never), a random part."""
_PRINTABLE = re.compile(r"[!-~]+")


@dataclass(frozen=True, slots=True)
class Token:
    """A token and where it came from; printing it shows only the latter."""

    value: str = field(repr=False)
    origin: str

    @property
    def expires(self) -> float | None:
        """When it ends, in seconds since 1970; None when it never does or does not tell."""
        claims = _claims(self.value)
        if claims is not None:
            end = claims.get("exp")
            return float(end) if isinstance(end, int | float) else None
        try:
            found = _REFERENCE.match(base64.b64decode(self.value, validate=True).decode())
        except (binascii.Error, ValueError):
            return None
        return float(found[1]) or None if found else None

    @property
    def subject(self) -> str | None:
        """The user that it speaks for, when it tells."""
        subject = (_claims(self.value) or {}).get("sub")
        return subject.rpartition("/")[2] if isinstance(subject, str) else None


def _claims(token: str) -> dict[str, object] | None:
    """What a JSON Web Token says of itself; it is the server that checks it."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except ValueError:
        return None
    return claims if isinstance(claims, dict) else None


@dataclass(frozen=True, slots=True)
class TokenSource:
    """Where the token is read each time it is needed, since a mounted secret changes when it is renewed."""

    environ: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)
    clock: Callable[[], float] = time.time

    def read(self) -> Token | None:
        """The token, or None when there is none: some repositories are open to everybody.

        Raises:
            InputError: the file that is named is not there, or what is in it cannot be a token.
        """
        if named := self.environ.get(ENV_ARTIFACTORY_TOKEN_FILE):
            return _from_file(Path(named), ENV_ARTIFACTORY_TOKEN_FILE)
        mounted = Path(self.environ.get(ENV_SECRETS) or "/nonexistent", ARTIFACTORY_SECRET)
        if mounted.is_file():
            return _from_file(mounted, ENV_SECRETS)
        if value := self.environ.get(ENV_ARTIFACTORY_TOKEN, "").strip():
            return _token(value, ENV_ARTIFACTORY_TOKEN)
        return None

    def check_lifetime(self, size: int) -> str | None:
        """Looks at the token before ``size`` bytes are moved with it; a warning when it may end too early.

        Raises:
            UnavailableError: it has ended, or ends before even a fast network has moved them.
        """
        token = self.read()
        if token is None or token.expires is None:
            return None
        left = token.expires - self.clock()
        if left <= 0:
            raise _ended(f"The token in {token.origin} has expired.")
        if left < size / _FAST:
            raise _ended(f"The token in {token.origin} expires in {left:.0f} s, before {size:,} bytes can be moved.")
        if left < size / _SLOW:
            return f"The token in {token.origin} expires in {left / 60:.0f} min, which may be too early."
        return None


def _ended(message: str) -> UnavailableError:
    return UnavailableError(Problem(message, f"make a new one in Artifactory and {HOW_TO_GIVE}", code="token"))


def _from_file(path: Path, origin: str) -> Token:
    try:
        value = path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        fix = f"put the token there and nothing else, or correct {origin}"
        raise InputError.of("The file with Artifactory's token cannot be read.", fix, file=path) from error
    return _token(value, str(path))


def _token(value: str, origin: str) -> Token:
    # a line break in it would end the header that carries it, and the error would show the token
    if not _PRINTABLE.fullmatch(value):
        raise InputError.of(
            f"What is in {origin} is no token: it is empty, or has blanks or signs that no token has.", HOW_TO_GIVE
        )
    return Token(value, origin)


def redact(text: str, token: Token | None = None) -> str:
    """``text`` without the token, and without whatever else looks like a secret."""
    if token is not None:
        text = text.replace(token.value, "[token]")
    return SECRET_VALUE.sub("[secret]", text)
