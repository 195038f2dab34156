"""The event log of a run: what happened and when, one JSON object a line, appended and never rewritten."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class EventLog:
    """Appends events to ``path``; ``clock`` gives seconds since the epoch."""

    path: Path
    clock: Callable[[], float] = field(default=time.time)

    def append(self, event: str, **fields: Any) -> None:
        """Adds one event with the time it happened."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        line = json.dumps({"time": round(self.clock(), 3), "event": event, **fields}, ensure_ascii=False) + "\n"
        # One write of one line to a file opened for appending cannot interleave with another process's line.
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)


def read_events(path: Path, offset: int = 0) -> tuple[list[dict[str, Any]], int]:
    """The whole events after byte ``offset``, and the offset to go on from.

    A last line without its end, from a process that was killed, waits for the next call; a line that does not
    parse is passed over.
    """
    try:
        with path.open("rb") as stream:
            stream.seek(offset)
            content = stream.read()
    except FileNotFoundError:
        return [], offset
    end = content.rfind(b"\n") + 1
    return list(_parse(content[:end])), offset + end


def _parse(content: bytes) -> Iterator[dict[str, Any]]:
    for line in content.splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and "event" in event:
            yield event
