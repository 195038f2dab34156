"""The fault table in short: some of its rows for real, and what is said of the others."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.faults import exhaustive, gangs, stores, table
from benchmarks.faults.boundaries import Boundary
from benchmarks.faults.campaign import Result
from benchmarks.faults.document import page
from benchmarks.faults.playing import Fault, Outcome

FAULTS = [
    *table.SIGNALS,
    *table.DISKS,
    *table.DAMAGES,
    *table.OTHERS,
    *gangs.GANGS,
    *gangs.WATCHED,
    *stores.NODES,
    *stores.STORES,
]
QUICK = ("SIGTERM, in a step", "SIGKILL, in a save", "SIGKILL, in a resume", "disk full, in a save", "a second run")


@pytest.mark.slow
@pytest.mark.training
def test_some_rows_lose_no_more_than_a_save_interval_and_need_nobody(built_tiny_model: Path, repository: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.faults", "--quick", "--model", str(built_tiny_model), *QUICK]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert f"{len(QUICK)} rows in" in done.stdout
    assert "goals missed by 0" in done.stdout


def test_there_are_more_than_thirty_faults_and_each_is_told_apart() -> None:
    names = [fault.name + fault.how for fault in FAULTS]
    assert len(names) > 30
    assert len(set(names)) == len(names)


OPTIMIZER, MANIFEST = "checkpoints/checkpoint-8/optimizer.pt", "checkpoints/checkpoint-8/tunery-manifest.json"
FOUND = [
    Boundary("write", "checkpoints/checkpoint-4/optimizer.pt"),
    Boundary("mkdir", "checkpoints/checkpoint-8"),
    Boundary("write", OPTIMIZER),
    Boundary("open", "events.jsonl"),
    Boundary("half of", OPTIMIZER),
    Boundary("open", "checkpoints/checkpoint-8/.tunery-manifest.json.abcd1234"),
    Boundary("rename to", MANIFEST),
    Boundary("write", "checkpoints/checkpoint-12/optimizer.pt"),
    Boundary("open", "checkpoints/README.md"),
    Boundary("open", "trained.partial/README.md"),
    Boundary("open", "checkpoints/README.md"),
]


def test_every_boundary_of_a_checkpoint_gets_a_kill_whatever_its_temporary_names() -> None:
    kills = exhaustive.kills(FOUND, end=False)
    assert [strike.name for _, strike in kills] == [
        "mkdir checkpoints/checkpoint-8",
        f"write {OPTIMIZER}",
        f"half of {OPTIMIZER}",
        "open checkpoints/checkpoint-8/.tunery-manifest.json.*",
        f"rename to {MANIFEST}",
    ]
    assert all(any(region.contains(boundary) for region in exhaustive.REGIONS) for boundary, _ in kills)


def test_a_file_that_is_written_twice_gets_a_kill_each_time() -> None:
    kills = exhaustive.kills(FOUND, end=True)
    assert [(strike.name, strike.nth) for _, strike in kills] == [
        ("open checkpoints/README.md", 0),
        ("open trained.partial/README.md", 0),
        ("open checkpoints/README.md", 1),
    ]


def outcome(**changed: Any) -> Outcome:
    values: dict[str, Any] = {"ended": ("SIGKILL", "0"), "steps_lost": 2, "seconds_lost": 1.0, "success": True}
    return Outcome(**{**values, "difference": 0.0, "all_steps": True, **changed})


FAULT = Fault("SIGKILL", "in a step", "step 7")


@pytest.mark.parametrize(
    ("changed", "met", "wrong"),
    [
        ({}, True, False),
        ({"steps_lost": 4}, True, False),
        ({"steps_lost": 5}, False, False),
        ({"success": False, "difference": None}, False, False),
        ({"all_steps": False}, False, True),
        ({"difference": 0.001}, False, True),
        ({"difference": 1e-9}, False, False),
        ({"difference": None}, False, True),
    ],
)
def test_a_goal_is_met_by_the_same_bits_after_no_more_than_a_save_interval(
    changed: dict[str, Any], met: bool, wrong: bool
) -> None:
    found = outcome(**changed)
    assert found.meets_goal(FAULT) is met
    assert found.wrong_success(FAULT.bound) is wrong


def test_the_worst_of_several_is_worst_in_each_respect() -> None:
    found = exhaustive.worst([outcome(), outcome(steps_lost=9), outcome(success=False, difference=None)])
    assert (found.steps_lost, found.success, found.difference) == (9, False, None)
    assert found.ended[0] == "3 times SIGKILL"


def test_the_page_names_what_misses_its_goal_and_what_plain_does_wrong() -> None:
    good = Result(FAULT, "Signals", {"tunery": outcome(), "plain, told to resume": outcome(difference=0.5)})
    text = page([good])
    assert "All 1 rows meet them" in text
    assert "WRONG SUCCESS" in text
    bad = Result(FAULT, "Signals", {"tunery": outcome(success=False, ended=("SIGKILL", "1", "1", "1"))})
    text = page([bad])
    assert "1 of 1 rows miss them" in text
    assert "SIGKILL, 3 x 1; **NEEDS A HUMAN**" in text
