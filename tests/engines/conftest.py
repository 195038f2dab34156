"""An API server in this process: objects by path, as little of Kubernetes as tunery uses, and faults on demand."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

Object = dict[str, Any]


@dataclass
class FakeApi:
    """The server's state, which a test may change at any time.

    Attributes:
        objects: path -> object.
        faults: what the next requests get in place of an answer: ``hang up``, or an HTTP status.
        watched: what watches say, one list of lines for each watch in turn.
        denied: ``verb resource`` that nobody may do.
        asked: method and path of every request, in order.
        orphaned: the paths of objects that were deleted without what they own.
    """

    url: str = ""
    objects: dict[str, Object] = field(default_factory=dict)
    faults: list[str | int] = field(default_factory=list)
    watched: list[list[Object]] = field(default_factory=list)
    denied: set[str] = field(default_factory=set)
    asked: list[tuple[str, str]] = field(default_factory=list)
    orphaned: list[str] = field(default_factory=list)
    version: int = 1

    def put(self, path: str, value: Object) -> Object:
        """Stores an object with a uid and a new version."""
        self.version += 1
        meta = value.setdefault("metadata", {})
        meta.setdefault("uid", f"uid-{self.version}")
        meta.setdefault("creationTimestamp", "2026-01-02T03:04:05Z")
        meta.setdefault("name", path.rpartition("/")[2])
        meta["resourceVersion"] = str(self.version)
        self.objects[path] = value
        return value


class _Handler(BaseHTTPRequestHandler):
    api: FakeApi
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Quiet."""

    def answer(self, status: int, value: Object) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def refuse(self, status: int, reason: str) -> None:
        self.answer(status, {"kind": "Status", "status": "Failure", "reason": reason, "message": f"{reason} it is"})

    def handle_any(self) -> None:
        parts = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.api.asked.append((self.command, parts.path))
        if self.api.faults:
            fault = self.api.faults.pop(0)
            if fault == "hang up":
                self.close_connection = True
                self.connection.close()
                return
            self.refuse(int(fault), "Unauthorized" if fault == 401 else "ServiceUnavailable")
            return
        getattr(self, f"on_{self.command.lower()}")(parts.path, query, json.loads(body) if body else {})

    do_GET = do_POST = do_PATCH = do_DELETE = handle_any  # noqa: N815 the names that http.server calls

    def on_get(self, path: str, query: dict[str, str], _body: Object) -> None:
        if query.get("watch"):
            lines = self.api.watched.pop(0) if self.api.watched else []
            body = "".join(json.dumps(line) + "\n" for line in lines).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        elif path in self.api.objects:
            self.answer(200, self.api.objects[path])
        elif path.rpartition("/")[2] in ("workflows", "jobs", "jobsets", "pods", "workloads", "cronworkflows"):
            items = [each for name, each in self.api.objects.items() if name.startswith(f"{path}/")]
            start, size = int(query.get("continue", 0)), int(query.get("limit", 500))
            more = {"continue": str(start + size)} if start + size < len(items) else {}
            self.answer(200, {"items": items[start : start + size] or None, "metadata": more})
        else:
            self.refuse(404, "NotFound")

    def on_post(self, path: str, _query: dict[str, str], body: Object) -> None:
        if "selfsubjectaccessreviews" in path:
            asked = body["spec"]["resourceAttributes"]
            allowed = f"{asked['verb']} {asked['resource']}" not in self.api.denied
            self.answer(201, {"status": {"allowed": allowed}})
        elif "selfsubjectreviews" in path:
            self.answer(201, {"status": {"userInfo": {"username": "ada@example.com"}}})
        elif (name := f"{path}/{body['metadata']['name']}") in self.api.objects:
            self.refuse(409, "AlreadyExists")
        else:
            self.answer(201, self.api.put(name, body))

    def on_patch(self, path: str, _query: dict[str, str], body: Object) -> None:
        if "apply" in self.headers["Content-Type"]:
            self.answer(200, self.api.put(path, body))
            return
        found = self.api.objects.get(path)
        wanted = body.get("metadata", {}).get("resourceVersion")
        if found is None:
            self.refuse(404, "NotFound")
        elif wanted not in (None, found["metadata"]["resourceVersion"]):
            self.refuse(409, "Conflict")
        else:
            self.answer(200, self.api.put(path, merged(found, body)))

    def on_delete(self, path: str, _query: dict[str, str], body: Object) -> None:
        found = self.api.objects.get(path)
        if found is None:
            self.refuse(404, "NotFound")
        elif body["preconditions"]["uid"] != found["metadata"]["uid"]:
            self.refuse(409, "Conflict")
        else:
            if body["propagationPolicy"] == "Orphan":
                self.api.orphaned.append(path)
            self.answer(200, self.api.objects.pop(path))


def merged(old: Any, new: Any) -> Any:
    """JSON merge patch (RFC 7386)."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        return new
    return {
        key: merged(old.get(key), new[key]) if key in new else old[key]
        for key in (*old, *(each for each in new if each not in old))
        if new.get(key, ...) is not None
    }


@pytest.fixture
def api() -> Iterator[FakeApi]:
    """A running server."""
    found = FakeApi()
    handler = type("Handler", (_Handler,), {"api": found})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    found.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield found
    server.shutdown()
    server.server_close()
    thread.join()


def write_kubeconfig(path: Path, server: str, *, name: str = "kind-kit", user: Object | None = None) -> Path:
    """A kubeconfig with one context, which is the current one."""
    value = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "contexts": [{"name": name, "context": {"cluster": name, "user": "person"}}],
        "clusters": [{"name": name, "cluster": {"server": server}}],
        "users": [{"name": "person", "user": user if user is not None else {"token": "a-token"}}],
    }
    path.write_text(yaml.safe_dump(value))
    return path


@pytest.fixture
def kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """``kubeconfig(server, name=..., user=...)`` writes one and makes it the current one."""

    def write(server: str, **more: Any) -> Path:
        path = write_kubeconfig(tmp_path / "kubeconfig", server, **more)
        monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(path))
        return path

    return write
