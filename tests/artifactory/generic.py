"""Generic repositories: deploy, checksum deploy, download, delete (jfrog.com/help: JFrog REST APIs)."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from email.utils import formatdate
from typing import Any

from artifactory.artifacts import Artifacts, Blob, Item
from artifactory.tokens import Grant
from artifactory.wire import Content, RefusalError, Reply, Request, json_reply, serve

_HEADERS = {"sha1": "x-checksum-sha1", "md5": "x-checksum-md5", "sha256": "x-checksum-sha256"}
_LENGTHS = {40: "sha1", 32: "md5", 64: "sha256"}
_HEX = re.compile(r"[0-9a-f]+")
_ILLEGAL = re.compile(r'[?:|"<>*\\\x00-\x1f]')
_ILLEGAL_KEY = re.compile(r"[)(}{\]\[*+^$\\/~`!@#%&<>;=,±§ ]")


def check_path(parts: tuple[str, ...]) -> str:
    """The path of an item; RefusalError (400) for one that leaves its repository or cannot be a name."""
    if any(part in ("", ".", "..") or "/" in part or _ILLEGAL.search(part) for part in parts):
        raise RefusalError(400, f"Invalid path: '{'/'.join(parts)}'")
    return "/".join(parts)


def parse_properties(text: str) -> dict[str, list[str]]:
    r"""``k=v1,v2;k2=v``; ``\`` keeps the next character from meaning anything (Set Item Properties)."""
    found: dict[str, list[str]] = {}
    for pair in re.split(r"(?<!\\)[;|]", text):
        if not pair:
            continue
        key, _, values = pair.partition("=")
        if not key or _ILLEGAL_KEY.search(key):
            raise RefusalError(400, f"Invalid property key: '{key}'")
        found[key] = [re.sub(r"\\(.)", r"\1", value) for value in re.split(r"(?<!\\),", values)]
    return found


def split_matrix(parts: tuple[str, ...]) -> tuple[tuple[str, ...], dict[str, list[str]]]:
    """Takes the matrix parameters (``;key=value``) off a path (Using Properties in Deployment and Resolution)."""
    properties: dict[str, list[str]] = {}
    clean = []
    for part in parts:
        name, _, matrix = part.partition(";")
        clean.append(name)
        properties |= parse_properties(matrix)
    return tuple(clean), properties


def _sent_checksums(headers: Mapping[str, str]) -> dict[str, str]:
    sent = {name: headers[header].strip().lower() for name, header in _HEADERS.items() if header in headers}
    if (plain := headers.get("x-checksum", "").strip().lower()) and len(plain) in _LENGTHS:
        sent[_LENGTHS[len(plain)]] = plain
    for name, value in sent.items():
        if _LENGTHS.get(len(value)) != name or not _HEX.fullmatch(value):
            raise RefusalError(400, f"'{value}' is not a valid {name} checksum")
    return sent


def file_headers(item: Item) -> dict[str, str]:
    """What every download and HEAD of a file carries."""
    blob = item.blob
    return {
        "Last-Modified": formatdate(item.modified, usegmt=True),
        "X-Checksum-Sha1": blob.sha1,
        "X-Checksum-Sha256": blob.sha256,
        "X-Checksum-Md5": blob.md5,
    }


class Generic:
    """The operations on ``/{repository}/{path}``."""

    def __init__(self, artifacts: Artifacts, url: str) -> None:
        self._artifacts, self._url = artifacts, url

    def answer(self, request: Request, grant: Grant, repository: str, parts: tuple[str, ...]) -> Reply:
        parts, properties = split_matrix(parts)
        folder = parts[-1:] in ((), ("",))
        path = check_path(parts[:-1] if folder else parts)
        match request.method:
            case "GET" | "HEAD":
                require(grant, "read", repository, path)
                return self.download(request, repository, path)
            case "PUT" if folder:
                raise RefusalError(400, "Cannot deploy to a folder: the path ends with '/'")
            case "PUT":
                return self._deploy(request, grant, repository, path, properties)
            case "DELETE":
                return self._delete(grant, repository, path)
        raise RefusalError(405, "Method Not Allowed")

    def download(self, request: Request, repository: str, path: str) -> Reply:
        """A file, or the page that lists a folder: 200, and no file at all."""
        item = self._artifacts.items[repository].get(path)
        if item is not None:
            headers = {**file_headers(item), "X-Artifactory-Filename": path.rpartition("/")[2]}
            return serve(request, item.blob.content, item.blob.sha1, headers)
        names = sorted({name.split("/")[0] for name in self._artifacts.below(repository, path)})
        if not names and path:
            raise RefusalError(404, "File not found.")
        page = "".join(f'<a href="{html.escape(name)}">{html.escape(name)}</a>\n' for name in names)
        return Reply(200, {"Content-Type": "text/html;charset=utf-8"}, Content.of(page.encode()))

    def _deploy(
        self, request: Request, grant: Grant, repository: str, path: str, properties: dict[str, list[str]]
    ) -> Reply:
        require(grant, "deploy", repository, path)
        sent = _sent_checksums(request.headers)
        self._check_parents(repository, path)
        if request.headers.get("x-checksum-deploy", "false").lower() == "true":
            return self._created(grant, repository, path, self._known(grant, sent), sent, properties)
        self._check_overwrite(grant, repository, path)
        self._artifacts.check_space(request.body.announced)
        partial, actual = self._artifacts.receive(request.body.chunks())
        for name, value in sent.items():
            if actual[name] != value:
                partial.unlink()
                # jfrog.com/help, What are Client Checksum, Server Checksum, and Checksum Policy: 409 on a mismatch.
                message = f"Checksum error for '{path}': received '{value}' but actual is '{actual[name]}'"
                raise RefusalError(409, message)
        try:
            self._artifacts.check_space(partial.stat().st_size)
        except RefusalError:
            partial.unlink()
            raise
        with self._artifacts.lock:
            # Another deploy may have come first while this one's bytes were on their way.
            try:
                self._check_overwrite(grant, repository, path)
            except RefusalError:
                partial.unlink()
                raise
            blob = self._artifacts.adopt(partial, actual["sha256"])
            return self._created(grant, repository, path, blob, sent, properties)

    def _known(self, grant: Grant, sent: Mapping[str, str]) -> Blob:
        """The content of a checksum deploy: it must lie where the user can read (Deploy Artifact by Checksum)."""
        if not sent:
            raise RefusalError(400, "Checksum deploy failed: no checksum header was sent")
        for repository, items in self._artifacts.items.items():
            if grant.allows("read", repository):
                for item in list(items.values()):
                    if all(getattr(item.blob, name) == value for name, value in sent.items()):
                        return item.blob
        name, value = next(iter(sent.items()))
        raise RefusalError(404, f"Checksum deploy failed. No existing file with {name}: {value}")

    def _created(
        self,
        grant: Grant,
        repository: str,
        path: str,
        blob: Blob,
        sent: Mapping[str, str],
        properties: dict[str, list[str]],
    ) -> Reply:
        with self._artifacts.lock:
            old = self._artifacts.items[repository].get(path)
            # The same content again changes dates only and needs no permission to overwrite
            # (jfrog.com/help: How to Prevent "Overwrite" When Using Deploy Artifact by Checksum).
            if old is not None and old.blob is not blob:
                self._check_overwrite(grant, repository, path)
            item = Item(blob, grant.user, properties or (old.properties if old else {}))
            self._artifacts.put(repository, path, item)
        url = f"{self._url}/{repository}/{path}"
        created: dict[str, Any] = {
            "repo": repository,
            "path": f"/{path}",
            "created": item.created,
            "createdBy": item.created_by,
            "downloadUri": url,
            "mimeType": "application/octet-stream",
            "size": str(blob.size),
            "checksums": blob.checksums,
            "originalChecksums": dict(sent),
            "uri": url,
        }
        return json_reply(created, 201, {"Location": url})

    def _check_overwrite(self, grant: Grant, repository: str, path: str) -> None:
        if path in self._artifacts.items[repository] and not grant.allows("delete", repository):
            message = f"Not enough permissions to overwrite artifact '{repository}:{path}'"
            raise RefusalError(403, f"{message} (user '{grant.user}' needs DELETE permission).")

    def _check_parents(self, repository: str, path: str) -> None:
        """A file has nothing below it, and a folder is not replaced by a file."""
        items = self._artifacts.items[repository]
        above = path.split("/")[:-1]
        blocked = next((p for n in range(1, len(above) + 1) if (p := "/".join(above[:n])) in items), None)
        if blocked is not None or (path not in items and self._artifacts.below(repository, path)):
            raise RefusalError(409, f"'{repository}:{blocked or path}' is in the way of '{repository}:{path}'")

    def _delete(self, grant: Grant, repository: str, path: str) -> Reply:
        require(grant, "delete", repository, path)
        with self._artifacts.lock:
            items = self._artifacts.items[repository]
            gone = [name for name in items if not path or name == path or name.startswith(f"{path}/")]
            if not gone and path:
                raise RefusalError(404, f"Could not locate artifact '{repository}:{path}'.")
            for name in gone:
                del items[name]
        return Reply(204)


def require(grant: Grant, permission: str, repository: str, path: str) -> None:
    """Raises RefusalError (403) unless the token gives the permission."""
    if not grant.allows(permission, repository):
        message = f"Not enough permissions to {permission} '{repository}:{path}'"
        raise RefusalError(403, f"{message} (user '{grant.user}' needs {permission.upper()} permission).")
