"""The build files for a private pool, made from those without one.

A file of its own, because Cloud Build refuses an empty pool's name: one file cannot serve both.
"""

from __future__ import annotations

from pathlib import Path

from infra.parts.builds import CONFIGS, IMAGES, private_file

ROOT = Path(__file__).parents[1]
_OPTIONS = "\noptions:\n"
_HEADER = "# Made from {} by `make goldens`: the same steps, in the environment's private pool.\n"


def private(text: str, name: str = "cloudbuild.yaml") -> str:
    """The text of a build file with the pool in its options, and its comment replaced."""
    if text.count(_OPTIONS) != 1:
        raise ValueError(f"{name} has no options of its own")
    lines = text.splitlines(keepends=True)
    first = next(number for number, line in enumerate(lines) if not line.startswith("#"))
    body = "".join(lines[first:]).replace(_OPTIONS, f"{_OPTIONS}  pool:\n    name: ${{_POOL}}\n")
    return _HEADER.format(name) + body


def render() -> dict[Path, str]:
    """Every such file and its text."""
    return {ROOT / private_file(file): private((ROOT / file).read_text(encoding="utf-8")) for file in (IMAGES, CONFIGS)}
