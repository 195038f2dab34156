"""Version records: one immutable JSON file a version, whose presence is what makes the version exist."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from workloads.errors import Problem, TuneryError
from workloads.hub.interface import ModelVersion
from workloads.storage.atomic import write_json
from workloads.storage.manifest import Manifest

_NUMBERED = re.compile(r"v([0-9]+)")


@dataclass(frozen=True, slots=True)
class VersionRecord:
    """What a version is.

    Attributes:
        parent: the version that was the newest when this one was published; None for the first.
        digest: SHA-256 in hex of ``manifest``, as recorded.
        lineage_digest: SHA-256 in hex of ``lineage``, as recorded.
    """

    name: str
    version: str
    created: datetime
    parent: str | None
    digest: str
    manifest: Manifest
    lineage: dict[str, Any]
    lineage_digest: str

    @property
    def reference(self) -> str:
        return f"{self.name}@{self.version}"

    def model_version(self, aliases: Mapping[str, str]) -> ModelVersion:
        """The version that a hub shows, with those of its model's ``aliases`` (alias -> version) that mean it."""
        return ModelVersion(
            name=self.name,
            version=self.version,
            digest=self.digest,
            aliases=tuple(sorted(alias for alias, target in aliases.items() if target == self.version)),
            created=self.created.isoformat(timespec="microseconds"),
            size=self.manifest.size,
        )

    def as_dict(self) -> dict[str, Any]:
        """The JSON form that :meth:`parse` reads."""
        return {
            "name": self.name,
            "version": self.version,
            "created": self.created.isoformat(timespec="microseconds"),
            "parent": self.parent,
            "digest": self.digest,
            **self.manifest.as_dict(),
            "lineage": self.lineage,
            "lineage_digest": self.lineage_digest,
        }

    @classmethod
    def parse(cls, value: Any) -> VersionRecord:
        """Raises ValueError, TypeError or KeyError when ``value`` is not a record."""
        return cls(
            name=value["name"],
            version=value["version"],
            created=datetime.fromisoformat(value["created"]),
            parent=value["parent"],
            digest=value["digest"],
            manifest=Manifest.parse(value),
            lineage=dict(value["lineage"]),
            lineage_digest=value["lineage_digest"],
        )


def lineage_digest(lineage: dict[str, Any]) -> str:
    """SHA-256 (hex) of a lineage, whatever the order of its keys."""
    canonical = json.dumps(lineage, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class VersionRecords:
    """The records under ``root``."""

    root: Path

    def path(self, name: str, version: str) -> Path:
        """The record's file. ``@`` is in no name, so models ``a`` and ``a/b`` cannot meet."""
        return self.root / "versions" / f"{name}@{version}.json"

    def names(self) -> list[str]:
        """Every model that has a version, sorted."""
        folder = self.root / "versions"
        return sorted({path.relative_to(folder).as_posix().rpartition("@")[0] for path in folder.rglob("*@*.json")})

    def of(self, name: str) -> Sequence[VersionRecord]:
        """The versions of one model, oldest first; empty when there is no such model."""
        return sorted((self._load(path) for path in self._paths(name)), key=lambda record: record.created)

    def next_version(self, name: str) -> str:
        """The first of v1, v2, ... above every one in use."""
        prefix = self.path(name, "").stem
        versions = [path.stem.removeprefix(prefix) for path in self._paths(name)]
        return f"v{1 + max((int(match[1]) for each in versions if (match := _NUMBERED.fullmatch(each))), default=0)}"

    def add(self, record: VersionRecord) -> None:
        """Makes the version exist; the caller holds the lock and knows that it is new."""
        path = self.path(record.name, record.version)
        write_json(path, record.as_dict())
        path.chmod(0o444)

    def _paths(self, name: str) -> list[Path]:
        folder = self.path(name, "").parent
        return list(folder.glob(f"{name.rpartition('/')[2]}@*.json"))

    def _load(self, path: Path) -> VersionRecord:
        try:
            return VersionRecord.parse(json.loads(path.read_bytes()))
        except (ValueError, TypeError, KeyError) as error:
            fix = "restore the file from a backup, or move it out of the hub: its version is gone then"
            message = "This record of a model version is damaged."
            raise TuneryError(Problem(message, fix, str(path), code="damaged")) from error
