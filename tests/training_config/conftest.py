from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from workloads.errors import Problem
from workloads.training_config import LoadedConfig, check_config

GOOD: dict[str, Any] = {
    "model_name_or_path": "organisation/model",
    "stage": "sft",
    "do_train": True,
    "dataset": "mine",
    "template": "llama3",
}

Check = Callable[..., list[Problem]]


@pytest.fixture
def check(tmp_path: Path) -> Check:
    """Checks a good config after changes; a value of None takes a key out."""

    def run(changes: dict[str, Any] | None = None, **options: Any) -> list[Problem]:
        values = {key: value for key, value in {**GOOD, **(changes or {})}.items() if value is not None}
        config = LoadedConfig(tmp_path / "config.yaml", values, {key: line for line, key in enumerate(values, start=1)})
        return check_config(config, **{"data": False, **options})

    return run
