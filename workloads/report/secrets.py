"""Keeps secrets out of the report: in a config that was never checked, or in what an error repeats of one."""

from __future__ import annotations

from typing import Any

from workloads.secret_patterns import SECRET_KEY, SECRET_VALUE

HIDDEN = "(hidden)"


def without_secrets(value: Any) -> Any:
    """The same JSON value with ``(hidden)`` for what is named a secret and for what looks like one inside a text."""
    if isinstance(value, dict):
        return {
            key: HIDDEN
            if each and not isinstance(each, bool) and SECRET_KEY.search(str(key))
            else without_secrets(each)
            for key, each in value.items()
        }
    if isinstance(value, list):
        return [without_secrets(each) for each in value]
    return SECRET_VALUE.sub(HIDDEN, value) if isinstance(value, str) else value
