"""Files in one of Artifactory's generic repositories (docs.jfrog.com: Artifactory REST API)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from workloads.errors import Problem, UnavailableError
from workloads.hub.growing import RemoteFile
from workloads.hub.transport import Transport
from workloads.storage.manifest import FileEntry

_NOT_FOUND = frozenset({int(HTTPStatus.NOT_FOUND)})


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of a repository.

    Attributes:
        path: below the folder that was listed.
        modified: when it was last deployed.
        sha256: in hex; None when the server does not list it.
    """

    path: str
    size: int
    modified: datetime
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class GenericRepository:
    """The repository ``name`` of the Artifactory at ``url``."""

    transport: Transport
    url: str
    name: str

    def under(self, folder: str) -> list[StoredFile]:
        """Every file below a folder; empty when there is no such folder.

        Raises:
            UnavailableError: the server does not answer as Artifactory does.
        """
        query = urlencode({"list": "", "deep": "1", "listFolders": "0"})
        reply = self.transport.call("GET", f"{self._storage(folder)}?{query}", accept=_NOT_FOUND)
        if reply.status in _NOT_FOUND:
            return []
        try:
            return [
                StoredFile(
                    each["uri"].removeprefix("/"),
                    int(each["size"]),
                    datetime.fromisoformat(each["lastModified"]),
                    each.get("sha2"),
                )
                for each in reply.json()["files"]
                if not each.get("folder")
            ]
        except (KeyError, TypeError, ValueError, AttributeError):
            raise self._strange("its list of files is not as documented") from None

    def read(self, path: str) -> bytes | None:
        """The content of a small file; None when there is none."""
        reply = self.transport.call("GET", self.address(path), accept=_NOT_FOUND)
        return None if reply.status in _NOT_FOUND else reply.body

    def file(self, folder: str, entry: FileEntry) -> RemoteFile:
        """A file that a manifest in ``folder`` records."""
        return RemoteFile(entry.path, self.address(f"{folder}/{entry.path}"), entry.size, sha256=entry.sha256)

    def deploy(self, content: bytes | Path, path: str, sha256: str) -> int:
        """Puts a file there; the bytes travel only when the server has them nowhere yet. Bytes that travelled.

        Raises:
            TuneryError: the server refuses it, or what arrived is not what was sent.
        """
        headers = {"X-Checksum-Sha256": sha256}
        url = self.address(path)
        by_checksum = self.transport.call(
            "PUT", url, headers={**headers, "X-Checksum-Deploy": "true"}, accept=_NOT_FOUND
        )
        if by_checksum.status not in _NOT_FOUND:
            return 0
        stored = self.transport.call("PUT", url, headers=headers, body=content).json()
        arrived = (stored.get("checksums") or {}).get("sha256", sha256) if isinstance(stored, dict) else sha256
        if arrived != sha256:
            raise self._strange(f"it stored {path} with another SHA-256 than it was sent with")
        return content.stat().st_size if isinstance(content, Path) else len(content)

    def write(self, path: str, content: bytes) -> None:
        """Puts a small file there, in the place of another one where the token permits that."""
        self.deploy(content, path, hashlib.sha256(content).hexdigest())

    def annotate(self, folder: str, properties: Mapping[str, str]) -> None:
        """Sets properties on a folder and on all files below it, so that people can search for them."""
        text = ";".join(f"{key}={_escaped(value)}" for key, value in properties.items() if value)
        query = urlencode({"properties": text, "recursive": "1"})
        self.transport.call("PUT", f"{self._storage(folder)}?{query}")

    def address(self, path: str) -> str:
        """The address of a file."""
        return f"{self.url}/{quote(self.name)}/{'/'.join(quote(part, safe='') for part in path.split('/'))}"

    def _storage(self, folder: str) -> str:
        path = "/".join(quote(part, safe="") for part in (self.name, *folder.split("/")) if part)
        return f"{self.url}/api/storage/{path}"

    def _strange(self, what: str) -> UnavailableError:
        fix = "see whether the address is that of Artifactory and the repository is a generic one"
        return UnavailableError(Problem(f"{self.url} does not behave: {what}.", fix, self.name, code="protocol"))


def _escaped(value: Any) -> str:
    return "".join(f"\\{sign}" if sign in ",|=;\\" else sign for sign in str(value))
