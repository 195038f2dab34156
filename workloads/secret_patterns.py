"""What a secret looks like, for what refuses one in a config and for what keeps one out of a report."""

from __future__ import annotations

import re

# Not every token is a secret: pad_token and eos_token are words.
SECRET_KEY = re.compile(
    r"((access|api|auth|hf|hub)_token|(api|access)_key|secret|password|credentials?|webhook_url)$", re.IGNORECASE
)
"""Names of keys whose values are secrets."""

SECRET_VALUE = re.compile(
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
"""Texts that are secrets whatever their key is called; a match is the whole secret, as far as it can be told."""
