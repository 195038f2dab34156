"""One rank of a training: what torchrun starts, as many times as there are GPUs."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

from workloads.errors import ExitCode, Preempted, TuneryError
from workloads.events import EventLog
from workloads.runtime import ENV_STORE
from workloads.training.coordination import Gang, lost_peer
from workloads.training.job import KINDS, Job
from workloads.training.preflight import join
from workloads.training.signals import ENV_PARENT, StopRequest, die_with_parent
from workloads.training.worker import train

_PATIENCE_SECONDS = 1800
"""How long a collective may take: as with the trainer, unless the config has ddp_timeout."""


def main(explain: Callable[[Exception, str], TuneryError]) -> NoReturn:
    """Trains as the rank that torchrun's variables name, and leaves its result for the launcher.

    The process ends with 0 when the ranks stopped together: torchrun would kill the others for any other code.

    Args:
        explain: turns an unexpected exception into an error with an exit code.
    """
    job, rank = Job.read(Path(sys.argv[1])), int(os.environ["RANK"])
    log = None if os.environ.get(ENV_STORE) else job.log(rank)  # a pod's output is kept, and its disk is not
    if log is not None:
        _log_to(log)
    stop = StopRequest()
    stop.install()
    code = ExitCode.OK
    try:
        die_with_parent(int(os.environ[ENV_PARENT]))
        outputs = _train(job, rank, stop)
        job.write_result(rank, outputs)
    except Preempted as error:
        job.write_failure(error, rank)
        code = error.exit_code if stop.left else ExitCode.OK  # outside the training this rank may be the only one
    except Exception as error:
        import traceback

        traceback.print_exc()
        peer = None if isinstance(error, TuneryError) else lost_peer(error)
        failure = error if isinstance(error, TuneryError) else peer or explain(error, "train")
        job.write_failure(_with_log(failure, log), rank, peer_lost=peer is not None)
        code = failure.exit_code
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # the interpreter's own end takes torch more than a second of a short grace


def _with_log(failure: TuneryError, log: Path | None) -> TuneryError:
    """The same failure, which points at this rank's log instead of the launcher's."""
    if log is None:
        return failure
    problems = [replace(each, fix=each.fix.replace("worker.log", log.name)) for each in failure.problems]
    return KINDS.get(failure.exit_code, TuneryError)(problems)


def _log_to(log: Path) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(descriptor, stream.fileno())
    os.close(descriptor)


def _train(job: Job, rank: int, stop: StopRequest) -> dict[str, Any]:
    import torch
    import torch.distributed as dist

    if not torch.cuda.is_available():
        # Otherwise accelerate 1.11 puts rank N on a device "cpu:N", onto which torch cannot load a checkpoint.
        os.environ["ACCELERATE_TORCH_DEVICE"] = "cpu"
    size, patience = int(os.environ["WORLD_SIZE"]), timedelta(seconds=_patience(job.config))
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = dist.TCPStore(address, port, is_master=False, wait_for_workers=False, timeout=patience)
    join(store, rank, size, job.world.nodes, patience)
    ranks = Gang(job.paths.checkpoints, patience)
    events = EventLog(job.paths.events if rank == 0 else Path(os.devnull))
    return train(
        job.config,
        job.paths,
        job.base_model,
        events,
        stop,
        on_checkpoint=lambda _folder, step: job.write_saved(step),
        ranks=ranks,
        recovery=job.recovery,
        held=job.held,
        last_words=lambda error: job.write_failure(error, rank, peer_lost=rank > 0),  # rank 0 decides
    )


def _patience(config: dict[str, Any]) -> float:
    value = config.get("ddp_timeout")
    return float(value) if isinstance(value, int | float) and value > 0 else _PATIENCE_SECONDS
