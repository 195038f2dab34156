"""Makes the files that come from code: schemas for editors, platform contracts, inventories of what would be deployed.

``--diff`` compares instead of writing. ``--accept-loss ADDRESS`` lets a protected resource go from an environment;
without it nothing is written when one would.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from infra import contract
from infra.errors import EXIT_INPUT, SettingsError
from infra.settings import Environment
from infra.settings_loader import load_all
from scripts import generate_builds, generate_infra, generate_render
from scripts.generate_training_schema import render as training_schema
from workloads.explain.explain import document
from workloads.run_spec import RunSpec

CONFIGS = Path(__file__).parents[1] / "configs"
CAUSES = Path(__file__).parents[1] / "docs" / "why.md"
SCHEMAS = CONFIGS / "schemas"
PLATFORM = CONFIGS / "platform"


def model_schema(model: type[BaseModel]) -> str:
    """A model's JSON Schema as the text of its file."""
    schema: dict[str, Any] = {"$schema": "https://json-schema.org/draft/2020-12/schema", **model.model_json_schema()}
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


SCHEMA_FILES: dict[Path, Callable[[], str]] = {
    SCHEMAS / "environment.schema.json": lambda: model_schema(Environment),
    SCHEMAS / "run.schema.json": lambda: model_schema(RunSpec),
    SCHEMAS / "training.schema.json": training_schema,
}


def generated() -> dict[Path, str]:
    """Every generated file and its text.

    Raises:
        SettingsError: an environment is wrong.
    """
    texts = {path: make() for path, make in SCHEMA_FILES.items()} | {CAUSES: document()}
    for environment in load_all(CONFIGS / "environments"):
        texts[PLATFORM / f"{environment.name}.json"] = contract.render(environment)
    texts |= generate_builds.render()
    return texts | generate_infra.render() | generate_render.render(texts[PLATFORM / "dev.json"])


def main(arguments: list[str]) -> int:
    """Writes every file, or with ``--diff`` returns 1 when one is stale; 64 when an environment is wrong."""
    try:
        texts = generated()
    except SettingsError as error:
        print(error, file=sys.stderr)
        return EXIT_INPUT
    # The contract of an environment that is gone would still let its runs be rendered.
    left_over = [path for path in PLATFORM.glob("*.json") if path not in texts]
    lost = generate_infra.refused(texts, accepted=arguments)
    for loss in lost:
        print(loss, file=sys.stderr)
    if lost:
        return 1
    if "--diff" not in arguments:
        for path, text in texts.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        for path in left_over:
            path.unlink()
        return 0
    stale = [path for path, text in texts.items() if not path.is_file() or path.read_text(encoding="utf-8") != text]
    for path in stale + left_over:
        print(f"stale: {path.relative_to(CONFIGS.parent)} (run `make goldens` and commit it)", file=sys.stderr)
    return 1 if stale or left_over else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
