"""Where aliases point, and who pointed them there: one log, appended to and never rewritten.

The log is the only record of aliases, so an alias cannot move without a line that says who moved it. A last line
without its end, left by a killed process, never happened.
"""

from __future__ import annotations

import getpass
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workloads.errors import Problem, TuneryError
from workloads.storage.atomic import fsync_directory


@dataclass(frozen=True, slots=True)
class PromotionLog:
    """JSON lines with ``at``, ``by``, ``name``, ``alias``, ``from`` and ``to``, oldest first."""

    path: Path

    def entries(self) -> list[dict[str, Any]]:
        """Every promotion.

        Raises:
            TuneryError: a line is damaged; passing over it would silently move an alias back.
        """
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return []
        found = []
        for number, line in enumerate(content.split(b"\n")[:-1], start=1):
            try:
                entry = json.loads(line)
                found.append({key: entry[key] for key in ("at", "by", "name", "alias", "from", "to")})
            except (ValueError, TypeError, KeyError) as error:
                fix = "restore the file from a backup, or remove the line and promote again what it promoted"
                message = "This line of the promotion log is damaged."
                raise TuneryError(Problem(message, fix, str(self.path), line=number, code="damaged")) from error
        return found

    def aliases(self) -> dict[str, dict[str, str]]:
        """Model name -> alias -> version."""
        current: dict[str, dict[str, str]] = {}
        for entry in self.entries():
            current.setdefault(entry["name"], {})[entry["alias"]] = entry["to"]
        return current

    def append(self, *, at: str, name: str, alias: str, version: str) -> None:
        """Points ``alias`` at ``version``, or does nothing when it points there; the caller holds the lock."""
        before = self.aliases().get(name, {}).get(alias)
        if before == version:
            return
        entry = {"at": at, "by": _user(), "name": name, "alias": alias, "from": before, "to": version}
        line = json.dumps(entry, ensure_ascii=False).encode() + b"\n"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a+b", buffering=0) as stream:
            stream.seek(0)
            end = stream.read().rfind(b"\n") + 1
            try:
                stream.truncate(end)
                while line:  # a disk that fills up takes a part of the line, and refuses the rest
                    line = line[stream.write(line) :]
                os.fsync(stream.fileno())
            except BaseException:
                stream.truncate(end)
                raise
        fsync_directory(self.path.parent)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user often has a number and no name
        return str(os.getuid())
