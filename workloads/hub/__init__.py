"""The hub: where models come from and go to."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from workloads.runtime import hub_dir

if TYPE_CHECKING:
    from workloads.hub.interface import Hub


def open_hub(environ: Mapping[str, str] = os.environ) -> Hub:
    """The hub that this machine uses: a directory (``workloads.runtime.hub_dir``)."""
    from workloads.hub.directory import DirectoryHub

    return DirectoryHub(hub_dir(environ))
