"""Environments beside the main one, for packages that do not fit into it: requirements/NAME.txt in .venv/NAME."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

from scripts.setup import ROOT, VENV, index


def ensure(name: str) -> Path:
    """The folder of an environment's programs, made or renewed when its lock is another one than before.

    Raises:
        subprocess.CalledProcessError: uv could not install it; it has said why.
    """
    lock, home = ROOT / "requirements" / f"{name}.txt", VENV / name
    stamp, digest = home / ".locked", hashlib.sha256(lock.read_bytes()).hexdigest()
    if not stamp.is_file() or stamp.read_text(encoding="utf-8") != digest:
        uv = VENV / "uv" / "bin" / "uv"
        environment = {**os.environ, **index()}
        subprocess.run([uv, "venv", "-q", "--clear", "--python", sys.executable, home], check=True, env=environment)
        sync = (uv, "pip", "sync", "-q", "--require-hashes", "--python", home / "bin" / "python", lock)
        subprocess.run([str(word) for word in sync], check=True, env=environment)
        stamp.write_text(digest, encoding="utf-8")
    return home / "bin"
