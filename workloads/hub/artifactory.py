"""The hub in JFrog Artifactory: base models from a repository of the Hugging Face kind, results in a generic one.

A name is looked up among the published models first and then among the base models, whose versions are commits. Data
sets are in the same repository as base models, under names of their own.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from workloads.errors import InputError, Problem, TuneryError, UnavailableError
from workloads.hub.artifactory_generic import GenericRepository
from workloads.hub.artifactory_huggingface import HuggingFaceRepository, Snapshot
from workloads.hub.artifactory_published import Published, PublishedModels
from workloads.hub.download import Downloads
from workloads.hub.folder import only_files_of, visible_files
from workloads.hub.growing import Growing, RemoteFile
from workloads.hub.importing import refuse_pickle
from workloads.hub.interface import Kind, ModelReference, ModelVersion, Progress, check_alias
from workloads.hub.tokens import TokenSource
from workloads.hub.transport import Transport
from workloads.runtime import (
    ENV_ARTIFACTORY,
    ENV_ARTIFACTORY_MODELS,
    ENV_ARTIFACTORY_PUBLISHED,
    ENV_CACHE,
)
from workloads.storage.atomic import write_json
from workloads.storage.disk import disk_errors
from workloads.storage.manifest import MANIFEST_NAME, FileEntry, Manifest

_log = logging.getLogger(__name__)
_NEWEST = "main"
"""The branch that a base model's name alone means."""
_SMALL = 64 << 20
"""Bytes of the largest file that is read into memory."""


