"""Published models in a generic repository of Artifactory.

::

    NAME/VERSION/FILE...                  the model's files
    NAME/VERSION/lineage.json             where it came from; also as properties of all its files
    NAME/VERSION/README.md                the model card, unless the model has one of its own
    NAME/VERSION/provenance.json          an in-toto statement of the same; provenance.sigstore.json is it signed
    NAME/VERSION/tunery-manifest.json     the record of the version, written last: with it the version exists
    NAME/claims/VERSION/DIGEST.json       who is about to publish a version, so that no two publish the same one
    NAME/aliases/ALIAS.json               which version an alias means now
    NAME/promotions/TIME-ID.json          who pointed an alias where, and when; never rewritten
"""

from __future__ import annotations

import getpass
import json
import os
import secrets
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from workloads.errors import InputError, Problem, TuneryError
from workloads.hub.artifactory_generic import GenericRepository, StoredFile
from workloads.hub.interface import ModelReference, ModelVersion, no_such_version
from workloads.hub.records import VersionRecord
from workloads.storage.manifest import MANIFEST_NAME, Manifest

RESERVED = ("aliases", "claims", "promotions")
"""Folders of a model that are no versions."""
_WORKERS = 8


@dataclass(frozen=True, slots=True)
class Published:
    """A version, and the documents about it that lie beside its files."""

    record: VersionRecord
    documents: Manifest

    def as_dict(self) -> dict[str, Any]:
        """The JSON form that :meth:`parse` reads."""
        return {**self.record.as_dict(), "documents": self.documents.as_dict()["files"]}

    @classmethod
    def parse(cls, value: Any, reference: str) -> Published:
        """Raises ValueError, TypeError or KeyError when ``value`` is not the version ``NAME@VERSION``."""
        found = cls(VersionRecord.parse(value), Manifest.parse({"files": value["documents"]}))
        if found.record.reference != reference:
            raise ValueError(f"the record of {found.record.reference}")
        return found


@dataclass(frozen=True, slots=True)
class PublishedModels:
    """The versions in a repository."""

    files: GenericRepository

    def all(self) -> list[ModelVersion]:
        """Every version, sorted by name and then by age."""
        by_name: dict[str, list[StoredFile]] = {}
        for file in self.files.under(""):
            parts = file.path.split("/")
            if parts[-1] == MANIFEST_NAME and len(parts) in (3, 4):
                by_name.setdefault("/".join(parts[:-2]), [])
        return [version for name in sorted(by_name) for version in self.of(name).versions()]

    def of(self, name: str) -> PublishedModel:
        """What there is of a model; it may have no version."""
        return PublishedModel(self.files, name, tuple(self.files.under(name)))

    def get(self, version: ModelVersion) -> Published:
        """The record of a version that was resolved before.

        Raises:
            InputError: it is not there any more.
            TuneryError: it is damaged, or was changed since.
        """
        found = _load(self.files, version.name, version.version)
        if found is None:
            raise InputError.of(f"{version.reference} is not in this hub any more.", "see `tunery models`")
        if found.record.digest != version.digest or found.record.manifest.digest != version.digest:
            message = f"The file list of {version.reference} does not have the recorded SHA-256."
            raise TuneryError(Problem(message, "restore it from a backup", version.reference, code="damaged"))
        return found


