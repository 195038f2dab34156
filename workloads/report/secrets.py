"""Keeps secrets out of the report, for a training config that was never checked."""

from __future__ import annotations

import re
from typing import Any

_SECRET_KEY = re.compile(r"(^|_)(token|password|secret|api_key|access_key|credentials?)$", re.IGNORECASE)
_SECRET_VALUE = re.compile(
    r"(hf_[A-Za-z0-9]{20,}|AKC[A-Za-z0-9]{20,}|eyJ[\w-]+\.[\w-]+\.[\w-]+|://[^/\s:@]+:[^/\s@]+@)"
)
HIDDEN = "(hidden)"


def without_secrets(value: Any) -> Any:
    """The same JSON value with what is named or looks like a secret replaced by ``(hidden)``."""
    if isinstance(value, dict):
        return {
            key: HIDDEN if each and isinstance(each, str) and _SECRET_KEY.search(str(key)) else without_secrets(each)
            for key, each in value.items()
        }
    if isinstance(value, list):
        return [without_secrets(each) for each in value]
    if isinstance(value, str) and _SECRET_VALUE.search(value):
        return HIDDEN
    return value
