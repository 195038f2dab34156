"""The server that tests start, and what they ask of it."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import tempfile
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from types import TracebackType
from typing import Literal, Self
from urllib.parse import quote

from artifactory.artifacts import Artifacts, Blob, Item
from artifactory.certificates import private_ca
from artifactory.connections import Listener
from artifactory.generic import Generic, require
from artifactory.hostile import Fault, Rule
from artifactory.huggingface import HuggingFace
from artifactory.storage_api import StorageApi
from artifactory.tokens import Grant, Tokens
from artifactory.wire import Content, Recorded, RefusalError, Reply, Request, json_reply, serve

Kind = Literal["models", "datasets"]
VERSION = "7.111.4"


class FakeArtifactory:
    """An Artifactory on loopback, and the object storage behind it.

    Args:
        generic: names of its generic repositories.
        huggingface: names of its Hugging Face repositories.
        tls: whether it speaks HTTPS with a certificate of a private authority (``ca_file``).
        redirects: whether downloads of large files are a 302 to a signed address on the storage host.
        hidden: whether what a token may not read is said not to exist (404) instead of forbidden (403).
    """

    def __init__(
        self,
        *,
        generic: Collection[str] = ("published",),
        huggingface: Collection[str] = ("huggingface",),
        tls: bool = False,
        redirects: bool = False,
        hidden: bool = False,
    ) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="artifactory-")
        root = Path(self._folder.name)
        self.ca_file: Path | None = None
        context = None
        if tls:
            self.ca_file, context = private_ca(root)
        self.requests: list[Recorded] = []
        """Every request that arrived at either host, in order."""
        self._secret = secrets.token_bytes(32)
        self._rules: list[Rule] = []
        self._hidden, self._redirects = hidden, redirects
        self._huggingface = frozenset(huggingface)
        scheme = "https" if tls else "http"
        # Two names of the same machine are two hosts to every client.
        self._main = Listener("artifactory", self._faulty, self.requests.append, context)
        self._storage = Listener("storage", self._faulty, self.requests.append, context)
        self.host_url = f"{scheme}://127.0.0.1:{self._main.port}"
        self.url = f"{self.host_url}/artifactory"
        """What a person would write as Artifactory's address."""
        self.storage_url = f"{scheme}://localhost:{self._storage.port}"
        self.tokens = Tokens()
        blobs = root / "blobs"
        blobs.mkdir()
        self.artifacts = Artifacts(blobs, generic)
        self._generic = Generic(self.artifacts, self.url)
        self._storage_api = StorageApi(self.artifacts, self.url)
        self._models = HuggingFace(self.host_url, self._signed)
        self._models.redirects = redirects

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for listener in (self._main, self._storage):
            listener.stop()
        self._folder.cleanup()
        failures = self._main.failures + self._storage.failures
        if failures and error is None:
            raise BaseExceptionGroup("the fake Artifactory itself failed", failures)

    @property
    def bytes_sent(self) -> int:
        """Bytes of all replies' bodies, of both hosts."""
        return sum(recorded.sent for recorded in list(self.requests))

    @property
    def bytes_received(self) -> int:
        """Bytes of all uploads."""
        return sum(recorded.received for recorded in list(self.requests))

    def endpoint(self, repository: str = "huggingface") -> str:
        """The value of HF_ENDPOINT for a repository."""
        return f"{self.url}/api/huggingfaceml/{repository}"

    def token(
        self,
        permissions: str = "read",
        *,
        repositories: Collection[str] | None = None,
        expires_in: float | None = 3600,
        reference: bool = False,
        user: str = "trainer",
    ) -> str:
        """A token with permissions (words of ``read annotate deploy delete manage``) in some or all repositories.

        It ends ``expires_in`` seconds from now, in the past if negative. ``tokens.revoke`` ends it at once.
        """
        return self.tokens.issue(
            permissions, repositories=repositories, expires_in=expires_in, reference=reference, user=user
        )

    def put_model(
        self,
        repository: str,
        name: str,
        files: Path | Mapping[str, bytes],
        revision: str = "main",
        *,
        kind: Kind = "models",
        link: bool = False,
    ) -> str:
        """Commits files to a model or data set and gives the 40-hex commit.

        Args:
            files: a folder, or contents by name.
            revision: the branch or tag that then means the commit, or 40 hex digits that the commit is to be called.
            link: takes a folder's files by hard link: for gigabytes that nobody changes meanwhile.
        """
        if isinstance(files, Path):
            paths = sorted(path for path in files.rglob("*") if path.is_file())
            blobs = {path.relative_to(files).as_posix(): self.artifacts.keep(path, link=link) for path in paths}
        else:
            blobs = {path: self.artifacts.keep(content) for path, content in files.items()}
        return self._models.put((repository, kind, name), blobs, revision)

    def put_file(
        self, repository: str, path: str, content: bytes | Path, properties: Mapping[str, list[str]] | None = None
    ) -> None:
        """Puts a file into a generic repository, past all permissions."""
        self.artifacts.put(repository, path, Item(self.artifacts.keep(content), "admin", dict(properties or {})))

    def files(self, repository: str, folder: str = "") -> dict[str, bytes]:
        """Contents of a generic repository below a folder."""
        found = self.artifacts.below(repository, folder)
        return {path: item.blob.content.read() for path, item in found.items()}

    def properties(self, repository: str, path: str) -> dict[str, list[str]]:
        return self.artifacts.items[repository][path].properties

    def hostile(self, fault: Fault | Rule, **which: object) -> Rule:
        """Adds a fault (:mod:`artifactory.hostile`); ``which`` are the fields of :class:`artifactory.hostile.Rule`."""
        rule = fault if isinstance(fault, Rule) else Rule(fault, **which)  # type: ignore[arg-type]
        self._rules.append(rule)
        return rule

    def friendly(self) -> None:
        """Forgets every fault."""
        self._rules.clear()

    def page_size(self, entries: int) -> None:
        """How many files of a tree come in one answer."""
        self._models.page_size = entries

    def _faulty(self, request: Request) -> Reply:
        def answer(rules: tuple[Rule, ...]) -> Reply:
            if not rules:
                return self._answer(request)
            return rules[0].fault(request, lambda: answer(rules[1:]))

        return answer(tuple(rule for rule in list(self._rules) if rule.meets(request)))

    def _answer(self, request: Request) -> Reply:
        try:
            return self._stored(request) if request.host == "storage" else self._routed(request)
        except RefusalError as refusal:
            return refusal.reply

    def _routed(self, request: Request) -> Reply:
        match request.segments:
            case ("access", "api", "v1", "tokens", "me"):
                return self.tokens.describe(self.tokens.grant(request.headers))
            case ("artifactory", "api", "system", "ping"):
                return Reply(200, {"Content-Type": "text/plain"}, Content.of(b"OK"))
            case ("artifactory", "api", "system", "version"):
                self.tokens.grant(request.headers)
                return json_reply({"version": VERSION, "revision": "81104900", "addons": [], "license": "fake"})
            case ("artifactory", "api", "huggingfaceml", repository, *parts):
                self._check(request, repository, repository in self._huggingface, readable=True)
                return self._models.answer(request, repository, tuple(parts))
            case ("artifactory", "api", "storage", repository, *parts):
                grant = self._check(request, repository, repository in self.artifacts.items)
                return self._storage_api.answer(request, grant, repository, tuple(parts))
            case ("artifactory", "api", "move", repository, *parts):
                grant = self._check(request, repository, repository in self.artifacts.items)
                return self._storage_api.move(request, grant, repository, tuple(parts))
            case ("artifactory", repository, *parts) if repository != "api":
                grant = self._check(request, repository, repository in self.artifacts.items)
                return self._redirected(request, self._generic.answer(request, grant, repository, tuple(parts)))
        raise RefusalError(404, "Not Found")

    def _check(self, request: Request, repository: str, known: bool, *, readable: bool = False) -> Grant:
        """The token's grant, when the repository exists and the token may know of it."""
        grant = self.tokens.grant(request.headers)
        if not known:
            raise RefusalError(404, f"Repository '{repository}' not found")
        if self._hidden and not grant.allows("read", repository):
            raise RefusalError(404, "File not found.")
        if readable:
            require(grant, "read", repository, "")
        return grant

    def _redirected(self, request: Request, reply: Reply) -> Reply:
        sha256 = reply.headers.get("X-Checksum-Sha256")
        blob = self.artifacts.blob(sha256) if sha256 else None
        if not self._redirects or request.method != "GET" or reply.status not in (200, 206) or blob is None:
            return reply
        kept = {name: value for name, value in reply.headers.items() if name.startswith("X-")}
        return Reply(302, {**kept, "Location": self._signed(blob)})

    def _signed(self, blob: Blob) -> str:
        expires = str(int(time.time()) + 3600)
        return f"{self.storage_url}/{blob.sha256}?Expires={expires}&Signature={self._signature(blob.sha256, expires)}"

    def _signature(self, sha256: str, expires: str) -> str:
        return quote(hmac.digest(self._secret, f"{sha256}{expires}".encode(), hashlib.sha256).hex())

    def _stored(self, request: Request) -> Reply:
        """Object storage takes the signature and nothing else: S3 answers 400 when there are two ways to sign in."""
        if "authorization" in request.headers:
            raise RefusalError(400, "Only one auth mechanism allowed")
        sha256, query = request.segments[0], request.query
        expires = query.get("Expires", "0")
        blob = self.artifacts.blob(sha256)
        if blob is None or not hmac.compare_digest(query.get("Signature", ""), self._signature(sha256, expires)):
            raise RefusalError(403, "SignatureDoesNotMatch")
        if request.method not in ("GET", "HEAD"):
            raise RefusalError(403, "The signature is for reading")
        return serve(request, blob.content, f'"{sha256[:32]}-2"', {})
