"""Finds secrets written in a config; what it finds is never printed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from workloads.errors import Problem
from workloads.secret_patterns import SECRET_KEY, SECRET_VALUE
from workloads.training_config.loader import LoadedConfig

_ENVIRONMENT = {
    "hf_hub_token": "HF_TOKEN",
    "hub_token": "HF_TOKEN",
    "ms_hub_token": "MODELSCOPE_API_TOKEN",
    "om_hub_token": "OM_TOKEN",
    "swanlab_api_key": "SWANLAB_API_KEY",
}
_REFERENCE = re.compile(r"^\s*\$\{[^}]+\}\s*$")


def check_secrets(config: LoadedConfig) -> list[Problem]:
    """Secrets and references in the values."""
    problems = []
    for key, value in config.values.items():
        texts = list(_texts(value, SECRET_KEY.search(key) is not None, set()))
        if any(secret and text.strip() and not _REFERENCE.match(text) for text, secret in texts) or any(
            SECRET_VALUE.search(text) for text, _ in texts
        ):
            variable = _ENVIRONMENT.get(key)
            give = f"give it in the environment as {variable}" if variable else "give it in the environment"
            problems.append(
                config.problem(
                    key,
                    "A secret is written here, where it would be copied into runs and reports.",
                    f"remove it, make a new one in its place, and {give}",
                    "secret",
                )
            )
        elif any(_REFERENCE.match(text) for text, _ in texts):
            problems.append(
                config.problem(
                    key,
                    "LLaMA-Factory passes this reference on as it is written, without resolving it.",
                    "write the value, or leave the key out where the environment gives it",
                    "warn-reference",
                )
            )
    return problems


def _texts(value: Any, secret: bool, seen: set[int]) -> Iterator[tuple[str, bool]]:
    """Every text in a value, and whether the name before it says that it is a secret."""
    if isinstance(value, str) or (secret and isinstance(value, int)):
        yield str(value), secret
    elif isinstance(value, (dict, list)) and id(value) not in seen:
        seen.add(id(value))  # aliases may name one mapping many times
        pairs = value.items() if isinstance(value, dict) else ((None, each) for each in value)
        for name, each in pairs:
            named_secret = isinstance(name, str) and SECRET_KEY.search(name) is not None
            yield from _texts(each, secret or named_secret, seen)
