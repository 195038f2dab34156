"""Substitutions: ``$NAME``, ``${NAME}``, and ``$$`` for a dollar sign; in every text of a build but a script's."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cloud_build.schema import Build

ALWAYS = ("PROJECT_ID", "PROJECT_NUMBER", "BUILD_ID", "LOCATION")
OF_A_PUSH = ("COMMIT_SHA", "SHORT_SHA", "REPO_NAME", "REPO_FULL_NAME", "BRANCH_NAME", "REF_NAME", "TRIGGER_NAME")
OF_A_PULL_REQUEST = ("_HEAD_BRANCH", "_BASE_BRANCH", "_HEAD_REPO_URL", "_PR_NUMBER")
"""What Cloud Build sets itself, for builds of a GitHub trigger the second and for those of a pull request the third."""

_READ = re.compile(r"\$\{?([A-Z_][A-Z0-9_]+)")
_TOKEN = re.compile(r"\$(?:(\$)|([A-Z_][A-Z0-9_]*)|\{([A-Z_][A-Z0-9_]*)\}|)")


class SubstitutionError(Exception):
    """A substitution is missing, unknown or written wrongly."""


def apply(text: str, values: Mapping[str, str]) -> str:
    """The text with every substitution's value in place; values may hold others, which ``dynamicSubstitutions`` allows.

    Raises:
        SubstitutionError: a name is not among the values, or a dollar sign begins none.
    """

    def value(found: re.Match[str]) -> str:
        if found[1]:
            return "$"
        name = found[2] or found[3]
        if name is None:
            raise SubstitutionError(f"{text!r}: a dollar sign that begins no substitution; write it as $$")
        if name not in values:
            raise SubstitutionError(f"{text!r}: there is no substitution {name}")
        return values[name]

    return _TOKEN.sub(value, text)


def used(build: Build) -> set[str]:
    """The names that a build uses in its texts; what its scripts read of the environment is not among them."""
    return {name for text in texts(build) for found in _TOKEN.finditer(text) if (name := found[2] or found[3])}


def required(build: Build, workspace: Path) -> set[str]:
    """The names that a build cannot do without: those of its texts, and those that the scripts it calls read."""
    found = used(build)
    for step in build.steps:
        for script in (step.script or "", *(_text(workspace / each) for each in step.args)):
            found |= set(_READ.findall(script)) & {*ALWAYS, *OF_A_PUSH} | {
                name for name in _READ.findall(script) if name.startswith("_")
            }
        found |= {each for each in step.args if re.fullmatch(r"_[A-Z_]+|[A-Z]+_[A-Z_]+", each)}
    return found


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.parent.name == "cloudbuild" and path.is_file() else ""


def texts(build: Build) -> Iterator[str]:
    """Every text that is subject to substitution."""
    values: dict[str, Any] = build.model_dump(exclude={"substitutions": True, "steps": {"__all__": {"script"}}})

    def walk(value: Any) -> Iterator[str]:
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict | list):
            for each in value.values() if isinstance(value, dict) else value:
                yield from walk(each)

    return walk(values)
