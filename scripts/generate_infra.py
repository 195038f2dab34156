"""What is generated from the synthesized environments: inventories and lists of ids for review, and the CIS table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from infra.bindings import cdktf
from infra.policy import cis, inventory, logical_ids
from infra.policy.terraform_json import Terraform
from infra.settings_loader import load_all
from infra.stacks import cluster, platform

ROOT = Path(__file__).parents[1]
GOLDENS = ROOT / "tests" / "goldens" / "infra"


def synthesize(environments: Path = ROOT / "configs" / "environments") -> dict[str, dict[str, Terraform]]:
    """Environment -> stack name -> Terraform JSON, without writing anything."""
    app = cdktf.Testing.app()
    found: dict[str, dict[str, Terraform]] = {}
    for environment in load_all(environments):
        stacks = [part.build(app, environment) for part in (cluster, platform)]
        found[environment.name] = {stack.node.id: stack.to_terraform() for stack in stacks}
    return found


def ids_path(environment: str) -> Path:
    """Where the committed addresses of an environment are."""
    return GOLDENS / f"{environment}.ids.txt"


def render() -> dict[Path, str]:
    """Path -> text of every file."""
    files = {ROOT / "docs" / "cis-gke.md": cis.table()}
    for name, stacks in synthesize().items():
        files[GOLDENS / f"{name}.inventory.yaml"] = inventory.inventory(*stacks.items())
        files[ids_path(name)] = logical_ids.listing(*stacks.values())
    return files


def refused(texts: Mapping[Path, str], accepted: Iterable[str]) -> list[logical_ids.Loss]:
    """Protected resources that the committed lists of ids have and ``texts`` has not, unless accepted by address."""
    allowed = set(accepted)
    return [
        loss
        for path, text in texts.items()
        if path.name.endswith(".ids.txt") and path.is_file()
        for loss in logical_ids.refused(path.read_text(encoding="utf-8"), text, allowed)
    ]
