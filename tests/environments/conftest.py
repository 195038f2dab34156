from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from workloads import platform as contracts
from workloads import prices as price_lists
from workloads.platform import Platform
from workloads.prices import PriceList


@pytest.fixture
def contract(repository: Path) -> Callable[..., Platform]:
    """``contract("prod", egress=True)``: a committed contract, with some of its top-level fields set otherwise."""

    def read(environment: str, **changes: Any) -> Platform:
        found = contracts.load(environment, repository / "configs" / "platform")
        return Platform.model_validate(found.model_dump(mode="json") | changes)

    return read


@pytest.fixture
def price_list(repository: Path) -> PriceList:
    """The committed price list."""
    return price_lists.load(repository / "configs" / "prices.json")


@pytest.fixture
def shown(tmp_path: Path) -> Callable[[Any], Path]:
    """Writes a JSON value to a file, as `terraform show -json > FILE` does."""

    def write(value: Any) -> Path:
        path = tmp_path / "shown.json"
        path.write_text(json.dumps(value))
        return path

    return write


@pytest.fixture
def state(shown: Callable[[Any], Path]) -> Callable[..., Path]:
    """``state({"type": ..., "id": ..., **values})``: a shown state with these resources."""

    def write(*resources: dict[str, Any]) -> Path:
        module = {"resources": [_common(each) | {"values": _values(each)} for each in resources]}
        return shown({"format_version": "1.0", "terraform_version": "1.11.4", "values": {"root_module": module}})

    return write


@pytest.fixture
def plan(shown: Callable[[Any], Path]) -> Callable[..., Path]:
    """``plan({"type": ..., "actions": [...], "replace_paths": [...], "action_reason": ...})``: a shown plan."""

    def write(*changes: dict[str, Any]) -> Path:
        found = []
        for each in changes:
            change = {key: each[key] for key in ("actions", "replace_paths") if key in each}
            change["before"] = {"name": each.get("id", "it")}
            more = {key: each[key] for key in ("action_reason", "deposed") if key in each}
            found.append(_common(each) | {"change": change} | more)
        return shown({"format_version": "1.2", "terraform_version": "1.11.4", "resource_changes": found})

    return write


def _common(values: dict[str, Any]) -> dict[str, Any]:
    kind, id_ = values["type"], values.get("id", "it")
    return {"address": f"{kind}.{id_}", "mode": values.get("mode", "managed"), "type": kind, "name": id_}


def _values(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in ("type", "id", "mode")}
