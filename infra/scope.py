"""What every part of an environment is given: where to add its resources, and what they are named after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from infra.names import Names
from infra.settings import Environment


@dataclass(frozen=True)
class Scope:
    """A Terraform stack of one environment.

    Constructs are added to ``stack`` directly, never nested: the id of a direct child is its Terraform name as it
    stands, without a hash, so code can move between modules and no cluster or bucket is destroyed for it.
    """

    stack: Any
    environment: Environment
    names: Names
    apis: Sequence[Any] = field(default=())
    """Google APIs that must be on before anything else is made: ``depends_on`` of every resource that refers to no
    other one."""
