"""Reads a YAML or JSON config into the values that LLaMA-Factory would see, and remembers the line of each key.

LLaMA-Factory reads configs by OmegaConf: PyYAML without timestamps, with floats as YAML 1.2 writes them (``1e-4``),
and with duplicate keys refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from workloads.errors import InputError, Problem, did_you_mean

try:
    from yaml import CSafeLoader as _BaseLoader
except ImportError:  # PyYAML was built without libyaml
    from yaml import SafeLoader as _BaseLoader  # type: ignore[assignment]

COMMAND_LINE = "command line"
"""Stands in a problem's ``file`` for a value that an override gave."""

_MERGE_TAG = "tag:yaml.org,2002:merge"


@dataclass(frozen=True)
class LoadedConfig:
    """What one config file says.

    Attributes:
        path: the file.
        values: key to value, as LLaMA-Factory gets them; ``${...}`` stands as written.
        lines: the line of each top-level key, from 1.
        overridden: the keys whose value came from the command line.
    """

    path: Path
    values: dict[str, Any]
    lines: dict[str, int]
    overridden: frozenset[str] = frozenset()

    def problem(self, key: str | None, message: str, fix: str, code: str, *, suggestion: str | None = None) -> Problem:
        """A problem at the place where ``key`` was given."""
        from_command_line = key in self.overridden
        return Problem(
            message,
            fix,
            file=COMMAND_LINE if from_command_line else str(self.path),
            key=key,
            line=None if from_command_line or key is None else self.lines.get(key),
            suggestion=suggestion,
            code=code,
        )


class ConfigLoader(_BaseLoader):
    """PyYAML's safe loader, reading scalars as OmegaConf does."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's own class attribute, copied so that its loader stays as it is
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in _BaseLoader.yaml_implicit_resolvers.items()
    }


# PyYAML wants a point and a signed exponent; OmegaConf, as YAML 1.2, neither.
ConfigLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?\d+(?:_\d+)*(?:\.[\d_]*)?[eE][-+]?\d+$", re.ASCII),
    list("-+0123456789"),
)


def load_config(path: Path) -> LoadedConfig:
    """Reads a training config or a run spec.

    Raises:
        InputError: the file is missing, unreadable, not UTF-8, empty, not a mapping of names to values, not valid
            YAML or JSON, or names a key twice; with the line where one is known.
    """
    text = _read(path)
    values, lines = _load_json(path, text) if path.suffix == ".json" else _load_yaml(path, text)
    wrong = [key for key in values if not isinstance(key, str)]
    if wrong:
        raise InputError(
            [
                Problem(
                    f"{key!r} is not a name: YAML reads it as a {type(key).__name__}.",
                    "put it in quotes, or remove it",
                    file=str(path),
                    line=lines.get(str(key)),
                    code="syntax",
                )
                for key in wrong
            ]
        )
    return LoadedConfig(path, values, lines)


def parse_value(text: str) -> Any:
    """One value as YAML, read by the rules of a config file.

    Raises:
        yaml.YAMLError: the text is not YAML.
    """
    return yaml.load(text, Loader=ConfigLoader)  # noqa: S506 - a subclass of the safe loader


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        folder = path.parent
        names = [each.name for each in folder.iterdir()] if folder.is_dir() else []
        raise InputError.of(
            "There is no such file.", "check the path", file=path, suggestion=did_you_mean(path.name, names)
        ) from None
    except UnicodeDecodeError as error:
        raise InputError.of(
            f"The file is not UTF-8: byte {error.start} cannot be read.", "save it as UTF-8", file=path
        ) from None
    except OSError as error:
        raise InputError.of(
            f"The file cannot be read: {error.strerror}.", "name a readable config file", file=path
        ) from None


def _load_json(path: Path, text: str) -> tuple[dict[str, Any], dict[str, int]]:
    repeated: list[str] = []

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        repeated.extend(name for number, name in enumerate(names) if name in names[:number])
        return dict(pairs)

    try:
        values = json.loads(text, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        raise _syntax_error(path, error.msg, error.lineno) from None
    except RecursionError:
        raise _syntax_error(path, "it is nested too deeply", None) from None
    if not isinstance(values, dict) or not values:
        raise _not_a_mapping(path, values)
    lines = {}
    for key in values:
        found = re.search(re.escape(json.dumps(key, ensure_ascii=False)) + r"\s*:", text)
        if found:
            lines[key] = text.count("\n", 0, found.start()) + 1
    if repeated:
        raise InputError([_repeated(path, name, lines.get(name)) for name in repeated])
    return values, lines


def _load_yaml(path: Path, text: str) -> tuple[dict[str, Any], dict[str, int]]:
    try:
        loader = ConfigLoader(text)
        try:
            node = loader.get_single_node()
            if not isinstance(node, yaml.MappingNode) or not node.value:
                raise _not_a_mapping(path, None if node is None else loader.construct_document(node))
            repeated = list(_repeated_keys(node, (), set()))
            if repeated:
                raise InputError([_repeated(path, name, line) for name, line in repeated])
            lines = {str(key.value): key.start_mark.line + 1 for key, _ in node.value if key.tag != _MERGE_TAG}
            return loader.construct_document(node), lines
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = ", ".join(part for part in (error.context, error.problem) if part)
        raise _syntax_error(path, what, None if mark is None else mark.line + 1) from None
    except yaml.YAMLError as error:
        raise _syntax_error(path, " ".join(str(error).split()), None) from None
    except (ValueError, RecursionError) as error:
        # a scalar that looks like a number and is none, such as 0o9, or lists nested beyond Python's stack
        raise _syntax_error(path, str(error), None) from None


def _repeated_keys(node: yaml.Node, parents: tuple[yaml.Node, ...], done: set[yaml.Node]) -> Iterator[tuple[str, int]]:
    """Every key that a mapping names again, at any depth, with its line; a node with aliases is looked at once."""
    if node in parents:
        raise yaml.MarkedYAMLError(problem="an alias contains itself", problem_mark=node.start_mark)
    if node in done:
        return
    parents = (*parents, node)
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != _MERGE_TAG:
                if key.value in seen:
                    yield key.value, key.start_mark.line + 1
                seen.add(key.value)
            yield from _repeated_keys(value, parents, done)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _repeated_keys(value, parents, done)
    done.add(node)


def _repeated(path: Path, name: str, line: int | None) -> Problem:
    return Problem(
        "This key is written twice.",
        "keep one of the two",
        file=str(path),
        key=name,
        line=line,
        code="repeated-key",
    )


def _not_a_mapping(path: Path, value: Any) -> InputError:
    what = "The file is empty." if not value else f"The file holds a {type(value).__name__}, not names with values."
    return InputError(Problem(what, "write lines such as `stage: sft`", file=str(path), code="syntax"))


def _syntax_error(path: Path, what: str, line: int | None) -> InputError:
    kind = "JSON" if path.suffix == ".json" else "YAML"
    return InputError(
        Problem(f"This is not valid {kind}: {what}.", "correct the line", file=str(path), line=line, code="syntax")
    )
