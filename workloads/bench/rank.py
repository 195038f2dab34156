"""The entry point of one rank of a training that is measured."""

import os
from pathlib import Path

from workloads.bench.blocks import ENV_BLOCK, rank_file
from workloads.stages.failures import explain
from workloads.training.ranks import main

if __name__ == "__main__":
    from workloads.bench.probe import measuring

    with measuring(rank_file(Path(os.environ[ENV_BLOCK]), int(os.environ["RANK"]))):
        main(explain)
