"""A folder as a new version in Artifactory: bytes that the server has already do not travel, and the record is last."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from workloads.errors import InputError, TuneryError
from workloads.hub.artifactory_generic import GenericRepository
from workloads.hub.artifactory_published import (
    RESERVED,
    Published,
    PublishedModel,
    PublishedModels,
    encoded,
    manifest_path,
    next_version,
)
from workloads.hub.folder import hashed
from workloads.hub.interface import ModelReference, ModelVersion, Progress, check_alias, check_new_version
from workloads.hub.model_card import model_card
from workloads.hub.provenance import Signer, statement
from workloads.hub.records import VersionRecord, lineage_digest
from workloads.storage.manifest import FileEntry, Manifest

LINEAGE, CARD, STATEMENT, BUNDLE = "lineage.json", "README.md", "provenance.json", "provenance.sigstore.json"
"""The documents beside a version's files."""
_WORKERS = 4
"""Uploads at once: shards are large, and a server hashes each as it comes."""


@dataclass(frozen=True, slots=True)
class Publication:
    """How folders are published.

    Attributes:
        signer: signs where a model came from; None leaves the statement unsigned.
    """

    models: PublishedModels
    signer: Signer | None

    def publish(
        self,
        folder: Path,
        name: str,
        lineage: dict[str, Any],
        aliases: Sequence[str],
        version: str | None,
        on_bytes: Progress,
    ) -> ModelVersion:
        """As :meth:`workloads.hub.interface.Hub.publish`."""
        _check(name, aliases, version)
        content = hashed(folder)
        _check_names(folder, content)
        model = self.models.of(name)
        record = self._existing(model, version, content)
        if record is None:
            record = self._new(model, version, content, lineage)
        self._deploy(folder, record.manifest, f"{name}/{record.version}", on_bytes)
        if record.version not in model.version_names:
            self._commit(record)
        model = self.models.of(name)
        for alias in aliases:
            model.point(alias, record.version)
        return record.model_version(self.models.of(name).aliases() if aliases else model.aliases())

    def _existing(self, model: PublishedModel, version: str | None, content: Manifest) -> VersionRecord | None:
        for each in model.published():
            record = each.record
            if version is None and record.digest == content.digest:
                return record
            if version == record.version:
                if record.digest != content.digest:
                    raise _taken(model.name, version)
                return record
        if version is not None and version in model.aliases():
            raise InputError.of(f"{version!r} is an alias of {model.name!r}.", "choose another name for the version")
        return None

    def _new(
        self, model: PublishedModel, version: str | None, content: Manifest, lineage: dict[str, Any]
    ) -> VersionRecord:
        """The record of the version that is to be, claimed before anybody else claims it."""
        claims = model.claims()
        if version is not None:
            if not model.claim(version, content.digest):
                raise _taken(model.name, version)
        else:
            mine = [each for each in claims if content.digest[:40] in claims[each] and each not in model.version_names]
            version = mine[0] if mine else next_version([*model.version_names, *claims])
            while not model.claim(version, content.digest):
                model = self.models.of(model.name)
                version = next_version([*model.version_names, *model.claims()])
        known = model.published()
        parent = known[-1].record if known else None
        created = datetime.now(UTC)
        if parent is not None:  # age decides what the newest version is, so it must not follow a clock set back
            created = max(created, parent.created + timedelta(microseconds=1))
        return VersionRecord(
            name=model.name,
            version=version,
            created=created,
            parent=parent.version if parent else None,
            digest=content.digest,
            manifest=content,
            lineage=lineage,
            lineage_digest=lineage_digest(lineage),
        )

    def _deploy(self, folder: Path, content: Manifest, target: str, on_bytes: Progress) -> None:
        lock = threading.Lock()
        there = {file.path: file.sha256 for file in self._files.under(target)}

        def one(entry: FileEntry) -> None:
            if there.get(entry.path) != entry.sha256:
                self._files.deploy(folder / entry.path, f"{target}/{entry.path}", entry.sha256)
            with lock:
                on_bytes(entry.size)

        with ThreadPoolExecutor(_WORKERS, thread_name_prefix="publish") as pool:
            under_way = [pool.submit(one, entry) for entry in sorted(content.files, key=lambda entry: -entry.size)]
            try:
                for each in under_way:
                    each.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _commit(self, record: VersionRecord) -> None:
        """Adds the documents and the properties, then the record, with which the version exists."""
        target = f"{record.name}/{record.version}"
        documents = self._documents(record)
        for path, content in documents.items():
            self._files.write(f"{target}/{path}", content)
        self._files.annotate(target, _properties(record))
        entries = (FileEntry(path, len(each), hashlib.sha256(each).hexdigest()) for path, each in documents.items())
        known = Manifest(tuple(sorted(entries, key=lambda entry: entry.path)))
        self._files.write(manifest_path(record.name, record.version), encoded(Published(record, known).as_dict()))

    def _documents(self, record: VersionRecord) -> dict[str, bytes]:
        said = statement(record.reference, record.manifest, record.lineage, record.lineage_digest)
        payload = json.dumps(said, separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode()
        found = {LINEAGE: encoded(record.lineage), STATEMENT: payload}
        paths = [entry.path for entry in record.manifest.files]
        if CARD not in paths:
            found[CARD] = model_card(record.reference, record.lineage, paths).encode()
        if self.signer is not None:
            found[BUNDLE] = encoded(self.signer.bundle(payload))
        return found

    @property
    def _files(self) -> GenericRepository:
        return self.models.files


def _check(name: str, aliases: Sequence[str], version: str | None) -> None:
    if ModelReference.parse(name).selector is not None:
        raise InputError.of(f"{name!r} names a version.", "give the name alone, and the version by itself")
    for alias in aliases:
        check_alias(alias)
    if version is None:
        return
    check_new_version(version)
    if version in RESERVED:
        raise InputError.of(f"{version!r} cannot name a version.", f"{', '.join(RESERVED)} are folders of the hub")


def _check_names(folder: Path, content: Manifest) -> None:
    for entry in content.files:
        if entry.path in (LINEAGE, STATEMENT, BUNDLE):
            fix = "rename it: the hub keeps where the model came from under this name"
            raise InputError.of("This file cannot be published under its name.", fix, file=folder / entry.path)


def _properties(record: VersionRecord) -> Mapping[str, str]:
    lineage = record.lineage
    base = lineage.get("base") or {}
    known = {
        "model": record.name,
        "version": record.version,
        "digest": record.digest,
        "run": lineage.get("run"),
        "team": lineage.get("team"),
        "base": base.get("model"),
        "base_revision": base.get("revision"),
        "git_commit": lineage.get("git_commit"),
        "config_digest": lineage.get("config_digest"),
        "lineage_digest": record.lineage_digest,
    }
    return {f"tunery.{key}": str(value) for key, value in known.items() if value}


def _taken(name: str, version: str) -> TuneryError:
    return InputError.of(
        f"{name}@{version} exists with other content, or somebody is publishing it, and a version never changes.",
        "publish under another version, or leave the version out to get the next number; if nobody is publishing it "
        f"any more, remove {name}/claims/{version} from the repository",
    )
