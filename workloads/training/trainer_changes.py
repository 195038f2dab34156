"""Two things that transformers' Trainer does otherwise than a training that may be interrupted needs.

Facts about transformers 5.5 (``trainer.py``: ``_inner_training_loop`` and ``_run_epoch``; ``trainer_callback.py``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from transformers import Trainer, TrainerCallback
from transformers.trainer_callback import CallbackHandler


@contextmanager
def interruptible(last: Sequence[TrainerCallback]) -> Iterator[None]:
    """Inside it no trainer takes a step after the last one, and ``last`` hear of everything after the others.

    * A Trainer that resumes at ``max_steps`` in the middle of an epoch looks whether it is done only after a step: its
      weights would be those of a longer training.
    * LLaMA-Factory's own callbacks write into a checkpoint when it is saved (the value head, the processor), and it
      adds some of them after those that it is given: a checkpoint is whole when the last one has been called.
    """
    run_epoch, add_callback = Trainer._run_epoch, CallbackHandler.add_callback

    def run_unless_done(trainer: Trainer, *args: Any, **named: Any) -> None:
        if trainer.state.global_step >= trainer.state.max_steps:
            trainer.control.should_training_stop = True
        else:
            run_epoch(trainer, *args, **named)

    def add_before_the_last(handler: CallbackHandler, callback: Any) -> None:
        add_callback(handler, callback)
        present = [each for each in last if each in handler.callbacks]
        handler.callbacks = [each for each in handler.callbacks if each not in present] + present

    Trainer._run_epoch, CallbackHandler.add_callback = run_unless_done, add_before_the_last
    try:
        yield
    finally:
        Trainer._run_epoch, CallbackHandler.add_callback = run_epoch, add_callback
