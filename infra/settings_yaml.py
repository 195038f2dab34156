"""YAML as an environment uses it: plain values, and for each key the line that it is on.

PyYAML's own loader follows YAML 1.1, which reads ``22:00`` as 1,320, ``no`` as false and keeps the last of two equal
keys. Here scalars follow YAML 1.2 (core schema), an equal key is an error, and aliases and tags, which no environment
needs and which can make a small file huge, are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from infra.errors import Problem, SettingsError

Location = tuple[str | int, ...]
"""Keys and, for items of a list, positions from 0."""

MAX_BYTES = 256 * 1024
TAG = "tag:yaml.org,2002:"


def key_of(location: Location) -> str | None:
    """``pools.l4x1.machine``; what cannot be printed is escaped. None for the file as a whole."""
    name = ".".join(str(part) for part in location)
    return (name if name.isprintable() else ascii(name)[1:-1]) or None


@dataclass(slots=True)
class Source:
    """One file: its values, where they stand, and what is already wrong with it.

    Attributes:
        values: what JSON could hold too: dict, list, str, int, float, bool and None.
        lines: the line of each key and list item, from 1.
        texts: what stands in the file for each value that is not a string, such as ``1.30`` for the number 1.3.
    """

    file: str
    values: dict[str, Any] = field(default_factory=dict)
    lines: dict[Location, int] = field(default_factory=dict)
    texts: dict[Location, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def problem(self, location: Location, message: str, fix: str) -> Problem:
        """A problem at a key, or at the nearest key above it that stands in the file."""
        above = (location[:length] for length in range(len(location), 0, -1))
        line = next((self.lines[place] for place in above if place in self.lines), None)
        return Problem(message, fix, self.file, key_of(location), line)


def read(path: Path) -> Source:
    """Reads one file.

    Raises:
        SettingsError: the file cannot be read, or is no YAML mapping.
    """
    source = Source(str(path))
    loader = None
    try:
        loader = _Loader(_text(path))
        node = loader.get_single_node()
        if not isinstance(node, yaml.MappingNode):
            raise SettingsError(
                [Problem("This file has no keys.", "start it with `name:`; configs/environments/dev.yaml", source.file)]
            )
        source.values = _value(node, (), source)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = " ".join(str(error.problem or error.context).split())
        line = None if mark is None else mark.line + 1
        raise SettingsError(
            [Problem(f"This is not YAML: {what}.", "correct this line", source.file, line=line)]
        ) from None
    except yaml.YAMLError as error:
        what = " ".join(str(error).split())
        raise SettingsError([Problem(f"This is not YAML: {what}.", "remove that character", source.file)]) from None
    except RecursionError:
        raise SettingsError([Problem("Lists are nested too deeply.", "write fewer levels", source.file)]) from None
    finally:
        if loader is not None:
            loader.dispose()
    return source


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise SettingsError([Problem("There is no such file.", "check its name", str(path))]) from None
    except (OSError, ValueError) as error:
        what = error.strerror if isinstance(error, OSError) else str(error)
        raise SettingsError([Problem(f"It cannot be read: {what}.", "name a readable file", str(path))]) from None
    if len(data) > MAX_BYTES:
        raise SettingsError([Problem("It is longer than 256 KiB.", "keep only the environment's settings", str(path))])
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise SettingsError([Problem("It is not UTF-8.", "save it as UTF-8", str(path), line=line)]) from None


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers = {}  # noqa: RUF012 (PyYAML copies the parent's when a class has none of its own)

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            event: Any = self.peek_event()  # type: ignore[no-untyped-call]
            problem = "aliases (*name) are not read here, write the value again"
            raise yaml.composer.ComposerError(None, None, problem, event.start_mark)
        return super().compose_node(parent, index)


for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+", list("-+0123456789")),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", list("-+.0123456789")),
):
    _Loader.add_implicit_resolver(TAG + _tag, re.compile(f"^(?:{_pattern})$"), _first)


def _value(node: Any, location: Location, source: Source) -> Any:
    if isinstance(node, yaml.MappingNode) and node.tag == TAG + "map":
        return {key: _value(inner, (*location, key), source) for key, inner in _keys(node, location, source)}
    if isinstance(node, yaml.SequenceNode) and node.tag == TAG + "seq":
        for number, inner in enumerate(node.value):
            source.lines[(*location, number)] = inner.start_mark.line + 1
        return [_value(inner, (*location, number), source) for number, inner in enumerate(node.value)]
    if not isinstance(node, yaml.ScalarNode) or node.tag.removeprefix(TAG) not in _SCALARS:
        source.problems.append(source.problem(location, f"The tag {node.tag!r} is not read here.", "remove it"))
        return None
    if node.tag != TAG + "str":
        source.texts[location] = node.value
    elif not _is_text(node.value):
        source.problems.append(source.problem(location, "This is not a Unicode text.", "remove the \\u escape"))
        return None
    try:
        return _SCALARS[node.tag.removeprefix(TAG)](node.value)
    except (KeyError, ValueError):
        source.problems.append(source.problem(location, f"{node.value[:40]!r} has another type.", "remove its tag"))
        return None


def _keys(node: Any, location: Location, source: Source) -> Iterator[tuple[str, Any]]:
    """The keys of a mapping with their nodes; notes the line of each, and refuses a second one of the same name."""
    for key_node, inner in node.value:
        line = key_node.start_mark.line + 1
        key = key_node.value
        if not isinstance(key_node, yaml.ScalarNode) or not _is_text(key):
            message, fix = "A key must be a word.", "write `key: value`"
            source.problems.append(Problem(message, fix, source.file, key_of(location), line))
        elif (first := source.lines.get((*location, key))) is not None:
            message, fix = f"This key is already on line {first}.", "keep one of the two"
            source.problems.append(Problem(message, fix, source.file, key_of((*location, key)), line))
        else:
            source.lines[(*location, key)] = line
            yield key, inner


def _is_text(value: str) -> bool:
    """Whether UTF-8 can hold it: a lone half of a surrogate pair, which YAML can write as an escape, cannot."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _float(text: str) -> float | str:
    number = float(text)
    return number if abs(number) < float("inf") else text


_SCALARS: dict[str, Any] = {
    "str": str,
    "null": lambda _text: None,
    "bool": lambda text: {"true": True, "false": False}[text.lower()],
    "int": int,
    "float": _float,
}
