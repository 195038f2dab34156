"""Measures configs by real trainings, block after block, each in processes of its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workloads.bench.figures import Block, Figures, figures, flops_per_token
from workloads.engines.create import create, plan
from workloads.engines.local import Execution
from workloads.errors import Problem, TuneryError
from workloads.run_spec_loader import load_run_spec
from workloads.runtime import RunPaths
from workloads.stages.context import RunContext
from workloads.storage.atomic import read_json
from workloads.training.world import World

ENV_BLOCK = "TUNERY_BENCH_BLOCK"
"""The folder where each process of a measured training leaves its block."""
_CHILD = "workloads.bench.child"


@dataclass(frozen=True, slots=True)
class Subject:
    """A config under measurement.

    Attributes:
        file: a run spec or a training config, as the user named it.
        runs: what was measured so far: for each training a block of each process.
    """

    file: Path
    paths: RunPaths
    runs: list[list[Block]] = field(default_factory=list)

    def figures(self, warmup: int) -> Figures:
        """What the blocks so far come to."""
        context = RunContext.open(self.paths.root)
        shape = read_json(context.base_model / "config.json")
        return figures(self.runs, flops_per_token(context.config, shape), warmup)


def subject(file: Path, overrides: Sequence[str], steps: int, scratch: Path) -> Subject:
    """A config that is ready to be measured, with a run of its own below ``scratch``.

    Args:
        steps: of each training, warm-up included.

    Raises:
        InputError: as ``tunery run`` does for the same config.
    """
    kept = [f"max_steps={steps}", "save_strategy='no'", "eval_strategy='no'", "load_best_model_at_end=false"]
    record = plan(load_run_spec(file, [*overrides, *kept]))
    return Subject(file, create(record, scratch))


def measure(subjects: Sequence[Subject], blocks: int, world: World, told: Callable[[str], None]) -> None:
    """Trains each subject ``blocks`` times, in turn: first, second, second, first, so that a drift of the machine hits
    both alike.

    Args:
        told: hears what is measured next.

    Raises:
        TuneryError: as the training's stages explain it.
    """
    for number in range(blocks):
        for each in subjects if number % 2 == 0 else reversed(subjects):
            told(f"{each.file.name}, block {number + 1} of {blocks}")
            each.runs.append(_block(each.paths, world, number))


def _block(paths: RunPaths, world: World, number: int) -> list[Block]:
    folder = paths.root / "bench" / str(number)
    folder.mkdir(parents=True, exist_ok=True)
    os.environ[ENV_BLOCK] = str(folder)
    try:
        Execution(paths, world, module=_CHILD).wait(lambda _event: None)
    finally:
        del os.environ[ENV_BLOCK]
    return [_read(rank_file(folder, rank), paths) for rank in range(world.size)]


def rank_file(folder: Path, rank: int) -> Path:
    """Where a process leaves its block."""
    return folder / f"rank-{rank}.json"


def _read(file: Path, paths: RunPaths) -> Block:
    value: Any = read_json(file)
    if value is None:
        raise TuneryError(Problem("A training ended and left no measurement.", "see its log", file=str(paths.log)))
    return Block.from_dict(value)
