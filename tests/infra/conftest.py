from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.bindings import cdktf
from infra.names import Names
from infra.scope import Scope
from infra.settings import Environment

ENVIRONMENTS = Path(__file__).parents[2] / "configs" / "environments"


def read_environment(name: str, **changes: Any) -> Environment:
    """A committed environment, with some of its top-level keys set otherwise."""
    values = yaml.safe_load((ENVIRONMENTS / f"{name}.yaml").read_text(encoding="utf-8"))
    return Environment.model_validate({**values, **changes})


@pytest.fixture
def environment() -> Callable[..., Environment]:
    """``environment("dev", region=...)``."""
    return read_environment


@pytest.fixture
def synthesize() -> Callable[..., dict[str, Any]]:
    """``synthesize(part, environment)``: the Terraform JSON of a stack in which ``part(scope)`` was called."""

    def run(part: Callable[[Scope], object], environment: Environment) -> dict[str, Any]:
        stack = cdktf.TerraformStack(cdktf.Testing.app(), "stack")
        part(Scope(stack, environment, Names(environment)))
        terraform: dict[str, Any] = stack.to_terraform()
        return terraform

    return run


@pytest.fixture(scope="session")
def stacks() -> dict[str, dict[str, Any]]:
    """Environment -> stack name -> Terraform JSON, of the three committed environments."""
    from scripts.generate_infra import synthesize as all_stacks

    return {name: dict(found) for name, found in all_stacks().items()}
