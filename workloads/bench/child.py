"""``python -m workloads.bench.child RUN_DIRECTORY``: a run up to its training, which is measured."""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from workloads.bench.blocks import ENV_BLOCK, rank_file
from workloads.errors import ExitCode, TuneryError
from workloads.stages import train
from workloads.stages.context import RunContext
from workloads.stages.runner import leave, run_stage, run_stages, told
from workloads.training.signals import ENV_PARENT, StopRequest, die_with_parent
from workloads.training.world import World

_RANK = "workloads.bench.rank"


class _Measured:
    """The training stage, measured; of several processes each measures itself."""

    intact = staticmethod(train.intact)

    def run(self, context: RunContext) -> dict[str, Any]:
        from workloads.bench.probe import measuring

        alone = World.from_environment(os.environ).size == 1
        with measuring(rank_file(Path(os.environ[ENV_BLOCK]), 0)) if alone else nullcontext():
            return train.run(context, entry=_RANK)


def main(folder: Path) -> int:
    """Runs it; returns the exit code."""
    stop = StopRequest()
    stop.install()
    try:
        die_with_parent(int(os.environ[ENV_PARENT]))
        context = RunContext.open(folder, stop)
        run_stages(context, ["fetch", "prepare"])
        run_stage(context, "train", _Measured())
    except TuneryError as error:
        return told(error)
    return int(ExitCode.OK)


if __name__ == "__main__":
    leave(main(Path(sys.argv[1])))
