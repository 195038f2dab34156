"""The platform contract: plain JSON, whole, and the committed files are what the code makes of the environments."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infra.contract import contract, render
from infra.settings import Environment

CONFIGS = Path(__file__).parents[2] / "configs"
ENVIRONMENTS = sorted(path.stem for path in (CONFIGS / "environments").glob("*.yaml"))
EnvironmentOf = Callable[..., Environment]


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_it_is_the_same_after_a_round_trip_through_json(environment: EnvironmentOf, name: str) -> None:
    made = contract(environment(name))
    assert json.loads(render(environment(name))) == made
    assert render(environment(name)) == render(environment(name))


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_every_reference_in_it_leads_somewhere(environment: EnvironmentOf, name: str) -> None:
    made = contract(environment(name))
    roles = set(made["service_accounts"])
    assert set(made["stages"].values()) <= roles
    readers = {role for secret in made["secrets"].values() for role in secret["roles"] if not secret["optional"]}
    assert readers == set(made["secret_classes"]) <= roles
    assert set(made["grace_seconds"]) == {"spot", "on-demand"}
    for pool in made["pools"].values():
        assert set(pool["zones"]) <= set(made["zones"])
        assert (pool["gpus"] > 0) == (pool["accelerator"] is not None) == (pool["scratch_gb"] > 0)


def test_optional_controllers_are_named_only_where_they_are_on(environment: EnvironmentOf) -> None:
    on = contract(environment("dev", controllers={"keda": True, "argo_cd": True}))["controllers"]
    off = contract(environment("dev", controllers={"keda": False, "argo_cd": False}))["controllers"]
    assert on.keys() - off.keys() == {"keda", "argo-cd"}
    assert off.keys() >= {"argo-workflows", "jobset", "kueue"}


def test_it_holds_no_secret_and_no_person(environment: EnvironmentOf) -> None:
    prod = environment("prod")
    assert prod.budget is not None
    text = render(prod)
    assert not any(email in text for email in prod.budget.emails)
    assert prod.budget.billing_account not in text


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_the_committed_file_is_up_to_date(environment: EnvironmentOf, name: str) -> None:
    committed = (CONFIGS / "platform" / f"{name}.json").read_text(encoding="utf-8")
    assert committed == render(environment(name)), "run `make goldens` and commit it"


def test_no_contract_outlives_its_environment() -> None:
    assert sorted(path.stem for path in (CONFIGS / "platform").glob("*.json")) == ENVIRONMENTS


def _descriptions(schema: dict[str, Any]) -> dict[str, bool]:
    """``Model.key`` -> whether an editor has something to show for it; a key may leave that to the model it names."""
    models = {"Environment": schema, **schema["$defs"]}
    return {
        f"{model}.{key}": "description" in field
        or "description" in models.get(str(field.get("$ref", "")).rpartition("/")[2], {})
        for model, each in models.items()
        for key, field in each["properties"].items()
    }


def test_the_editor_schema_is_up_to_date_and_describes_every_key() -> None:
    schema = json.loads((CONFIGS / "schemas" / "environment.schema.json").read_text(encoding="utf-8"))
    made = Environment.model_json_schema()
    assert {key: value for key, value in schema.items() if key != "$schema"} == made
    assert [key for key, described in _descriptions(made).items() if not described] == []
