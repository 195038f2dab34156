"""Every point at which a process changes its files, so that it can be struck at each of them.

Python announces what it does to files to audit hooks, before it does it. What torch and safetensors write by
themselves, and fsync, are wrapped. So the code under test has no hooks of its own.
"""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_RENAMES = ("os.rename", "os.link")
_REMOVALS = ("os.remove", "os.rmdir", "os.mkdir")
_RANDOM = re.compile(r"[.-][a-z0-9_]{8}(?=$|/)")
HALF = "half of"
"""The kind of a boundary where a file is written but for its second half, as far as a kill is concerned."""
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


@dataclass(frozen=True, slots=True)
class Boundary:
    """One point: what is about to happen (or is half done), and to which path below the watched folder."""

    kind: str
    path: str

    @property
    def name(self) -> str:
        """Both, without what is random in names of temporary files."""
        return f"{self.kind} {_RANDOM.sub('.*', self.path)}"


@dataclass
class Boundaries:
    """Calls ``meet`` at each point of this process below ``folder``, one at a time."""

    folder: Path
    meet: Callable[[Boundary], None]
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _inside: threading.local = field(default_factory=threading.local)

    def install(self) -> None:
        """Begins to watch; there is no way to end it but with the process."""
        import safetensors.torch
        import torch

        self._prefix = f"{self.folder.resolve()}/"
        sys.addaudithook(self._audit)
        self._wrap_fsync()
        self._wrap_bulk(torch, "save", 1)
        self._wrap_bulk(safetensors.torch, "serialize_file", 1)

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if isinstance(flags, int) and flags & _WRITES:
                self._met("open", path)
        elif event in _RENAMES:
            self._met("rename to", arguments[1])
        elif event in _REMOVALS:
            self._met(event.removeprefix("os."), arguments[0], arguments[-1])

    def _wrap_fsync(self) -> None:
        fsync = os.fsync

        def watched(descriptor: Any) -> None:
            number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
            self._met("fsync", os.readlink(f"/proc/self/fd/{number}"))  # noqa: PTH115 a Path would be no shorter
            fsync(descriptor)

        patched: Any = os
        patched.fsync = watched

    def _wrap_bulk(self, module: Any, name: str, position: int) -> None:
        write = getattr(module, name)

        def watched(*arguments: Any, **named: Any) -> Any:
            target = arguments[position] if len(arguments) > position else named.get("f") or named.get("filename")
            if not isinstance(target, str | os.PathLike):
                return write(*arguments, **named)
            self._met("write", target)
            done = write(*arguments, **named)
            self._met(HALF, target)
            return done

        setattr(module, name, watched)

    def _met(self, kind: str, path: Any, within: Any = None) -> None:
        if getattr(self._inside, "busy", False) or not isinstance(path, str | bytes | os.PathLike):
            return
        text = os.fsdecode(path)
        if not text.startswith("/") and isinstance(within, int) and within >= 0:
            text = os.path.join(os.readlink(f"/proc/self/fd/{within}"), text)  # noqa: PTH115, PTH118 text as above
        text = os.path.abspath(text)  # noqa: PTH100 a link must stay what it is
        if not text.startswith(self._prefix) or (kind == "mkdir" and os.path.isdir(text)):  # noqa: PTH112 as above
            return
        self._inside.busy = True
        try:
            with self._lock:
                self.meet(Boundary(kind, text.removeprefix(self._prefix)))
        finally:
            self._inside.busy = False
