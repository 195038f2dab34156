"""The keys that LLaMA-Factory knows, and whether one value fits its key.

The facts come from configs/schemas/training.schema.json, which scripts/generate_training_schema.py derives from the
installed LLaMA-Factory: nothing here imports it.
"""

from __future__ import annotations

import json
import operator
import re
import reprlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from workloads.errors import Problem, TuneryError, did_you_mean
from workloads.training_config.loader import LoadedConfig

_NAME = "training.schema.json"
_IN_WHEEL = Path(__file__).with_name(_NAME)
SCHEMA_FILE = _IN_WHEEL if _IN_WHEEL.exists() else Path(__file__).resolve().parents[2] / "configs" / "schemas" / _NAME

_PYTHON_TYPES: dict[str, tuple[type, ...]] = {
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    "string": (str,),
    "object": (dict,),
    "array": (list,),
    "null": (type(None),),
}
_TYPE_WORDS = {
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "object": "a mapping",
    "array": "a list",
    "null": "null",
}
_BOUNDS = {
    "minimum": ("at least", operator.ge),
    "exclusiveMinimum": ("more than", operator.gt),
    "maximum": ("at most", operator.le),
    "exclusiveMaximum": ("less than", operator.lt),
}
_MAX_NAMED = 12  # a longer list of allowed values hides the message


@cache
def load_schema() -> Mapping[str, Any]:
    """The generated JSON Schema.

    Raises:
        TuneryError: the installation is damaged.
    """
    try:
        schema: Mapping[str, Any] = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        problem = Problem(f"The schema cannot be read: {error}.", "install tunery again", file=str(SCHEMA_FILE))
        raise TuneryError(problem) from error
    return schema


def properties() -> Mapping[str, Mapping[str, Any]]:
    """Key to its JSON Schema."""
    found: Mapping[str, Mapping[str, Any]] = load_schema()["properties"]
    return found


def facts() -> Mapping[str, Any]:
    """What else the checks need to know about LLaMA-Factory: ``versions``, ``comma_lists``, ``loggers`` and more."""
    found: Mapping[str, Any] = load_schema()["x-tunery"]
    return found


def check_keys(config: LoadedConfig) -> list[Problem]:
    """Keys that LLaMA-Factory does not know."""
    known = properties()
    return [
        config.problem(
            key,
            "LLaMA-Factory has no such key.",
            "correct its spelling, or remove it",
            "unknown-key",
            suggestion=did_you_mean(key, known),
        )
        for key in config.values
        if key not in known
    ]


def check_values(config: LoadedConfig) -> list[Problem]:
    """Values whose type, name or size does not fit their key."""
    found = (
        check_value(config, key, value, properties()[key])
        for key, value in config.values.items()
        if key in properties()
    )
    return [problem for problem in found if problem is not None]


def check_value(config: LoadedConfig, key: str, value: Any, schema: Mapping[str, Any]) -> Problem | None:
    """What is wrong with one value, or None."""
    kind = next((kind for kind in schema["type"] if _is(value, kind)), None)
    if kind is None:
        return _wrong_type(config, key, value, schema)
    if kind in ("integer", "number"):
        return _out_of_bounds(config, key, value, schema)
    if value is not None and "enum" in schema:
        return _unknown_name(config, key, value, schema["enum"])
    if kind in ("array", "string") and "items" in schema:
        parts = value if kind == "array" else _words(key, value)
        for part in parts:
            if "enum" in schema["items"]:
                problem = _unknown_name(config, key, part, schema["items"]["enum"])
            elif not _is(part, schema["items"]["type"]):
                problem = _wrong_type(config, key, part, {"type": [schema["items"]["type"]]})
            else:
                problem = None
            if problem is not None:
                return problem
    return None


def _words(key: str, value: str) -> list[str]:
    """The single values that one string holds."""
    if key in facts()["comma_lists"]:
        return []  # names of modules and data sets, or checked with their own rule
    return value.split() if "x-words" in properties()[key] else [value]


def _is(value: Any, kind: str) -> bool:
    # To Python a bool is an int; to a reader of a config it is not.
    return isinstance(value, _PYTHON_TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool))


def _wrong_type(config: LoadedConfig, key: str, value: Any, schema: Mapping[str, Any]) -> Problem:
    wanted = " or ".join(_TYPE_WORDS[kind] for kind in schema["type"])
    shown = reprlib.repr(value)
    fix = f"write {wanted}"
    if isinstance(value, str) and re.fullmatch(r"true|false|[-+.\d][-+.\deE]*", value, re.IGNORECASE):
        fix += ", without quotes"
    elif isinstance(value, float) and value.is_integer() and "integer" in schema["type"]:
        fix = f"write {int(value)}"
    elif isinstance(value, (int, float)) and "string" in schema["type"]:
        fix = f'put it in quotes: "{str(value).lower() if isinstance(value, bool) else value}"'
    elif value is None:
        fix += ", or remove the key"
    default = schema.get("default")
    if default is not None:
        fix += f" (the default is {json.dumps(default)})"
    return config.problem(key, f"{shown} is not {wanted}.", fix, "wrong-type")


def _unknown_name(config: LoadedConfig, key: str, value: Any, names: list[Any]) -> Problem | None:
    if value in names:
        return None
    texts = [name for name in names if isinstance(name, str)]
    listed = ", ".join(texts[:_MAX_NAMED]) + (f" and {len(texts) - _MAX_NAMED} more" if len(texts) > _MAX_NAMED else "")
    return config.problem(
        key,
        f"{reprlib.repr(value)} is not one of its values.",
        f"write one of {listed}",
        "unknown-value",
        suggestion=did_you_mean(value.lower(), texts) if isinstance(value, str) else None,
    )


def _out_of_bounds(config: LoadedConfig, key: str, value: float, schema: Mapping[str, Any]) -> Problem | None:
    for name, (words, holds) in _BOUNDS.items():
        if name in schema and not holds(value, schema[name]):
            wanted = " and ".join(f"{_BOUNDS[each][0]} {schema[each]}" for each in _BOUNDS if each in schema)
            return config.problem(key, f"{value} is not {words} {schema[name]}.", f"write {wanted}", "out-of-range")
    return None
