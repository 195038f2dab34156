"""A pod's process: its numbers from the command line, its exit code from what is raised."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import NoReturn

from workloads.errors import ExitCode, InputError, TuneryError
from workloads.runtime import OFFLINE
from workloads.stages.failures import explain
from workloads.stages.runner import leave, told
from workloads.training.signals import StopRequest


def exit_code(work: Callable[[], None], stage: str) -> int:
    """Does the work; says what went wrong, if something did."""
    try:
        work()
    except TuneryError as error:
        return told(error)
    except Exception as error:
        failure = explain(error, stage)
        failure.__cause__ = error
        return told(failure)
    return int(ExitCode.OK)


def run_and_numbers(arguments: Sequence[str], names: Sequence[str]) -> tuple[str, list[int]]:
    """A run id and whole numbers.

    Raises:
        InputError: they are not there.
    """
    run_id, *texts = arguments or [""]
    if not run_id or len(texts) != len(names) or not all(text.isascii() and text.isdigit() for text in texts):
        raise InputError.of("The command line is not what it must be.", f"give RUN_ID {' '.join(names)}")
    return run_id, [int(text) for text in texts]


def run_process(work: Callable[[StopRequest], None], stage: str) -> NoReturn:
    """What Kubernetes starts: takes signals, and keeps the training stack from calling anybody."""
    stop = StopRequest()
    stop.install()
    for name, value in OFFLINE.items():
        os.environ.setdefault(name, value)
    leave(exit_code(lambda: work(stop), stage))
