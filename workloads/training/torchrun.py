"""torchrun, tied to the life of its launcher: ``python -m workloads.training.torchrun JOB.json``.

It adds what torchrun lacks: it ends with its parent, names the nodes that are missing or begins without them, as the
run says, and leaves the exit code of each rank that failed where the launcher can read it.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from workloads.errors import ExitCode, TuneryError
from workloads.storage.atomic import write_json
from workloads.training.job import Job
from workloads.training.preflight import NODES_SECONDS, gathered, open_store
from workloads.training.signals import ENV_PARENT, die_with_parent


def main(job_file: Path) -> int:
    """Runs the ranks of this node; returns 0 when all of them ended with 0."""
    die_with_parent(int(os.environ[ENV_PARENT]))
    os.environ[ENV_PARENT] = str(os.getpid())  # the ranks end with this process
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import parse_args, run

    job = Job.read(job_file)
    world = job.world
    try:
        if world.nodes > 1:
            store = open_store(world, NODES_SECONDS)  # kept: it is rank 0's server from here on
            job = job.joined(gathered(store, world))
            world = job.world
        run(
            parse_args(
                [
                    f"--nnodes={world.nodes}",
                    f"--nproc-per-node={world.processes}",
                    f"--node-rank={world.node_rank}",
                    f"--master-addr={world.address}",
                    f"--master-port={world.port}",
                    "--max-restarts=0",
                    "-m",
                    job.entry,
                    str(job_file),
                ]
            )
        )
    except TuneryError as error:
        job.write_failure(error)
        return int(error.exit_code)
    except ChildFailedError as error:
        codes = {str(rank): failure.exitcode for rank, failure in error.failures.items()}
        write_json(job.folder / "exit_codes.json", codes, durable=False)
        print(json.dumps(codes), file=sys.stderr)  # noqa: T201 torchrun's log
        return 1
    except SignalException:
        return int(ExitCode.PREEMPTED)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
