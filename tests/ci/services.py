"""A registry over the folder that ``cloud_build/commands/docker`` pushes into, and as little of GitHub as is used."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Quiet."""

    def send(self, status: int, content: bytes, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


class _Registry(_Handler):
    folder: Path

    def do_GET(self) -> None:
        path = self.path.removeprefix("/v2/")
        name, _, rest = path.partition("/manifests/" if "/manifests/" in path else "/blobs/")
        kind = "manifests" if "/manifests/" in path else "blobs"
        host = self.headers["Host"]
        file = self.folder / host / name / kind / rest
        if file.is_file():
            self.send(200, file.read_bytes(), "application/vnd.oci.image.index.v1+json")
        else:
            self.send(404, json.dumps({"errors": [{"code": "MANIFEST_UNKNOWN"}]}).encode())

    do_HEAD = do_GET  # noqa: N815 the names that http.server calls


@dataclass
class FakeGitHub:
    """One repository: branch -> path -> content, and the pull requests. ``refuses`` is what every request gets."""

    commits: set[str]
    token: str = "a-repository-token"
    url: str = ""
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    pulls: list[dict[str, str]] = field(default_factory=list)
    refuses: int | None = None

    def answer(self, method: str, path: str, body: dict[str, str]) -> tuple[int, dict[str, Any]]:
        """The answer to a request below the repository; keys that GitHub needs must be there."""
        place, _, query = path.partition("?")
        if (method, place) == ("POST", "git/refs"):
            branch = body["ref"].removeprefix("refs/heads/")
            if branch in self.files:
                return 422, {"message": "Reference already exists"}
            if body["sha"] not in self.commits:
                return 422, {"message": "Object does not exist"}
            self.files[branch] = dict(self.files["main"])
            return 201, {"ref": body["ref"]}
        if place.startswith("contents/"):
            name = place.removeprefix("contents/")
            files = self.files[query.removeprefix("ref=") if method == "GET" else body["branch"]]
            if method == "GET":
                return 200, {"sha": blob(files[name]), "content": base64.encodebytes(files[name]).decode()}
            if body["sha"] != blob(files[name]):
                return 409, {"message": "does not match"}
            files[name] = base64.b64decode(body["content"], validate=True)
            return 200, {"commit": {"message": body["message"]}}
        if (method, place) == ("POST", "pulls"):
            if any(each["head"] == body["head"] for each in self.pulls):
                return 422, {"message": f"A pull request already exists for {body['head']}."}
            self.pulls.append(body)
            return 201, {"html_url": f"https://github.example/pull/{len(self.pulls)}"}
        return 404, {"message": "Not Found"}


def blob(content: bytes) -> str:
    """The name that git gives to a file's content."""
    return hashlib.sha1(b"blob %d\0%s" % (len(content), content), usedforsecurity=False).hexdigest()


class _GitHub(_Handler):
    github: FakeGitHub

    def handle_any(self) -> None:
        sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers["Authorization"] != f"Bearer {self.github.token}":
            status, value = 401, {"message": "Bad credentials"}
        elif self.github.refuses is not None:
            status, value = self.github.refuses, {"message": "no"}
        elif not self.path.startswith("/repos/example/llm/"):
            status, value = 404, {"message": "Not Found"}
        else:
            body = json.loads(sent) if sent else {}
            status, value = self.github.answer(self.command, self.path.removeprefix("/repos/example/llm/"), body)
        self.send(status, json.dumps(value).encode())

    do_GET = do_POST = do_PUT = handle_any  # noqa: N815 the names that http.server calls


@contextmanager
def _serving(handler: type[_Handler]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def registry(folder: Path) -> Iterator[str]:
    """A registry's host, which serves a folder."""
    with _serving(type("Registry", (_Registry,), {"folder": folder})) as host:
        yield host


@contextmanager
def github(commits: set[str], files: dict[str, bytes]) -> Iterator[FakeGitHub]:
    """The repository example/llm, with a branch main."""
    found = FakeGitHub(commits, files={"main": files})
    with _serving(type("GitHub", (_GitHub,), {"github": found})) as host:
        found.url = f"http://{host}"
        yield found
