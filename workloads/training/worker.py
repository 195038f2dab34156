"""Runs one training by LLaMA-Factory and believes only what it can prove.

LLaMA-Factory exits 0 when nothing was trained, and starts again from step 0 when its output folder is overwritten.
So the worker chooses the checkpoint, and success means that the last step was reached and the weights are there.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from threading import Thread
from typing import Any

from workloads.errors import ExitCode, Problem, TuneryError
from workloads.events import EventLog
from workloads.recovery import Recovery
from workloads.runtime import RunPaths
from workloads.storage import manifest
from workloads.training.arguments import kept_checkpoints, may_be_written_later, resumable, training_arguments
from workloads.training.checkpoints import Checkpoint, Retention, list_checkpoints, newest_verified
from workloads.training.coordination import Alone, Ranks
from workloads.training.memory import is_out_of_memory, too_small
from workloads.training.process import forget_training
from workloads.training.rescue import left_out, roll_back, stalled
from workloads.training.saving import Held, OnCheckpoint, Saver
from workloads.training.signals import StopRequest
from workloads.training.world import refuse_other_world
from workloads.training_config.levels import Level
from workloads.training_config.preset import Choice, Mode

_SEE_LOG = "look at logs/worker.log in the run directory, or on an environment at `tunery logs`"
_LAST_WORDS_SECONDS = 10.0
"""What is left to say must not hang, too."""
LastWords = Callable[[TuneryError], None]
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
    last_words: LastWords | None = None,
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
        last_words: called with the reason before this process ends itself, since the training hangs.

    Returns:
        ``steps``, ``digest`` of the weights and ``folder``, relative to the run directory: ``trained``, or of a
        training that paused its checkpoint.

    Raises:
        Preempted: a stop was asked for and a checkpoint is committed.
        InputError: memory is too small, or the loss explodes whatever is tried.
        TuneryError: the trainer returned before the last step, or without weights.
    """
    from workloads.training.divergence import Diverged
    from workloads.training.speed import mode_of

    recovery = Recovery() if recovery is None else recovery
    place = (config, paths, base_model, events, stop, until, on_checkpoint)
    training = _Training(*place, ranks or Alone(), recovery, mode_of(paths))
    while True:
        found: Diverged | None = None
        try:
            return training.attempt(held, last_words)
        except Diverged as error:
            found = Diverged(error.step, error.reason)  # that error's trace holds the model
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            what = f"Memory was too small for the training: {str(error).strip().splitlines()[0][:200]}."
            if training.ranks.size > 1 or training.choice.level == Level.PLAIN:
                raise too_small(config, base_model, training.ranks.size, what) from error
            events.append("preset_given_up", reason=what)
            training = replace(training, preset="none")
        forget_training()
        if found is not None and training.ranks.first:
            roll_back(config, paths, events, recovery.rollbacks, found)


@dataclass(frozen=True)
class _Training:
    config: dict[str, Any]
    paths: RunPaths
    base_model: Path
    events: EventLog
    stop: StopRequest
    until: int | None
    on_checkpoint: OnCheckpoint | None
    ranks: Ranks
    recovery: Recovery
    preset: Mode

    @cached_property
    def choice(self) -> Choice:
        """How a step is computed, the same in all ranks."""
        from workloads.training.speed import choose_here

        if not self.ranks.first:
            return self.ranks.same(Choice(Level.PLAIN))
        chosen = choose_here(self.config, self.paths, self.base_model, self.preset, self.ranks.size)
        self.events.append("preset", **chosen.as_dict())
        return self.ranks.same(chosen)

    def attempt(self, held: Held, last_words: LastWords | None) -> dict[str, Any]:
        """Trains from the newest checkpoint that verifies, as far as it goes."""
        from llamafactory.train.tuner import run_exp

        from workloads.training.callbacks import PauseCallback, Paused, WorkerCallback
        from workloads.training.divergence import LossWatch
        from workloads.training.snapshot import Snapshots
        from workloads.training.speed import Measured, at_level
        from workloads.training.stall import StallWatch
        from workloads.training.trainer_changes import interruptible

        config, paths, events, stop, ranks = self.config, self.paths, self.events, self.stop, self.ranks
        found = _find_checkpoint(config, paths, events, ranks.size) if ranks.first else None
        resume_from = ranks.share(None if found is None else found.folder)
        windows = ranks.same(left_out(paths))
        retention = Retention(kept_checkpoints(config), self.recovery.keep_every)
        snapshots = Snapshots(paths.checkpoints) if may_be_written_later(config) else None
        saver = Saver(events, retention, self.on_checkpoint, held, snapshots=snapshots)
        callback = WorkerCallback(paths, events, stop, saver, ranks=ranks)
        losses = LossWatch(windows, norms_may_overflow=bool(config.get("fp16")))
        watch = StallWatch(
            self.recovery.stall_factor, self.recovery.stall_seconds, lambda *what: self._leave(last_words, *what)
        )
        choice = self.choice
        arguments = training_arguments(config, paths, self.base_model, resume_from) | dict(choice.changes)
        speed = [] if choice.level == Level.PLAIN else [Measured(choice, events)]
        callbacks = [callback, losses, watch, *speed, *([] if self.until is None else [PauseCallback(self.until)])]
        paused = False
        stop.deferred = True
        try:
            saving = nullcontext() if snapshots is None else snapshots.taking()
            with interruptible(last=callbacks), saving, at_level(choice, events):
                run_exp(arguments, callbacks=callbacks)
            saver.settle()
        except Paused:
            saver.settle()
            paused = True
        finally:
            watch.close()
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

    def _leave(self, last_words: LastWords | None, step: int, seconds: float) -> None:
        """Ends a process that hangs, from another thread."""
        from workloads.training.stall import write_stacks

        code = int(ExitCode.PREEMPTED)
        try:
            stacks = self.paths.log.with_name(f"stacks-rank-{self.ranks.rank}.txt")
            write_stacks(stacks)
            error = stalled(self.paths, self.events, step, seconds, stacks)
            code = int(error.exit_code)
            print(error, file=sys.stderr, flush=True)  # noqa: T201 a stage's messages are its log
            if last_words is not None:
                words = Thread(target=last_words, args=(error,), daemon=True)
                words.start()
                words.join(_LAST_WORDS_SECONDS)
        finally:
            os._exit(code)


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
