"""``key=value`` on the command line, read as LLaMA-Factory reads it."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import yaml

from workloads.errors import InputError, Problem
from workloads.training_config.loader import COMMAND_LINE, LoadedConfig, parse_value


def apply_overrides(config: LoadedConfig, overrides: Sequence[str]) -> LoadedConfig:
    """A config with values from the command line put over those of the file; the last of two wins.

    Args:
        overrides: ``key=value``, the value as YAML: ``learning_rate=5e-5``, ``resume_from_checkpoint=null``,
            ``dataset=[a,b]``, ``default_system="Be brief."``. A point goes into a mapping: ``fsdp_config.xla=true``.

    Raises:
        InputError: for every override without a key, without ``=``, or whose value is not YAML.
    """
    values = copy.deepcopy(config.values)
    changed: set[str] = set()
    problems: list[Problem] = []
    for text in overrides:
        name, equals, written = text.partition("=")
        names = name.strip().split(".")
        if not equals or not all(names):
            problems.append(
                _problem(name or None, f"{text!r} is not key=value.", "write for example learning_rate=5e-5")
            )
            continue
        try:
            value = parse_value(written)
        except (yaml.YAMLError, ValueError) as error:
            what = " ".join(str(getattr(error, "problem", None) or error).split())
            problems.append(_problem(name, f"The value is not valid YAML: {what}.", 'put text in quotes: key="a: b"'))
            continue
        _put(values, names, value)
        changed.add(names[0])
    if problems:
        raise InputError(problems)
    return replace(config, values=values, overridden=config.overridden | changed)


def _put(values: dict[str, Any], names: Sequence[str], value: Any) -> None:
    """Sets a value at a place; a mapping is merged into one that is there."""
    name, *rest = names
    if rest or isinstance(value, dict):
        if not isinstance(values.get(name), dict):
            values[name] = {}
        for inner, each in [(rest, value)] if rest else [([key], each) for key, each in value.items()]:
            _put(values[name], inner, each)
    else:
        values[name] = value


def _problem(key: str | None, message: str, fix: str) -> Problem:
    return Problem(message, fix, file=COMMAND_LINE, key=key, code="syntax")
