"""Objects as YAML text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import yaml

# libyaml writes the same text five times as fast; a Python without it has the slow one.
_DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def to_yaml(manifest: dict[str, Any]) -> str:
    """One object, its keys in the order in which they were rendered."""
    return yaml.dump(manifest, Dumper=_DUMPER, sort_keys=False, allow_unicode=True, width=120)


def to_documents(manifests: Iterable[dict[str, Any]]) -> str:
    """Several objects as one stream of documents, as ``kubectl apply -f`` reads it."""
    return "---\n".join(to_yaml(manifest) for manifest in manifests)
