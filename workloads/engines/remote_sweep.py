"""The trials of a sweep on an environment, as they are in the store now."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from workloads.run_spec import RunSpec
from workloads.runtime import RunPaths
from workloads.storage.objects import Store
from workloads.sweep.results import RESULT, TrialResult, summary
from workloads.sweep.rungs import rungs


def read_sweep(store: Store, run_id: str) -> dict[str, Any] | None:
    """What sweep.json would say now, also between two choices; None for a run that is not there or has no sweep.

    Raises:
        UnavailableError: the store does not answer.
    """
    here = RunPaths(Path())
    record = _json(store.read(f"{run_id}/{here.record.name}"))
    if record is None or not record.get("trials"):
        return None
    sweep = RunSpec.model_validate(record["spec"]).sweep
    if sweep is None:
        return None
    results = [
        TrialResult.parse(_json(store.read(f"{run_id}/{here.trial(number).as_posix()}/{RESULT}")), number, parameters)
        for number, parameters in enumerate(record["trials"])
    ]
    over = store.read(f"{run_id}/{here.marker('train').as_posix()}") is not None
    return summary(sweep, results, rungs(sweep, len(results)), over=over)


def _json(content: bytes | None) -> Any:
    try:
        return None if content is None else json.loads(content)
    except ValueError:
        return None
