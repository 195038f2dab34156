"""What every hub can do, whatever keeps its bytes."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from workloads.errors import InputError, Problem, did_you_mean
from workloads.storage.manifest import Manifest

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}(/[A-Za-z0-9][A-Za-z0-9._-]{0,95})?")
_SELECTOR = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_ALIAS = re.compile(r"[a-z][a-z0-9-]{0,38}")
_NUMBERED = re.compile(r"v[0-9]+")
_REVISION = re.compile(r"[0-9a-f]{40}")
Kind = Literal["models", "datasets"]
"""What a hub keeps; a model and a data set may have the same name."""
Progress = Callable[[int], None]
"""Called with the number of bytes just moved."""


@dataclass(frozen=True, slots=True)
class ModelReference:
    """``NAME`` or ``NAME@SELECTOR``; the selector is a version, an alias or a 40-hex revision.

    ``NAME`` is ``model`` or ``organisation/model``.
    """

    name: str
    selector: str | None = None

    @classmethod
    def parse(cls, text: str) -> ModelReference:
        """Raises InputError for anything that is not a reference, path traversal included."""
        name, at, selector = text.partition("@")
        if _NAME.fullmatch(name) and ".." not in text and (not at or _SELECTOR.fullmatch(selector)):
            return cls(name, selector if at else None)
        raise InputError.of(
            f"{text!r} is not a model reference.",
            "write NAME or NAME@VERSION: letters, digits, '.', '_', '-', and at most one '/' in the name",
        )

    def __str__(self) -> str:
        return self.name if self.selector is None else f"{self.name}@{self.selector}"


def check_alias(alias: str) -> None:
    """Raises InputError unless ``alias`` can be one: a short lower-case word that no version is called by itself."""
    if not _ALIAS.fullmatch(alias) or _NUMBERED.fullmatch(alias):
        raise InputError.of(
            f"{alias!r} is not an alias.",
            "use a lower-case word such as production: letters, digits and '-', at most 39; v1, v2, ... are versions",
        )


def is_revision(text: str) -> bool:
    """Whether a selector is the 40-hex name of content."""
    return _REVISION.fullmatch(text) is not None


def check_new_version(version: str) -> None:
    """Raises InputError unless ``version`` can name a new version."""
    if not _SELECTOR.fullmatch(version) or ".." in version or _REVISION.fullmatch(version):
        raise InputError.of(
            f"{version!r} is not a version name.",
            "use letters, digits, '.', '_' and '-', at most 96, such as v2 or 2025-06; 40 hex digits are a revision",
        )


def no_such_version(reference: ModelReference, selectors: Sequence[str]) -> InputError:
    """The error for a selector that a name does not have; it has ``selectors``."""
    return InputError.of(
        f"The hub has {reference.name!r}, but no version, alias or revision {reference.selector!r} of it.",
        f"use one of {', '.join(selectors)}",
        suggestion=did_you_mean(str(reference.selector), selectors),
    )


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One immutable version of a model in a hub.

    Attributes:
        version: ``v1``, ``v2``, ... or the name it was published under; of a base model in a repository of the
            Hugging Face kind, its commit.
        digest: SHA-256 in hex of its manifest; with a ``commit``, of the list of what the server says of its files.
        aliases: movable names that point here now, sorted.
        created: when it was published, ISO 8601 in UTC.
        size: bytes of its files.
        commit: 40 hex digits, when a commit is what names the content.
    """

    name: str
    version: str
    digest: str
    aliases: tuple[str, ...]
    created: str
    size: int
    commit: str | None = None

    @property
    def revision(self) -> str:
        """The 40-hex name of the content that a run records."""
        return self.commit or self.digest[:40]

    @property
    def reference(self) -> str:
        return f"{self.name}@{self.version}"

    def as_dict(self) -> dict[str, Any]:
        """The JSON form that ``tunery models --json`` prints."""
        return {
            "name": self.name,
            "version": self.version,
            "aliases": list(self.aliases),
            "digest": f"sha256:{self.digest}",
            "revision": self.revision,
            "created": self.created,
            "size": self.size,
        }


class Hub(Protocol):
    """Models by name and version, whole or not at all.

    Every method raises InputError for what the user got wrong (unknown name, version that exists already) and
    UnavailableError for what may work later (disk full, host unreachable).
    """

    def models(self) -> Sequence[ModelVersion]:
        """Every version, sorted by name and then by age."""
        ...

    def resolve(self, reference: ModelReference) -> ModelVersion:
        """The version a reference means now; without a selector the newest version."""
        ...

    def manifest(self, version: ModelVersion) -> Manifest:
        """Its files with sizes and digests."""
        ...

    def lineage(self, version: ModelVersion) -> dict[str, Any]:
        """Where it came from; empty for an imported base model."""
        ...

    def read(self, version: ModelVersion, path: str) -> bytes | None:
        """The content of one small file, verified; None when the version has no such file."""
        ...

    def fetch(self, version: ModelVersion, destination: Path, on_bytes: Progress | None = None) -> Manifest:
        """Copies a version into ``destination``, verifying every SHA-256, manifest last; continues a broken copy.

        ``on_bytes`` hears of every byte of the version once. ``destination`` is absent, empty or a broken copy of
        the same version; only one process at a time may fetch into it.
        """
        ...

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
        """Adds ``folder`` as a new version and points ``aliases`` at it.

        The same bytes published again give the version that exists, with the lineage it has, and repair what is
        damaged in the hub. Hidden files and folders (``.git``, ``.cache``) are left out; a symbolic link is refused.

        Args:
            version: its name; the next of v1, v2, ... when None.
            on_bytes: hears of every byte of the folder once, when it is safely in the hub.
        """
        ...

    def verify(self, version: ModelVersion, on_bytes: Progress | None = None) -> list[Problem]:
        """Recomputes every digest, that of the lineage too; one problem for each damaged file, or nothing."""
        ...

    def promote(self, version: ModelVersion, alias: str) -> ModelVersion:
        """Points ``alias`` at ``version`` and records who did it and when."""
        ...
