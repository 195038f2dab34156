"""The directory hub: models in a folder of this machine, and data sets in its folder ``datasets``.

::

    ROOT/
      blobs/ab/SHA256                  the content of a file, once for all versions that have it
      versions/NAME@VERSION.json       a version: its files, lineage, parent; written last, never rewritten
      promotions.jsonl                 where aliases point and who pointed them there
      incoming/                        copies under way
      .publish.lock  .index.lock       one publisher at a time; one writer of versions and aliases at a time

A version exists when its record does, and the record is written after every blob is on the disk. Readers take no
lock: whatever they see is whole. So a hub may be shared read-only.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from workloads.errors import InputError, Problem, TuneryError, did_you_mean
from workloads.hub.blobs import BlobStore
from workloads.hub.disk import WrongBytesError, place_file
from workloads.hub.folder import hashed, model_files, only_files_of
from workloads.hub.interface import (
    Kind,
    ModelReference,
    ModelVersion,
    Progress,
    check_alias,
    check_new_version,
    no_such_version,
)
from workloads.hub.promotions import PromotionLog
from workloads.hub.records import VersionRecord, VersionRecords, lineage_digest
from workloads.runtime import ENV_CACHE, ENV_HUB
from workloads.storage import manifest as manifests
from workloads.storage.atomic import write_json
from workloads.storage.disk import check_space, disk_errors
from workloads.storage.manifest import MANIFEST_NAME, FileEntry, Manifest

_INDEX_LOCK_SECONDS = 60
"""Longer than any writer holds it: it adds one line or one small file."""
_REPAIR = "publish or import the same files again: that repairs them"


class DirectoryHub:
    """A :class:`workloads.hub.interface.Hub` in a folder, which need not exist yet.

    Args:
        kind: what its versions are of.
    """

    def __init__(self, root: Path, kind: Kind = "models") -> None:
        self.root = root
        self._kind = kind
        self._blobs = BlobStore(root)
        self._records = VersionRecords(root)
        self._promotions = PromotionLog(root / "promotions.jsonl")

    def models(self) -> Sequence[ModelVersion]:
        aliases = self.aliases()
        return [record.model_version(aliases.get(record.name, {})) for record in self.records()]

    def resolve(self, reference: ModelReference) -> ModelVersion:
        with disk_errors(self.root, ENV_HUB):
            known = self._records.of(reference.name)
            if not known:
                raise self._unknown_name(reference.name)
            aliases = self._promotions.aliases().get(reference.name, {})
        selector = reference.selector
        wanted = aliases.get(selector, selector) if selector else known[-1].version
        for record in known:
            if wanted in (record.version, record.digest[:40]):
                return record.model_version(aliases)
        raise no_such_version(reference, [*(record.version for record in known), *aliases])

    def manifest(self, version: ModelVersion) -> Manifest:
        record = self._record(version)
        if record.manifest.digest != record.digest:
            raise TuneryError(self._altered(record))
        return record.manifest

    def lineage(self, version: ModelVersion) -> dict[str, Any]:
        return self._record(version).lineage

    def read(self, version: ModelVersion, path: str) -> bytes | None:
        entry = next((each for each in self.manifest(version).files if each.path == path), None)
        if entry is None:
            return None
        with disk_errors(self.root, ENV_HUB):
            if (reason := self._blobs.damage(entry)) is not None:
                raise TuneryError(self._damaged_blob(version, entry, reason))
            return self._blobs.path(entry.sha256).read_bytes()

    def fetch(self, version: ModelVersion, destination: Path, on_bytes: Progress | None = None) -> Manifest:
        wanted = self.manifest(version)
        with disk_errors(destination, ENV_CACHE):
            present = only_files_of(version.reference, (entry.path for entry in wanted.files), destination)
            missing = []
            for entry in wanted.files:
                if entry.path in present and manifests.sha256_file(destination / entry.path) == entry.sha256:
                    if on_bytes is not None:
                        on_bytes(entry.size)
                else:
                    missing.append(entry)
            check_space(destination, sum(entry.size for entry in missing), ENV_CACHE)
            if missing:  # what the folder's manifest says does not hold while files are being replaced
                (destination / MANIFEST_NAME).unlink(missing_ok=True)
            for entry in missing:
                self._deliver(version, entry, destination / entry.path, on_bytes)
            write_json(destination / MANIFEST_NAME, wanted.as_dict())
        return wanted

    def _deliver(self, version: ModelVersion, entry: FileEntry, target: Path, on_bytes: Progress | None) -> None:
        partial = target.with_name(f".{target.name}.{entry.sha256[:8]}.partial")
        try:
            place_file(self._blobs.path(entry.sha256), target, entry.sha256, partial=partial, on_bytes=on_bytes)
        except (WrongBytesError, FileNotFoundError) as error:
            if (reason := self._blobs.damage(entry)) is None:
                raise
            raise TuneryError(self._damaged_blob(version, entry, reason)) from error

    def publish(
        self,
        folder: Path,
        name: str,
        *,
        lineage: dict[str, Any],
        aliases: Sequence[str] = (),
        version: str | None = None,
        on_bytes: Progress | None = None,
    ) -> ModelVersion:
        if ModelReference.parse(name).selector is not None:
            raise InputError.of(f"{name!r} names a version.", "give the name alone, and the version by itself")
        for alias in aliases:
            check_alias(alias)
        if version is not None:
            check_new_version(version)
        with disk_errors(self.root, ENV_HUB):
            model_files(folder)  # what is wrong with it is said before another publisher is waited for
            self.root.mkdir(parents=True, exist_ok=True)
            with self._lock("publish", -1):
                self._blobs.drop_incoming()
                content = hashed(folder)
                self._existing(name, version, content)  # refuses before anything is copied
                self._store(folder, content, on_bytes)
                with self._lock("index", _INDEX_LOCK_SECONDS):
                    record = self._existing(name, version, content) or self._add(name, version, content, lineage)
                    for alias in aliases:
                        self._point(record, alias)
            return record.model_version(self._promotions.aliases().get(record.name, {}))

    def _existing(self, name: str, version: str | None, content: Manifest) -> VersionRecord | None:
        known = self._records.of(name)
        if version is None:
            return next((record for record in known if record.digest == content.digest), None)
        for record in known:
            if record.version == version:
                if record.digest != content.digest:
                    raise InputError.of(
                        f"{name}@{version} exists with other content, and a version never changes.",
                        "publish under another version, or leave the version out to get the next number",
                    )
                return record
        if version in self._promotions.aliases().get(name, {}):
            raise InputError.of(f"{version!r} is an alias of {name!r}.", "choose another name for the version")
        return None

    def _store(self, folder: Path, content: Manifest, on_bytes: Progress | None) -> None:
        wrong = {entry.sha256 for entry in content.files if self._blobs.damage(entry) is not None}
        sizes = {entry.sha256: entry.size for entry in content.files}
        check_space(self.root, sum(sizes[sha256] for sha256 in wrong), ENV_HUB)
        for entry in content.files:
            if entry.sha256 not in wrong:
                if on_bytes is not None:
                    on_bytes(entry.size)
                continue
            try:
                self._blobs.add(folder / entry.path, entry, on_bytes)
            except WrongBytesError as error:
                raise InputError.of(
                    "The file changed while it was being published.",
                    "publish again when nothing writes to the folder any more",
                    file=folder / entry.path,
                ) from error
            wrong.discard(entry.sha256)

    def _add(self, name: str, version: str | None, content: Manifest, lineage: dict[str, Any]) -> VersionRecord:
        known = self._records.of(name)
        parent = known[-1] if known else None
        created = _now()
        if parent is not None:  # age decides what the newest version is, so it must not follow a clock set back
            created = max(created, parent.created + timedelta(microseconds=1))
        record = VersionRecord(
            name=name,
            version=version or self._records.next_version(name),
            created=created,
            parent=parent.version if parent else None,
            digest=content.digest,
            manifest=content,
            lineage=lineage,
            lineage_digest=lineage_digest(lineage),
        )
        self._records.add(record)
        return record

    def verify(self, version: ModelVersion, on_bytes: Progress | None = None) -> list[Problem]:
        record = self._record(version)
        problems = []
        if record.manifest.digest != record.digest:
            problems.append(self._altered(record))
        if lineage_digest(record.lineage) != record.lineage_digest:
            message = f"The lineage of {version.reference} does not have the recorded SHA-256."
            file = str(self._records.path(record.name, record.version))
            problems.append(Problem(message, "restore the file from a backup", file, key="lineage", code="damaged"))
        with disk_errors(self.root, ENV_HUB):
            problems.extend(
                self._damaged_blob(version, entry, reason)
                for entry in record.manifest.files
                if (reason := self._blobs.damage(entry, on_bytes)) is not None
            )
        return problems

    def promote(self, version: ModelVersion, alias: str) -> ModelVersion:
        check_alias(alias)
        record = self._record(version)
        with disk_errors(self.root, ENV_HUB), self._lock("index", _INDEX_LOCK_SECONDS):
            self._point(record, alias)
            return record.model_version(self._promotions.aliases().get(record.name, {}))

    def _point(self, record: VersionRecord, alias: str) -> None:
        if self._records.path(record.name, alias).exists():
            raise InputError.of(f"{alias!r} is a version of {record.name!r}.", "choose another alias")
        at = _now().isoformat(timespec="microseconds")
        self._promotions.append(at=at, name=record.name, alias=alias, version=record.version)

    def records(self) -> list[VersionRecord]:
        """Every version's record, by name and then by age."""
        with disk_errors(self.root, ENV_HUB):
            return [record for name in self._records.names() for record in self._records.of(name)]

    def aliases(self) -> dict[str, dict[str, str]]:
        """Name -> alias -> version."""
        with disk_errors(self.root, ENV_HUB):
            return self._promotions.aliases()

    def unused_contents(self) -> dict[str, int]:
        """SHA-256 -> bytes of what is stored and belongs to no version."""
        used = {entry.sha256 for record in self.records() for entry in record.manifest.files}
        with disk_errors(self.root, ENV_HUB):
            return {sha256: size for sha256, size in self._blobs.sizes().items() if sha256 not in used}

    def remove(self, references: Collection[str]) -> None:
        """Removes versions, and what then belongs to none."""
        with disk_errors(self.root, ENV_HUB), self._lock("publish", -1), self._lock("index", _INDEX_LOCK_SECONDS):
            for record in self.records():
                if record.reference in references:
                    self._records.path(record.name, record.version).unlink(missing_ok=True)
            for sha256 in self.unused_contents():
                self._blobs.path(sha256).unlink(missing_ok=True)

    @contextmanager
    def _lock(self, name: str, seconds: float) -> Iterator[None]:
        from filelock import FileLock

        with FileLock(self.root / f".{name}.lock", timeout=seconds):
            yield

    def _record(self, version: ModelVersion) -> VersionRecord:
        with disk_errors(self.root, ENV_HUB):
            for record in self._records.of(version.name):
                if (record.version, record.digest) == (version.version, version.digest):
                    return record
        raise InputError.of(f"{version.reference} is not in this hub any more.", "see `tunery models`", file=self.root)

    def _unknown_name(self, name: str) -> InputError:
        names = self._records.names()
        noun, fix = "model", f"see `tunery models`, or add it with `tunery import FOLDER {name}`"
        if self._kind == "datasets":
            noun, fix = "data set", f"add it with `tunery import --dataset FOLDER {name}`"
        if not names:
            return InputError.of(f"The hub has no {noun}s, {name!r} neither.", fix, file=self.root)
        return InputError.of(f"The hub has no {noun} {name!r}.", fix, suggestion=did_you_mean(name, names))

    def _altered(self, record: VersionRecord) -> Problem:
        message = f"The file list of {record.reference} does not have the recorded SHA-256."
        file = str(self._records.path(record.name, record.version))
        return Problem(message, "restore the file from a backup", file, key="files", code="damaged")

    def _damaged_blob(self, version: ModelVersion, entry: FileEntry, reason: str) -> Problem:
        message = f"{entry.path} of {version.reference} {reason}."
        return Problem(message, _REPAIR, str(self._blobs.path(entry.sha256)), code="damaged")


def _now() -> datetime:
    return datetime.now(UTC)
