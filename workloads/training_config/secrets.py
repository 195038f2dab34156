"""Finds secrets written in a config; what it finds is never printed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from workloads.errors import Problem
from workloads.training_config.loader import LoadedConfig

# Not every token is a secret: pad_token and eos_token are words.
_SECRET_KEY = re.compile(r"((access|api|auth|hf|hub)_token|api_key|secret|password|webhook_url)$", re.IGNORECASE)
_ENVIRONMENT = {
    "hf_hub_token": "HF_TOKEN",
    "hub_token": "HF_TOKEN",
    "ms_hub_token": "MODELSCOPE_API_TOKEN",
    "om_hub_token": "OM_TOKEN",
    "swanlab_api_key": "SWANLAB_API_KEY",
}
_SECRET_VALUE = re.compile(
    r"\bhf_[A-Za-z0-9]{20,}"  # Hugging Face
    r"|\b(?:AKCp|cmVmdGtu)[A-Za-z0-9+/=]{20,}"  # Artifactory: API keys and reference tokens
    r"|\b(?:ghp|gho|ghs|github_pat)_[A-Za-z0-9_]{20,}"  # GitHub
    r"|\bglpat-[\w-]{20,}"  # GitLab
    r"|\bsk-[\w-]{20,}"  # OpenAI and those who follow it
    r"|\bAIza[\w-]{35}"  # Google API keys
    r"|\bAKIA[0-9A-Z]{16}"  # Amazon
    r"|\bxox[abprs]-[\w-]{10,}"  # Slack
    r"|\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\."  # JSON web tokens
    r"|-----BEGIN [A-Z ]*PRIVATE KEY"
    r"|://[^/\s:@]+:[^/\s@]+@"  # a password in an address
)
_REFERENCE = re.compile(r"^\s*\$\{[^}]+\}\s*$")


def check_secrets(config: LoadedConfig) -> list[Problem]:
    """Secrets and references in the values."""
    problems = []
    for key, value in config.values.items():
        texts = list(_texts(value, _SECRET_KEY.search(key) is not None, set()))
        if any(secret and text.strip() and not _REFERENCE.match(text) for text, secret in texts) or any(
            _SECRET_VALUE.search(text) for text, _ in texts
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
            named_secret = isinstance(name, str) and _SECRET_KEY.search(name) is not None
            yield from _texts(each, secret or named_secret, seen)
