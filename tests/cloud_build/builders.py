"""Which local command stands for which builder image: all of it, here and in ``commands/``.

========================================  ================================================================
image                                     here
========================================  ================================================================
gcr.io/cloud-builders/git                 this machine's git
library/docker                            ``commands/docker``: pushes into a registry that is a folder
library/python                            this Python, which has the packages already: its pip does nothing
aquasec/trivy                             ``commands/trivy``: finds what the test says
========================================  ================================================================
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_COMMANDS = Path(__file__).parent / "commands"
_ENTRYPOINTS = {
    r"gcr\.io/cloud-builders/git": "git",
    r".+/library/docker": "docker",
    r".+/library/python": "python",
    r".+/aquasec/trivy": "trivy",
}


@dataclass(frozen=True)
class Builder:
    """A builder image's stand-in: its entrypoint, and the folder of commands that come before this machine's."""

    entrypoint: str
    commands: Path = _COMMANDS

    def command(self, words: Sequence[str]) -> list[str]:
        """A command line of the image as one of this machine; commands of ours are Python files."""
        own = self.commands / words[0]
        return [sys.executable, str(own), *words[1:]] if own.is_file() else list(words)


def builder(image: str) -> Builder:
    """The stand-in of an image; a KeyError names one that nobody has thought of."""
    name = image.partition("@")[0]
    for pattern, entrypoint in _ENTRYPOINTS.items():
        if re.fullmatch(pattern, name):
            return Builder(entrypoint)
    raise KeyError(f"no local command stands for {image}: add it to {__file__}")
