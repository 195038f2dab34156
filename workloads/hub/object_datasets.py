"""Data sets that are one object in Cloud Storage, named by address and SHA-256."""

from __future__ import annotations

from pathlib import Path

from workloads.errors import InputError
from workloads.hub.folder import only_files_of
from workloads.hub.interface import ModelVersion, Progress
from workloads.runtime import ENV_CACHE
from workloads.storage.atomic import fsync_directory, write_json
from workloads.storage.disk import check_space, disk_errors
from workloads.storage.manifest import MANIFEST_NAME, FileEntry, Manifest
from workloads.storage.objects import open_store
from workloads.storage.transfer import bring


class ObjectDatasets:
    """A :class:`workloads.hub.cache.Source` of such data sets: each is a version with one file."""

    def resolve(self, url: str, sha256: str) -> ModelVersion:
        """The data set at ``gs://BUCKET/KEY`` with this content; the start of the digest takes the place of a commit.

        Raises:
            InputError: there is no such object, or no permission to read it.
            UnavailableError: Cloud Storage does not answer.
        """
        place, _, name = url.rpartition("/")
        found = open_store(place).find(name)
        if found is None:
            raise InputError.of("There is no such object.", "correct its address in dataset_info.json", file=url)
        digest = Manifest((FileEntry(name, found.size, sha256),)).digest
        return ModelVersion(url, sha256, digest, (), "", found.size, commit=sha256[:40])

    def fetch(self, version: ModelVersion, destination: Path, on_bytes: Progress | None = None) -> Manifest:
        """As :meth:`workloads.hub.interface.Hub.fetch`.

        Raises:
            DamagedError: the object has other bytes.
        """
        place, _, name = version.name.rpartition("/")
        entry = FileEntry(name, version.size, version.version)
        with disk_errors(destination, ENV_CACHE):
            only_files_of(version.name, (name,), destination)
            destination.mkdir(parents=True, exist_ok=True)
            check_space(destination, version.size, ENV_CACHE)
            (destination / MANIFEST_NAME).unlink(missing_ok=True)
            bring(open_store(place), name, destination, entry)
            fsync_directory(destination)
            manifest = Manifest((entry,), version.commit)
            write_json(destination / MANIFEST_NAME, manifest.as_dict())
        if on_bytes is not None:
            on_bytes(entry.size)
        return manifest