class ArtifactoryHub:
    """A :class:`workloads.hub.interface.Hub` in Artifactory.

    Args:
        url: the address of Artifactory, such as ``https://artifactory.example.com/artifactory``.
        models: the repository of base models, of the Hugging Face kind; None for no base models.
        published: the generic repository of results; None for none.
        kind: what is looked for in the first of them.
        allow_pickle: also fetch base models whose weights are pickle files, which run code when they are loaded.
    """

    def __init__(
        self,
        url: str,
        models: str | None,
        published: str | None,
        *,
        kind: Kind = "models",
        environ: Mapping[str, str] = os.environ,
        allow_pickle: bool = False,
        transport: Transport | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        self._environ, self._allow_pickle, self._kind = environ, allow_pickle, kind
        self._transport = transport or Transport(self.url, TokenSource(environ))
        self._published = None
        if published is not None:
            self._published = PublishedModels(GenericRepository(self._transport, self.url, published))
        self._base = None
        if models is not None:
            self._base = HuggingFaceRepository(self._transport, f"{self.url}/api/huggingfaceml/{models}", kind)
        self._snapshots: dict[tuple[str, str], Snapshot] = {}

    @classmethod
    def from_environment(
        cls, environ: Mapping[str, str], *, kind: Kind = "models", allow_pickle: bool = False
    ) -> ArtifactoryHub:
        """The hub that the variables name; of data sets there are none but those in the first repository.

        Raises:
            InputError: they name no repository.
        """
        models, published = environ.get(ENV_ARTIFACTORY_MODELS), environ.get(ENV_ARTIFACTORY_PUBLISHED)
        if not models and not published:
            raise InputError.of(
                f"{ENV_ARTIFACTORY} names Artifactory, but no variable names a repository in it.",
                f"set {ENV_ARTIFACTORY_MODELS} to the repository of base models, and {ENV_ARTIFACTORY_PUBLISHED} to "
                "that of results",
            )
        results = published or None if kind == "models" else None
        return cls(
            environ[ENV_ARTIFACTORY], models or None, results, kind=kind, environ=environ, allow_pickle=allow_pickle
        )

    def models(self) -> Sequence[ModelVersion]:
        return [] if self._published is None else self._published.all()

    def resolve(self, reference: ModelReference) -> ModelVersion:
        refusal: TuneryError | None = None
        if self._published is not None:
            try:
                model = self._published.of(reference.name)
                if model.version_names:
                    return model.resolve(reference)
            except InputError as error:
                refusal = error
            except UnavailableError as error:  # who may only read base models need not see the published ones
                if self._base is None or all(problem.code != "permission" for problem in error.problems):
                    raise
                refusal = error
        snapshot = self._find(reference.name, reference.selector or _NEWEST)
        if snapshot is not None:
            return _base_version(snapshot)
        raise refusal or self._unknown(reference)

    def manifest(self, version: ModelVersion) -> Manifest:
        if version.commit is None:
            return self._record(version).record.manifest
        # Only large files have a SHA-256 on the server; the others are read, which takes little.
        known = [file for file in self._snapshot(version).files if file.sha256]
        found = [file for file in self._snapshot(version).files if not file.sha256]
        entries = [FileEntry(file.path, file.size, file.sha256 or "") for file in known]
        for read in self._downloads.check(found, lambda _: None):
            if isinstance(read, UnavailableError):
                raise read
            entries.append(read)
        return Manifest(tuple(sorted(entries, key=lambda entry: entry.path)), version.commit)

    def lineage(self, version: ModelVersion) -> dict[str, Any]:
        return {} if version.commit is not None else self._record(version).record.lineage

    def read(self, version: ModelVersion, path: str) -> bytes | None:
        file = next((file for file in self._files(version) if file.path == path), None)
        if file is None:
            return None
        if file.size > _SMALL:
            raise InputError.of(f"{path} of {version.reference} is too large to be read at once.", "fetch the model")
        content = self._transport.call("GET", file.url, limit=file.size).body
        checked = Growing(file, None, lambda _: None)
        checked.append(memoryview(content))
        if checked.verifier.entry is None:
            message = f"{path} of {version.reference} does not have the digest {file.digest} that the hub gives it."
            raise UnavailableError(Problem(message, "try again; if it stays, the hub is damaged", code="wrong-bytes"))
        return content

    def fetch(self, version: ModelVersion, destination: Path, on_bytes: Progress | None = None) -> Manifest:
        files = self._files(version)
        if version.commit is not None and not self._allow_pickle:
            refuse_pickle(version.reference, (file.path for file in files))
        if version.commit is None:
            from workloads.hub.artifactory_verify import check_origin

            check_origin(self._record(version), self._results, self._environ)
        self._check_token(version.size)
        with disk_errors(destination, ENV_CACHE):
            only_files_of(version.reference, (file.path for file in files), destination)
            destination.mkdir(parents=True, exist_ok=True)
            entries = self._downloads.bring(files, destination, ENV_CACHE, on_bytes or (lambda _: None))
            manifest = Manifest(entries, version.commit)
            write_json(destination / MANIFEST_NAME, manifest.as_dict())
        return manifest

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
        from workloads.hub.artifactory_publish import Publication
        from workloads.hub.provenance import trusted_signer

        publication = Publication(self._results, trusted_signer(self._environ))
        if folder.is_dir():
            self._check_token(sum(file.size for file in visible_files(folder)))
        return publication.publish(folder, name, lineage, aliases, version, on_bytes or (lambda _: None))

    def verify(self, version: ModelVersion, on_bytes: Progress | None = None) -> list[Problem]:
        from workloads.hub.artifactory_verify import verify_documents

        told = on_bytes or (lambda _: None)
        problems: list[Problem] = []
        if version.commit is None:
            published = self._record(version)
            problems += verify_documents(published, self._results, self._environ)
        for found in self._downloads.check(self._files(version), told):
            if isinstance(found, UnavailableError):
                problems += [
                    Problem(
                        f"{each.file or 'a file'} of {version.reference} is damaged: {each.message}",
                        each.fix,
                        code="damaged",
                    )
                    for each in found.problems
                ]
        return problems

    def promote(self, version: ModelVersion, alias: str) -> ModelVersion:
        check_alias(alias)
        if version.commit is not None:
            raise InputError.of(
                f"{version.reference} is a base model, whose branches and tags belong to who made it.",
                "promote a version that was published here",
            )
        record = self._record(version).record
        self._results.of(version.name).point(alias, version.version)
        return record.model_version(self._results.of(version.name).aliases())

    @cached_property
    def _downloads(self) -> Downloads:
        return Downloads(self._transport)

    @property
    def _results(self) -> PublishedModels:
        if self._kind == "datasets":
            raise InputError.of(
                "Data sets go into Artifactory by the client of Hugging Face.",
                'eval "$(tunery hub env ENV)", set HF_TOKEN, and run `hf upload --repo-type dataset NAME FOLDER`',
            )
        if self._published is None:
            raise InputError.of(
                "No repository of published models is named.", f"set {ENV_ARTIFACTORY_PUBLISHED} to a generic one"
            )
        return self._published

    def _files(self, version: ModelVersion) -> Sequence[RemoteFile]:
        if version.commit is not None:
            return self._snapshot(version).files
        content = self._record(version).record.manifest
        return [self._results.files.file(f"{version.name}/{version.version}", entry) for entry in content.files]

    def _record(self, version: ModelVersion) -> Published:
        return self._results.get(version)

    def _find(self, name: str, revision: str) -> Snapshot | None:
        if self._base is None:
            return None
        found = self._base.find(name, revision)
        if found is not None:
            self._snapshots[name, found.commit] = found
        return found

    def _snapshot(self, version: ModelVersion) -> Snapshot:
        """What a base model's commit has, asked for once."""
        known = self._snapshots.get((version.name, version.version)) or self._find(version.name, version.version)
        if known is None:
            raise InputError.of(f"{version.reference} is not in this hub any more.", "see whether its name is right")
        if _digest(known) != version.digest:
            message = f"The commit {version.reference} has other files than before, and a commit never changes."
            raise UnavailableError(Problem(message, "tell whoever runs Artifactory", code="wrong-bytes"))
        return known

    def _check_token(self, size: int) -> None:
        if (warning := self._transport.tokens.check_lifetime(size)) is not None:
            _log.warning(warning)

    def _unknown(self, reference: ModelReference) -> InputError:
        places = [
            each for each in (self._base and self._base.url, self._published and self._published.files.name) if each
        ]
        if self._kind == "datasets":
            return InputError.of(
                f"The hub has no data set {str(reference)!r}: it is not in {' nor in '.join(places)}.",
                "write its name as Hugging Face has it, and a branch, tag or commit that it has; see whether the token "
                "may read it, and whether Artifactory may fetch it from there",
            )
        return InputError.of(
            f"The hub has no model {str(reference)!r}: it is not in {' nor in '.join(places)}.",
            "see `tunery models` for what is published; of a base model write the name as Hugging Face has it, and a "
            "branch, tag or commit that it has",
        )


def _base_version(snapshot: Snapshot) -> ModelVersion:
    return ModelVersion(
        name=snapshot.name,
        version=snapshot.commit,
        digest=_digest(snapshot),
        aliases=(),
        created=snapshot.created,
        size=sum(file.size for file in snapshot.files),
        commit=snapshot.commit,
    )


def _digest(snapshot: Snapshot) -> str:
    lines = json.dumps([[file.path, file.size, file.digest] for file in snapshot.files], separators=(",", ":"))
    return hashlib.sha256(lines.encode()).hexdigest()