@dataclass(frozen=True, slots=True)
class PublishedModel:
    """One model, as a listing of its folder shows it."""

    files: GenericRepository
    name: str
    listing: tuple[StoredFile, ...]

    @property
    def version_names(self) -> list[str]:
        """Its versions, in no order of meaning."""
        found = (file.path.split("/") for file in self.listing)
        return [parts[0] for parts in found if len(parts) == 2 and parts[1] == MANIFEST_NAME]

    def claims(self) -> dict[str, dict[str, datetime]]:
        """Version -> the digest that somebody is about to publish, and since when."""
        found: dict[str, dict[str, datetime]] = {}
        for file in self.listing:
            parts = file.path.split("/")
            if len(parts) == 3 and parts[0] == "claims":
                found.setdefault(parts[1], {})[parts[2].removesuffix(".json")] = file.modified
        return found

    def published(self) -> list[Published]:
        """Its versions, oldest first."""
        with ThreadPoolExecutor(_WORKERS) as pool:
            found = list(pool.map(lambda version: _load(self.files, self.name, version), self.version_names))
        return sorted((each for each in found if each is not None), key=lambda each: each.record.created)

    def aliases(self) -> dict[str, str]:
        """Alias -> version."""
        names = [
            file.path.split("/")[1].removesuffix(".json")
            for file in self.listing
            if file.path.startswith("aliases/") and file.path.count("/") == 1
        ]
        with ThreadPoolExecutor(_WORKERS) as pool:
            targets = list(pool.map(self._alias, names))
        return {alias: target for alias, target in zip(names, targets, strict=True) if target is not None}

    def versions(self) -> list[ModelVersion]:
        """Its versions, oldest first."""
        aliases = self.aliases()
        return [each.record.model_version(aliases) for each in self.published()]

    def resolve(self, reference: ModelReference) -> ModelVersion:
        """The version that a reference means now.

        Raises:
            InputError: the model has no such version, alias or revision.
        """
        aliases = self.aliases()
        wanted = reference.selector
        wanted = aliases.get(wanted, wanted) if wanted else None
        if wanted in self.version_names and wanted is not None:
            found = _load(self.files, self.name, wanted)
            if found is not None:
                return found.record.model_version(aliases)
        known = self.published()
        for each in reversed(known):
            if wanted is None or wanted == each.record.digest[:40]:
                return each.record.model_version(aliases)
        raise no_such_version(reference, [each.record.version for each in known] + list(aliases))

    def point(self, alias: str, version: str) -> None:
        """Points an alias at a version, and leaves a record of it; nothing happens when it points there already.

        Raises:
            InputError: the alias is a version's name.
        """
        if alias in self.version_names:
            raise InputError.of(f"{alias!r} is a version of {self.name!r}.", "choose another alias")
        before = self._alias(alias)
        if before == version:
            return
        now = datetime.now(UTC)
        entry = {
            "at": now.isoformat(timespec="microseconds"),
            "by": self._who(),
            "name": self.name,
            "alias": alias,
            "from": before,
            "to": version,
        }
        content = encoded(entry)
        # The record first: an alias that has moved always has one.
        stamp = f"{now:%Y%m%dT%H%M%S%fZ}-{secrets.token_hex(4)}"
        self.files.write(f"{self.name}/promotions/{stamp}.json", content)
        self.files.write(f"{self.name}/aliases/{alias}.json", content)

    def claim(self, version: str, digest: str) -> bool:
        """Says that ``digest`` is about to be published as ``version``; whether nobody else said so before.

        The server's own times decide, so that of two who claim at once the same one wins for both.
        """
        folder, mine = f"{self.name}/claims/{version}", f"{digest[:40]}.json"
        if digest[:40] not in self.claims().get(version, {}):
            entry = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "by": self._who()}
            self.files.write(f"{folder}/{mine}", encoded(entry))
        claims = sorted(self.files.under(folder), key=lambda file: (file.modified, file.path))
        return bool(claims) and claims[0].path == mine

    def _alias(self, alias: str) -> str | None:
        content = self.files.read(f"{self.name}/aliases/{alias}.json")
        try:
            return None if content is None else str(json.loads(content)["to"])
        except (ValueError, TypeError, KeyError) as error:
            place = self.files.address(f"{self.name}/aliases/{alias}.json")
            message, fix = "This file that says what an alias means is damaged.", "remove it, and promote again"
            raise TuneryError(Problem(message, fix, place, code="damaged")) from error

    def _who(self) -> str:
        token = self.files.transport.tokens.read()
        if token is not None and token.subject:
            return token.subject
        try:
            return getpass.getuser()
        except (KeyError, OSError):  # a container's user often has a number and no name
            return str(os.getuid())


def encoded(value: Any) -> bytes:
    """JSON that a person can read."""
    return json.dumps(value, indent=2, ensure_ascii=False).encode() + b"\n"


def manifest_path(name: str, version: str) -> str:
    """Where the record of a version is."""
    return f"{name}/{version}/{MANIFEST_NAME}"


def next_version(known: Sequence[str]) -> str:
    """The first of v1, v2, ... above every one in use."""
    numbers = (int(each[1:]) for each in known if each[:1] == "v" and each[1:].isdigit())
    return f"v{1 + max(numbers, default=0)}"


def _load(files: GenericRepository, name: str, version: str) -> Published | None:
    path = manifest_path(name, version)
    content = files.read(path)
    if content is None:
        return None
    try:
        return Published.parse(json.loads(content), f"{name}@{version}")
    except (ValueError, TypeError, KeyError) as error:
        message, fix = "This record of a model version is damaged.", "restore it from a backup, or remove the version"
        raise TuneryError(Problem(message, fix, files.address(path), code="damaged")) from error
