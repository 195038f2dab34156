"""Keeps secrets out of the report: in a config that was never checked, or in what an error repeats of one."""

from __future__ import annotations

import re
from typing import Any

# Not every token is a secret: pad_token and eos_token are words.
_SECRET_KEY = re.compile(
    r"((access|api|auth|hf|hub)_token|(api|access)_key|secret|password|credentials?|webhook_url)$", re.IGNORECASE
)
_SECRET_VALUE = re.compile(
    r"\bhf_[A-Za-z0-9]{20,}"  # Hugging Face
    r"|\b(?:AKCp|cmVmdGtu)[A-Za-z0-9+/=]{20,}"  # Artifactory
    r"|\b(?:gh[pos]|github_pat)_[A-Za-z0-9_]{20,}"  # GitHub
    r"|\bglpat-[\w-]{20,}"  # GitLab
    r"|\bsk-[\w-]{20,}"  # OpenAI
    r"|\bAIza[\w-]{35}|\bAKIA[0-9A-Z]{16}|\bxox[abprs]-[\w-]{10,}"  # Google, Amazon, Slack
    r"|\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]*"  # JSON web tokens
    r"|-----BEGIN [A-Z ]*PRIVATE KEY[\s\S]*"
    r"|://[^/\s:@]+:[^/\s@]+@"  # a password in an address
)
HIDDEN = "(hidden)"


def without_secrets(value: Any) -> Any:
    """The same JSON value with ``(hidden)`` for what is named a secret and for what looks like one inside a text."""
    if isinstance(value, dict):
        return {
            key: HIDDEN
            if each and not isinstance(each, bool) and _SECRET_KEY.search(str(key))
            else without_secrets(each)
            for key, each in value.items()
        }
    if isinstance(value, list):
        return [without_secrets(each) for each in value]
    return _SECRET_VALUE.sub(HIDDEN, value) if isinstance(value, str) else value
