"""Runs one training by LLaMA-Factory and believes only what it can prove.

LLaMA-Factory exits 0 when nothing was trained, and starts again from step 0 when its output folder is overwritten.
So the worker chooses the checkpoint, and success means that the last step was reached and the weights are there.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from workloads.errors import Problem, TuneryError
from workloads.events import EventLog
from workloads.recovery import Recovery
from workloads.runtime import RunPaths
from workloads.storage import manifest
from workloads.training.arguments import kept_checkpoints, resumable, training_arguments
from workloads.training.checkpoints import Checkpoint, Retention, list_checkpoints, newest_verified
from workloads.training.coordination import Alone, Ranks
from workloads.training.saving import Held, OnCheckpoint, Saver
from workloads.training.signals import StopRequest
from workloads.training.world import refuse_other_world

_SEE_LOG = "look at logs/worker.log in the run directory, or on an environment at `tunery logs`"
_WEIGHTS = ("adapter_model.safetensors", "model.safetensors", "model.safetensors.index.json")


def train(
    config: dict[str, Any],
    paths: RunPaths,
    base_model: Path,
    events: EventLog,
    stop: StopRequest,
    until: int | None = None,
    on_checkpoint: OnCheckpoint | None = None,
    ranks: Ranks | None = None,
    recovery: Recovery | None = None,
    held: Held = frozenset,
) -> dict[str, Any]:
    """Trains to the last step, from the newest checkpoint that verifies.

    Args:
        config: the training config after overrides.
        base_model: the folder of the base model.
        on_checkpoint: called in the background with the folder and step of a committed checkpoint; of those that
            are committed meanwhile the newest is next.
        until: pause after this step, with a committed checkpoint; the next call goes on from there.
        ranks: the processes that train together, of which this is one; alone when absent.
        recovery: what the run spec says of it.
        held: the checkpoints that another process needs now, and that stay for so long.

    Returns:
        ``steps``, ``digest`` of the weights and ``folder``, relative to the run directory: ``trained``, or of a
        training that paused its checkpoint.

    Raises:
        Preempted: a stop was asked for and a checkpoint is committed.
        TuneryError: the trainer returned before the last step, or without weights.
    """
    from llamafactory.train.tuner import run_exp

    from workloads.training.callbacks import PauseCallback, Paused, WorkerCallback

    ranks = Alone() if ranks is None else ranks
    found = _find_checkpoint(config, paths, events, ranks.size) if ranks.first else None
    resume_from = ranks.share(None if found is None else found.folder)
    retention = Retention(kept_checkpoints(config), (recovery or Recovery()).keep_every)
    saver = Saver(events, retention, on_checkpoint, held)
    callback = WorkerCallback(paths, events, stop, saver, ranks=ranks)
    arguments = training_arguments(config, paths, base_model, resume_from)
    stop.deferred = True
    paused = False
    try:
        run_exp(arguments, callbacks=[callback] if until is None else [callback, PauseCallback(until)])
        saver.settle()
    except Paused:
        saver.settle()
        paused = True
    finally:
        saver.close()
        stop.deferred = False
    if paused:
        if stop.requested:
            stop.leave()
        return _paused(paths, callback.global_step)
    _check_success(config, callback.finished, callback.global_step, callback.max_steps)
    if not ranks.first:
        return {"steps": callback.global_step}
    digest = _collect(paths)
    if stop.requested:
        stop.leave()
    return {"steps": callback.global_step, "digest": digest, "folder": paths.trained.name}


def _find_checkpoint(config: dict[str, Any], paths: RunPaths, events: EventLog, processes: int) -> Checkpoint | None:
    if not resumable(config):
        if list_checkpoints(paths.checkpoints):
            shutil.rmtree(paths.checkpoints)  # LLaMA-Factory can't continue this kind: begin cleanly
        return None
    checkpoint, damaged = newest_verified(paths.checkpoints, paths.damaged)
    for each in damaged:
        events.append("checkpoint_damaged", checkpoint=each.folder.name, reasons=list(each.reasons))
    if checkpoint is None and paths.checkpoints.exists():
        shutil.rmtree(paths.checkpoints)  # leftovers without a checkpoint, which LLaMA-Factory refuses to start on
    if checkpoint is not None and checkpoint.completed:
        events.append("checkpoint_completed", step=checkpoint.step, checkpoint=checkpoint.folder.name)
    if checkpoint is not None:
        refuse_other_world(checkpoint.folder, processes)
        _remove_unfinished_output(paths.checkpoints)
        events.append("resumed", step=checkpoint.step, checkpoint=checkpoint.folder.name)
    return checkpoint


def _remove_unfinished_output(output_dir: Path) -> None:
    """Final weights of an attempt that did not end are written again."""
    for path in output_dir.iterdir():
        if path.is_file():
            path.unlink()


def _check_success(config: dict[str, Any], finished: bool, step: int, max_steps: int) -> None:
    if not finished:
        raise TuneryError(
            Problem(
                "LLaMA-Factory returned without training.",
                _SEE_LOG,
                code="not-trained",
            )
        )
    may_stop_early = config.get("early_stopping_steps") is not None
    if step < max_steps and not may_stop_early:
        raise TuneryError(
            Problem(
                f"The trainer stopped at step {step} of {max_steps}.",
                f"{_SEE_LOG}; then run again: it continues from the last checkpoint",
                code="not-finished",
            )
        )


def _paused(paths: RunPaths, step: int) -> dict[str, Any]:
    folder = paths.checkpoints / f"checkpoint-{step}"
    committed = manifest.read(folder)
    if committed is None:
        raise TuneryError(Problem(f"The training paused at step {step} without a checkpoint.", "run it again"))
    return {"steps": step, "digest": committed.digest, "folder": f"{paths.checkpoints.name}/{folder.name}"}


def _collect(paths: RunPaths) -> str:
    """Moves the final weights out of the output folder into ``trained``, manifest last; returns their digest."""
    staging = paths.trained.with_name(paths.trained.name + ".partial")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir()
    for path in sorted(paths.checkpoints.iterdir()):
        if path.is_file():
            shutil.copy2(path, staging / path.name)
    if not any((staging / name).is_file() for name in _WEIGHTS):
        raise TuneryError(
            Problem(
                "The training ended without weights in its output folder.",
                _SEE_LOG,
                file=str(paths.checkpoints),
                code="no-weights",
            )
        )
    committed = manifest.commit(staging)
    shutil.rmtree(paths.trained, ignore_errors=True)
    staging.replace(paths.trained)
    return committed.digest
