import json
from typing import Any

import pytest

from workloads.cli.main import main
from workloads.runtime import RunPaths, runs_dir
from workloads.storage.atomic import write_json

SWEEP = {
    "metric": "loss",
    "more_is_better": False,
    "best": 1,
    "trials": [
        {
            "trial": number,
            "state": state,
            "parameters": {"learning_rate": rate},
            "metric": metric,
            "steps": steps,
            "seconds": 2.0,
        }
        for number, (state, rate, metric, steps) in enumerate(
            [("pruned", 1e-5, 2.0, 5), ("finished", 1e-3, 0.25, 20), ("waiting", 1e-4, None, None)]
        )
    ],
}


def a_run(sweep: dict[str, Any] | None) -> RunPaths:
    paths = RunPaths(runs_dir() / "search-1a2b3c4d5e")
    write_json(paths.record, {"id": paths.root.name})
    if sweep is not None:
        write_json(paths.sweep, sweep)
    return paths


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main(["sweep", *arguments])
    return int(stop.value.code or 0)


def test_trials_are_shown_the_best_first(capsys: pytest.CaptureFixture[str]) -> None:
    a_run(SWEEP)
    assert run("search") == 0
    heading, *rows = capsys.readouterr().out.splitlines()
    assert heading.split() == ["trial", "learning_rate", "loss", "steps", "state", "seconds"]
    assert [row.split()[0] for row in rows] == ["1", "0", "2"]
    assert rows[0].split() == ["1", "0.001", "0.25", "20", "✓", "finished", "2.0"]


def test_json_is_the_file(capsys: pytest.CaptureFixture[str]) -> None:
    a_run(SWEEP)
    assert run("search", "--json") == 0
    assert json.loads(capsys.readouterr().out) == SWEEP


def test_a_run_without_a_sweep_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    a_run(None)
    assert run("search") == 64
    assert "has no sweep" in capsys.readouterr().err
