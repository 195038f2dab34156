"""Terraform's values as Python's: dict for objects and maps, list for lists and sets, None for null, ``UNKNOWN``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

import msgpack  # type: ignore[import-untyped]

from terraform_provider.protocol import SINGLE, message


class _Unknown:
    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN: Final = _Unknown()
"""A value that is known only after the apply."""

_UNKNOWN_CODES = (0, 12)
"""Extension types of docs/plugin-protocol/object-wire-format.md: unknown, and unknown with what is known of it."""


def _extension(code: int, data: bytes) -> Any:
    if code not in _UNKNOWN_CODES:
        raise ValueError(f"extension type {code} is none of Terraform's")
    return UNKNOWN


def _default(value: Any) -> Any:
    if value is UNKNOWN:
        return msgpack.ExtType(0, b"\0")
    raise TypeError(f"{type(value).__name__} is no value of Terraform's")


def decode(dynamic: Any) -> Any:
    """The value of a ``DynamicValue``."""
    if dynamic.msgpack:
        return msgpack.unpackb(dynamic.msgpack, ext_hook=_extension, strict_map_key=False)
    return json.loads(dynamic.json) if dynamic.json else None


def encode(value: Any) -> Any:
    """The ``DynamicValue`` of a value."""
    return message["DynamicValue"](msgpack=msgpack.packb(value, default=_default))


def conform(block: Any, value: dict[str, Any]) -> dict[str, Any]:
    """A value with every attribute and block of its schema, and nothing else: what Terraform expects back."""
    result = {each.name: conform_type(json.loads(each.type), value.get(each.name)) for each in block.attributes}
    for each in block.block_types:
        inner = value.get(each.type_name)
        if each.nesting == SINGLE:
            result[each.type_name] = None if inner is None else conform(each.block, inner)
        else:
            result[each.type_name] = [conform(each.block, item) for item in inner or ()]
    return result


def conform_type(kind: Any, value: Any) -> Any:
    """As ``conform``, for a value of a type such as ``["list", ["object", {"name": "string"}]]``."""
    if value is None or value is UNKNOWN or isinstance(kind, str):
        return value
    if kind[0] == "object":
        return {name: conform_type(inner, value.get(name)) for name, inner in kind[1].items()}
    if kind[0] == "map":
        return {key: conform_type(kind[1], inner) for key, inner in value.items()}
    return [conform_type(kind[1], inner) for inner in (value if isinstance(value, list) else [value])]


def find(value: Any, path: str) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Every place that a dotted path reaches, through lists and blocks, and what is there; null and absent are not."""
    head, _, rest = path.partition(".")
    if not isinstance(value, dict):
        return
    inner = value.get(head)
    items = list(enumerate(inner)) if rest and isinstance(inner, list) else [(None, inner)]
    for index, item in items:
        place: tuple[str | int, ...] = (head,) if index is None else (head, index)
        if rest:
            yield from ((place + deeper, found) for deeper, found in find(item, rest))
        elif item is not None and item != []:
            yield place, item


def attribute_path(place: tuple[str | int, ...]) -> Any:
    """The ``AttributePath`` of a place."""
    step = message["Step"]
    steps = [step(attribute_name=part) if isinstance(part, str) else step(element_key_int=part) for part in place]
    return message["AttributePath"](steps=steps)
