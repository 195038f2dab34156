"""File contents under the name of their SHA-256, each kept once however many versions have it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from workloads.hub.disk import place_file
from workloads.hub.interface import Progress
from workloads.storage.manifest import FileEntry, sha256_file


@dataclass(frozen=True, slots=True)
class BlobStore:
    """The blobs under ``root``; one process at a time may add to them."""

    root: Path

    def path(self, sha256: str) -> Path:
        """Where the content with this digest lies; two hex digits a folder keep folders short."""
        return self.root / "blobs" / sha256[:2] / sha256

    def damage(self, entry: FileEntry, on_bytes: Progress | None = None) -> str | None:
        """What is wrong with the stored content of ``entry`` after reading all of it, or None."""
        blob = self.path(entry.sha256)
        if not blob.is_file():
            return "is missing"
        if (size := blob.stat().st_size) != entry.size:
            return f"has {size:,} bytes, not {entry.size:,}"
        if sha256_file(blob, on_bytes) != entry.sha256:
            return "does not have the recorded SHA-256"
        return None

    def add(self, source: Path, entry: FileEntry, on_bytes: Progress | None = None) -> None:
        """Stores the content of ``source``; raises WrongBytesError when it is not that of ``entry``."""
        partial = self.root / "incoming" / entry.sha256
        place_file(source, self.path(entry.sha256), entry.sha256, partial=partial, on_bytes=on_bytes)

    def sizes(self) -> dict[str, int]:
        """SHA-256 -> bytes of everything that is stored."""
        return {path.name: path.stat().st_size for path in (self.root / "blobs").glob("??/*")}

    def drop_incoming(self) -> None:
        """Removes what killed processes left half copied."""
        shutil.rmtree(self.root / "incoming", ignore_errors=True)
