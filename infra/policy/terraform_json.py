"""Reading a stack's Terraform JSON (``cdk.tf.json``)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Terraform = Mapping[str, Any]


@dataclass(frozen=True)
class Resource:
    """One resource of a stack, with its arguments as Terraform's JSON syntax writes them."""

    type: str
    name: str
    arguments: Mapping[str, Any]

    @property
    def address(self) -> str:
        """``type.name``: what Terraform's state knows it by."""
        return f"{self.type}.{self.name}"

    @property
    def is_protected(self) -> bool:
        """Whether Terraform refuses to destroy it."""
        return bool(self.get("lifecycle.prevent_destroy"))

    def get(self, path: str, default: Any = None) -> Any:
        """The argument at a dotted path; a block that is written as a list of one is entered."""
        value: Any = self.arguments
        for key in path.split("."):
            if isinstance(value, list) and len(value) == 1:
                value = value[0]
            if not isinstance(value, Mapping) or key not in value:
                return default
            value = value[key]
        return value


def resources(terraform: Terraform, *types: str) -> Iterator[Resource]:
    """Every resource of the stack, or those of the given types, in the order of their addresses."""
    found = terraform.get("resource", {})
    for kind in sorted(found):
        if types and kind not in types:
            continue
        for name in sorted(found[kind]):
            arguments = {key: value for key, value in found[kind][name].items() if key != "//"}
            yield Resource(kind, name, arguments)
