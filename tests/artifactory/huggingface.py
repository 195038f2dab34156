"""The Hugging Face protocol below ``/api/huggingfaceml/{repository}`` (docs.jfrog.com: Hugging Face Repositories).

Answers are those of the Hugging Face Hub, which a remote repository passes on: what its client
reads is in ``huggingface_hub.file_download.get_hf_file_metadata`` and ``huggingface_hub.utils.hf_raise_for_status``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from artifactory.artifacts import Blob
from artifactory.wire import RefusalError, Reply, Request, json_reply, serve

_LARGE = 10_000_000
"""Bytes from which Hugging Face takes no plain git file."""
_LARGE_NAMES = (".safetensors", ".bin", ".pt", ".pth", ".gguf", ".parquet", ".pkl", ".zip")
Key = tuple[str, str, str]
"""The repository in Artifactory, ``models`` or ``datasets``, and ``organisation/name``."""


def is_large(name: str, blob: Blob) -> bool:
    """Whether the file lies in large file storage, by SHA-256, and not in git."""
    return name.endswith(_LARGE_NAMES) or blob.size > _LARGE


@dataclass
class Project:
    """A model or data set: its commits, and the branches and tags that name some of them."""

    commits: dict[str, dict[str, Blob]] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)

    def commit(self, files: Mapping[str, Blob], revision: str) -> str:
        """Adds a commit and points ``revision`` at it, or calls it that where it is 40 hex digits."""
        lines = [f"{name} {blob.sha256}" for name, blob in sorted(files.items())]
        text = "\n".join([*lines, *sorted(self.commits)])
        is_name = len(revision) != 40
        sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest() if is_name else revision
        self.commits[sha] = dict(files)
        self.names.setdefault("main", sha)
        if is_name:
            self.names[revision] = sha
        return sha

    def find(self, revision: str) -> str:
        sha = self.names.get(revision, revision)
        if sha not in self.commits:
            raise _missing("RevisionNotFound", f"Invalid rev id: {revision}")
        return sha


def _missing(code: str, message: str, commit: str | None = None) -> RefusalError:
    headers = {"X-Error-Code": code, "X-Error-Message": message}
    return RefusalError(404, message, headers if commit is None else headers | {"X-Repo-Commit": commit})


class HuggingFace:
    """The models and data sets of every repository of this kind."""

    def __init__(self, url: str, signed: Callable[[Blob], str]) -> None:
        self._url, self._signed = url, signed
        self.projects: dict[Key, Project] = {}
        self.redirects = False
        """Whether large files are a 302 to a signed address on the storage host."""
        self.page_size = 1000
        """Entries of a tree in one answer; the rest is behind the ``Link`` header."""

    def put(self, key: Key, files: Mapping[str, Blob], revision: str) -> str:
        return self.projects.setdefault(key, Project()).commit(files, revision)

    def answer(self, request: Request, repository: str, parts: tuple[str, ...]) -> Reply:
        """Everything below a repository; its permission was checked before."""
        if parts[:1] == ("api",) and parts[1:2] in (("models",), ("datasets",)):
            return self._api(request, repository, parts[1], parts[2:])
        kind = "datasets" if parts[:1] == ("datasets",) else "models"
        rest = parts[1:] if kind == "datasets" else parts
        for length in (1, 2):
            if rest[length : length + 1] == ("resolve",) and len(rest) > length + 2:
                project = self._project((repository, kind, "/".join(rest[:length])))
                return self._resolve(request, project, rest[length + 1], "/".join(rest[length + 2 :]))
        raise RefusalError(404, "File not found.")

    def _project(self, key: Key) -> Project:
        if key not in self.projects:
            raise _missing("RepoNotFound", "Repository not found")
        return self.projects[key]

    def _api(self, request: Request, repository: str, kind: str, parts: tuple[str, ...]) -> Reply:
        words = ("revision", "tree", "paths-info")
        length = next((n for n in (1, 2) if parts[n : n + 1] and parts[n] in words), len(parts))
        name, word, rest = "/".join(parts[:length]), parts[length : length + 1], parts[length + 1 :]
        project = self._project((repository, kind, name))
        commit = project.find(rest[0] if rest else "main")
        if word == ("paths-info",) and request.method == "POST":
            return self._paths_info(request, project, commit)
        if request.method not in ("GET", "HEAD"):
            raise RefusalError(405, "Method Not Allowed")
        if word == ("tree",):
            return self._tree(request, project, commit, "/".join(rest[1:]))
        return self._describe(request, project, commit, name)

    def _describe(self, request: Request, project: Project, commit: str, name: str) -> Reply:
        details = request.query.get("blobs", "false").lower() in ("1", "true")
        files = sorted(project.commits[commit].items())
        siblings = [{"rfilename": path, **(_details(path, blob) if details else {})} for path, blob in files]
        info = {"_id": commit[:24], "id": name, "modelId": name, "author": name.rpartition("/")[0], "sha": commit}
        state = {"private": False, "gated": False, "disabled": False, "tags": [], "downloads": 0, "likes": 0}
        times = {"lastModified": "2025-01-01T00:00:00.000Z", "createdAt": "2025-01-01T00:00:00.000Z"}
        return json_reply({**info, **state, **times, "siblings": siblings}, headers={"X-Repo-Commit": commit})

    def _tree(self, request: Request, project: Project, commit: str, folder: str) -> Reply:
        """Files, and the folders of the level unless ``recursive`` shows the files in them as well."""
        recursive = request.query.get("recursive", "false").lower() in ("1", "true")
        prefix = f"{folder}/" if folder else ""
        entries: dict[str, dict[str, Any]] = {}
        for path, blob in sorted(project.commits[commit].items()):
            if not path.startswith(prefix):
                continue
            above = path.removeprefix(prefix).split("/")[:-1]
            for depth in range(1, (len(above) if recursive else min(len(above), 1)) + 1):
                name = prefix + "/".join(above[:depth])
                entries[name] = {"type": "directory", "oid": commit, "size": 0, "path": name}
            if recursive or not above:
                entries[path] = {"type": "file", "path": path, **_tree_details(path, blob)}
        if folder and not entries:
            raise _missing("EntryNotFound", f'{folder} does not exist on "{commit}"', commit)
        start = int(request.query.get("cursor", "0"))
        shown = list(entries.values())[start : start + self.page_size]
        headers = {"X-Repo-Commit": commit}
        if start + self.page_size < len(entries):
            headers["Link"] = f'<{self._next(request, start + self.page_size)}>; rel="next"'
        return json_reply(shown, headers=headers)

    def _next(self, request: Request, cursor: int) -> str:
        path, _, query = request.target.partition("?")
        kept = "&".join(part for part in query.split("&") if part and not part.startswith("cursor="))
        return f"{self._url}{path}?{kept}&cursor={cursor}"

    def _paths_info(self, request: Request, project: Project, commit: str) -> Reply:
        wanted = parse_qs(request.body.read().decode()).get("paths", [])
        files = project.commits[commit]
        found: list[dict[str, Any]] = []
        for path in wanted:
            if path in files:
                found.append({"type": "file", "path": path, **_tree_details(path, files[path])})
            elif any(name.startswith(f"{path}/") for name in files):
                found.append({"type": "directory", "oid": commit, "size": 0, "path": path})
        return json_reply(found)

    def _resolve(self, request: Request, project: Project, revision: str, name: str) -> Reply:
        if request.method not in ("GET", "HEAD"):
            raise RefusalError(405, "Method Not Allowed")
        commit = project.find(revision)
        blob = project.commits[commit].get(name)
        if blob is None:
            raise _missing("EntryNotFound", "Entry not found", commit)
        headers = {"X-Repo-Commit": commit}
        if not is_large(name, blob):
            return serve(request, blob.content, f'"{blob.git}"', headers)
        headers |= {"X-Linked-Etag": f'"{blob.sha256}"', "X-Linked-Size": str(blob.size)}
        if self.redirects:
            location = self._signed(blob)
            return Reply(302, {**headers, "ETag": f'"{blob.sha256}"', "Location": location})
        return serve(request, blob.content, f'"{blob.sha256}"', headers)


def _tree_details(name: str, blob: Blob) -> dict[str, Any]:
    if not is_large(name, blob):
        return {"oid": blob.git, "size": blob.size}
    pointer = hashlib.sha1(blob.sha256.encode(), usedforsecurity=False).hexdigest()
    return {"oid": pointer, "size": blob.size, "lfs": {"oid": blob.sha256, "size": blob.size, "pointerSize": 134}}


def _details(name: str, blob: Blob) -> dict[str, Any]:
    """As :func:`_tree_details`, in the words that the description of a model uses."""
    known = _tree_details(name, blob)
    found: dict[str, Any] = {"size": known["size"], "blobId": known["oid"]}
    return found | {"lfs": {"sha256": blob.sha256, "size": blob.size, "pointerSize": 134}} if "lfs" in known else found
