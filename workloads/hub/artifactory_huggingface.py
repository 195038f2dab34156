"""Base models and data sets in a repository of the Hugging Face kind: one commit, its files and their digests."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote, urlencode

from workloads.errors import Problem, UnavailableError
from workloads.hub.answers import Reply
from workloads.hub.growing import RemoteFile, check_paths
from workloads.hub.importing import PICKLE
from workloads.hub.interface import Kind
from workloads.hub.transport import Transport

_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_NOT_FOUND = frozenset({404})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_OTHER_FORMS = {".gguf", ".h5", ".mlmodel", ".msgpack", ".onnx", ".ot", ".tflite"}
"""Weights of other libraries, which nothing here loads."""
_WORKERS = 8


def snapshot_path(name: str, revision: str, kind: Kind = "models") -> str:
    """Where a commit is described, below the address of the repository."""
    return f"api/{kind}/{quote(name)}/revision/{quote(revision, safe='')}"


def file_path(name: str, revision: str, path: str, kind: Kind = "models") -> str:
    """Where a file of a commit is, below the address of the repository."""
    return f"{'datasets/' if kind == 'datasets' else ''}{quote(name)}/resolve/{quote(revision, safe='')}/{quote(path)}"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One commit of a model or data set.

    Attributes:
        commit: 40 hex digits.
        created: when it was made, ISO 8601; empty when the server does not say.
        files: those that a training needs.
    """

    name: str
    commit: str
    created: str
    files: tuple[RemoteFile, ...]


@dataclass(frozen=True, slots=True)
class HuggingFaceRepository:
    """The base models, or the data sets, behind ``url``, which is what ``HF_ENDPOINT`` names."""

    transport: Transport
    url: str
    kind: Kind = "models"

    def find(self, name: str, revision: str) -> Snapshot | None:
        """The commit that a branch, a tag or a commit is now; None when there is none.

        Raises:
            InputError: a file's name is refused.
            UnavailableError: the server does not answer, or not as a repository of this kind does.
        """
        query = urlencode({"blobs": "true"})
        reply = self.transport.call(
            "GET", f"{self.url}/{snapshot_path(name, revision, self.kind)}?{query}", accept=_NOT_FOUND
        )
        if reply.status in _NOT_FOUND:
            return None
        described = reply.json()
        commit = described.get("sha") if isinstance(described, dict) else None
        siblings = described.get("siblings") if isinstance(described, dict) else None
        if not isinstance(commit, str) or not _COMMIT.fullmatch(commit) or not isinstance(siblings, list):
            raise self._strange(f"describes {name} without its commit and its files")
        known = {str(each.get("rfilename", "")): each for each in siblings if isinstance(each, dict)}
        check_paths(known)
        wanted = needed(known) if self.kind == "models" else data_files(known)
        with ThreadPoolExecutor(_WORKERS) as pool:
            files = pool.map(lambda path: self._file(name, commit, path, known[path]), wanted)
            created = described.get("lastModified")
            return Snapshot(name, commit, created if isinstance(created, str) else "", tuple(files))

    def _file(self, name: str, commit: str, path: str, described: Mapping[str, Any]) -> RemoteFile:
        url = f"{self.url}/{file_path(name, commit, path, self.kind)}"
        lfs = described.get("lfs")
        size, sha256, sha1 = described.get("size"), None, described.get("blobId")
        if isinstance(lfs, dict):
            size, sha256 = lfs.get("size", size), lfs.get("sha256")
        if isinstance(size, int) and isinstance(sha256, str) and _SHA256.fullmatch(sha256):
            return RemoteFile(path, url, size, sha256=sha256, etag=f'"{sha256}"')
        if isinstance(size, int) and not lfs and isinstance(sha1, str) and _COMMIT.fullmatch(sha1):
            return RemoteFile(path, url, size, sha1=sha1, etag=f'"{sha1}"')
        return self._asked(url, path)

    def _asked(self, url: str, path: str) -> RemoteFile:
        """A file of which the description says too little."""
        reply = self.transport.call("HEAD", url, accept=_REDIRECTS, redirects=False)
        file = file_of(reply, url, path)
        if file is None:
            raise self._strange(f"gives no digest or no size of {path}")
        return file

    def _strange(self, what: str) -> UnavailableError:
        fix = "see whether the address and the repository are right: `tunery hub check` says more"
        return UnavailableError(Problem(f"{self.url} {what}.", fix, code="protocol"))


def file_of(reply: Reply, url: str, path: str) -> RemoteFile | None:
    """What a server's answer to HEAD says of a file; None when it gives no digest or no size.

    The entity tag of a file in large file storage is its SHA-256, that of any other file its name in git, SHA-1.
    """
    headers = reply.headers
    etag = headers.get("ETag")
    size = headers.get("X-Linked-Size") or (headers.get("Content-Length") if reply.status not in _REDIRECTS else None)
    digests = [headers.get(name, "").removeprefix("W/").strip('"') for name in ("X-Linked-Etag", "ETag")]
    digests += [headers.get("X-Checksum-Sha256", "")]
    sha256 = next((each for each in digests if _SHA256.fullmatch(each)), None)
    sha1 = next((each for each in digests if _COMMIT.fullmatch(each)), None)
    if not (sha256 or sha1) or size is None or not size.isdigit():
        return None
    return RemoteFile(path, url, int(size), sha256=sha256, sha1=None if sha256 else sha1, etag=etag)


def needed(paths: Iterable[str]) -> list[str]:
    """The files of a model that a training needs, sorted: safetensors before all other forms of the weights."""
    visible = sorted(
        path
        for path in paths
        if not any(part.startswith(".") for part in PurePosixPath(path).parts)
        and PurePosixPath(path).suffix not in _OTHER_FORMS
        and PurePosixPath(path).name != "training_args.bin"
    )
    safe = [path for path in visible if path.endswith(".safetensors")]
    if not safe:
        return visible
    usual = any(PurePosixPath(path).name.startswith("model") for path in safe)
    return [
        path
        for path in visible
        if PurePosixPath(path).suffix not in PICKLE
        and not (usual and path in safe and PurePosixPath(path).name.startswith("consolidated"))
    ]


def data_files(paths: Iterable[str]) -> list[str]:
    """The files of a data set that a training can read, and the README.md that says which of them are which, sorted.

    Others are left where they are: archives that would unpack to anything, and Python, which nothing here runs.
    """
    from workloads.training_config.data_rows import KINDS  # its package takes as long to import as a fetch may

    return sorted(
        path
        for path in paths
        if not any(part.startswith(".") for part in PurePosixPath(path).parts)
        and (path == "README.md" or PurePosixPath(path).suffix[1:] in KINDS)
    )
