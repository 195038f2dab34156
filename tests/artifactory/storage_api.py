"""``/api/storage`` (file info, folder info, file list, properties) and ``/api/move`` (JFrog REST APIs)."""

from __future__ import annotations

from typing import Any

from artifactory.artifacts import Artifacts, Item, now
from artifactory.generic import check_path, parse_properties, require
from artifactory.tokens import Grant
from artifactory.wire import RefusalError, Reply, Request, json_reply


class StorageApi:
    """What is known of items, without their content."""

    def __init__(self, artifacts: Artifacts, url: str) -> None:
        self._artifacts, self._url = artifacts, url

    def answer(self, request: Request, grant: Grant, repository: str, parts: tuple[str, ...]) -> Reply:
        path = check_path(parts[:-1] if parts[-1:] == ("",) else parts)
        query = request.query
        match request.method:
            case "PUT" if "properties" in query:
                return self._set(grant, repository, path, query)
            case "DELETE" if "properties" in query:
                return self._remove(grant, repository, path, query["properties"].split(","))
            case "GET" | "HEAD":
                require(grant, "read", repository, path)
                if "properties" in query:
                    return self._properties(repository, path, query["properties"])
                if "list" in query:
                    return self._list(repository, path, query)
                return self._info(repository, path)
        raise RefusalError(405, "Method Not Allowed")

    def _uri(self, repository: str, path: str) -> str:
        return f"{self._url}/api/storage/{repository}" + (f"/{path}" if path else "")

    def _item(self, repository: str, path: str) -> Item | None:
        return self._artifacts.items[repository].get(path)

    def _check_exists(self, repository: str, path: str) -> None:
        if path and self._item(repository, path) is None and not self._artifacts.below(repository, path):
            raise RefusalError(404, "Unable to find item")

    def _info(self, repository: str, path: str) -> Reply:
        self._check_exists(repository, path)
        info: dict[str, Any] = {"repo": repository, "path": f"/{path}", "uri": self._uri(repository, path)}
        item = self._item(repository, path)
        if item is None:
            inside = self._artifacts.below(repository, path)
            children = {name.split("/")[0]: "/" in name for name in inside}
            listed = [{"uri": f"/{name}", "folder": folder} for name, folder in children.items()]
            return json_reply(info | {"created": now(), "children": listed})
        info |= {"created": item.created, "createdBy": item.created_by, "size": str(item.blob.size)}
        info |= {"lastModified": item.modified_iso, "lastUpdated": item.modified_iso, "modifiedBy": item.created_by}
        info |= {"downloadUri": f"{self._url}/{repository}/{path}", "mimeType": "application/octet-stream"}
        return json_reply(info | {"checksums": item.blob.checksums, "originalChecksums": item.blob.checksums})

    def _list(self, repository: str, path: str, query: dict[str, str]) -> Reply:
        """File List: of a folder; flat unless ``deep=1``; folders only with ``listFolders=1``; sizes are numbers."""
        self._check_exists(repository, path)
        if self._item(repository, path) is not None:
            raise RefusalError(400, f"Expected a folder but found a file, at: {repository}:{path}")
        deep, folders = query.get("deep") == "1", query.get("listFolders") == "1"
        files: list[dict[str, Any]] = []
        seen: set[str] = set()
        for name, item in self._artifacts.below(repository, path).items():
            above = name.split("/")[:-1]
            for depth in range(1, (len(above) if deep else min(len(above), 1)) + 1):
                folder = "/".join(above[:depth])
                if folders and folder not in seen:
                    seen.add(folder)
                    files.append({"uri": f"/{folder}", "size": -1, "lastModified": item.modified_iso, "folder": True})
            if deep or not above:
                sums = {"sha1": item.blob.sha1, "sha2": item.blob.sha256}
                entry = {"uri": f"/{name}", "size": item.blob.size, "lastModified": item.modified_iso}
                files.append({**entry, "folder": False, **sums})
        return json_reply({"uri": self._uri(repository, path), "created": now(), "files": files})

    def _holder(self, repository: str, path: str) -> dict[str, list[str]]:
        item = self._item(repository, path)
        if item is not None:
            return item.properties
        return self._artifacts.folder_properties.setdefault((repository, path), {})

    def _properties(self, repository: str, path: str, wanted: str) -> Reply:
        self._check_exists(repository, path)
        found = self._holder(repository, path)
        if wanted:
            found = {name: values for name, values in found.items() if name in wanted.split(",")}
        if not found:
            raise RefusalError(404, "No properties could be found.")
        return json_reply({"properties": found, "uri": self._uri(repository, path)})

    def _set(self, grant: Grant, repository: str, path: str, query: dict[str, str]) -> Reply:
        """Set Item Properties: 204; of a folder on everything below it too unless ``recursive=0``."""
        require(grant, "annotate", repository, path)
        self._check_exists(repository, path)
        properties = parse_properties(query["properties"])
        with self._artifacts.lock:
            self._holder(repository, path).update(properties)
            if query.get("recursive", "1") == "1":
                for item in self._artifacts.below(repository, path).values():
                    item.properties.update(properties)
        return Reply(204)

    def _remove(self, grant: Grant, repository: str, path: str, names: list[str]) -> Reply:
        require(grant, "annotate", repository, path)
        self._check_exists(repository, path)
        with self._artifacts.lock:
            for name in names:
                self._holder(repository, path).pop(name, None)
        return Reply(204)

    def move(self, request: Request, grant: Grant, repository: str, parts: tuple[str, ...]) -> Reply:
        """Move Item: a missing target is where the source then is; into a target that is a folder it goes, below it.

        Taking from the source needs DELETE there; arriving needs DEPLOY, and DELETE where a file is replaced.
        """
        if request.method != "POST":
            raise RefusalError(405, "Method Not Allowed")
        source, to = check_path(parts), request.query.get("to", "")
        if not to.startswith("/") or to.count("/") < 2:
            raise RefusalError(400, "Parameter 'to' must be /{targetRepoKey}/{targetFilePath}")
        target_repository, *rest = to.removeprefix("/").split("/")
        target = check_path(tuple(rest))
        if (target_repository, target) == (repository, source) or f"{target}/".startswith(f"{source}/"):
            return _failed(409, f"'{source}' cannot be moved into itself")
        with self._artifacts.lock:
            if target_repository not in self._artifacts.items:
                return _failed(404, f"Target repository '{target_repository}' does not exist")
            moved = self._moved(repository, source, target_repository, target)
            if not moved:
                return _failed(404, f"Could not find item '{repository}:{source}'")
            replaced = [path for path in moved.values() if path in self._artifacts.items[target_repository]]
            if not grant.allows("delete", repository):
                return _failed(403, f"User doesn't have permissions to move '{source}'. Needs delete permissions.")
            if not grant.allows("deploy", target_repository):
                return _failed(403, f"User doesn't have permissions to move '{source}'. Needs deploy permissions.")
            if replaced and not grant.allows("delete", target_repository):
                return _failed(
                    403, f"User doesn't have permissions to override '{replaced[0]}'. Needs delete permissions."
                )
            if request.query.get("dry", "0") != "1":
                for path, new in moved.items():
                    self._artifacts.put(target_repository, new, self._artifacts.items[repository].pop(path))
        message = f"moving {repository}:{source} to {target_repository}:{target} completed successfully"
        return json_reply({"messages": [{"level": "INFO", "message": f"{message}, {len(moved)} artifacts were moved"}]})

    def _moved(self, repository: str, source: str, target_repository: str, target: str) -> dict[str, str]:
        items = self._artifacts.items[repository]
        if self._artifacts.below(target_repository, target):
            target = f"{target}/{source.rpartition('/')[2]}"
        if source in items:
            return {source: target}
        return {f"{source}/{name}": f"{target}/{name}" for name in self._artifacts.below(repository, source)}


def _failed(status: int, message: str) -> Reply:
    return json_reply({"messages": [{"level": "ERROR", "message": message}]}, status)
