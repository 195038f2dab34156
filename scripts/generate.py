"""Makes the files that come from code: JSON Schemas for editors. ``--diff`` compares instead of writing."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

from scripts.generate_training_schema import render as training_schema
from workloads.run_spec import RunSpec

SCHEMAS = Path(__file__).parents[1] / "configs" / "schemas"


def _run_schema() -> str:
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **RunSpec.model_json_schema()}
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


GENERATED: dict[Path, Callable[[], str]] = {
    SCHEMAS / "run.schema.json": _run_schema,
    SCHEMAS / "training.schema.json": training_schema,
}


def main(arguments: list[str]) -> int:
    """Writes every file, or with ``--diff`` returns 1 when one is stale."""
    stale = []
    for path, make in GENERATED.items():
        text = make()
        if "--diff" in arguments:
            if not path.is_file() or path.read_text(encoding="utf-8") != text:
                stale.append(path)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    for path in stale:
        print(f"stale: {path.relative_to(SCHEMAS.parents[1])} (run `make goldens` and commit it)", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
