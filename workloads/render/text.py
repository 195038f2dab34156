"""Objects as YAML text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import yaml

# libyaml writes the same text five times as fast; a Python without it has the slow one.
_BASE: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class _Dumper(_BASE):  # type: ignore[misc]  # which of the two it is shows at run time
    """Writes what people review: no anchors where rendering used a value twice, texts of several lines as they are."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: Any, value: str) -> Any:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)


def to_yaml(manifest: dict[str, Any]) -> str:
    """One object, its keys in the order in which they were rendered."""
    return yaml.dump(manifest, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def to_documents(manifests: Iterable[dict[str, Any]]) -> str:
    """Several objects as one stream of documents, as ``kubectl apply -f`` reads it."""
    return "---\n".join(to_yaml(manifest) for manifest in manifests)
