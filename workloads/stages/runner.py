"""Runs stages one after another in this process, and leaves a marker for each that finished.

Locally all stages share one process, since importing the training stack costs more than a tiny training.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn, Protocol, cast

from filelock import FileLock, Timeout

from workloads.errors import ExitCode, InputError, Preempted, TuneryError, UnavailableError
from workloads.runtime import STAGES
from workloads.stages.context import RunContext
from workloads.stages.failures import explain
from workloads.storage.atomic import write_json
from workloads.training.signals import ENV_PARENT, StopRequest, die_with_parent
from workloads.training.world import World


class Stage(Protocol):
    """What a module of this package offers."""

    def run(self, context: RunContext) -> dict[str, Any]:
        """Does the stage's work; what it returns is recorded in its marker."""
        ...

    def intact(self, context: RunContext) -> bool:
        """Whether what a finished stage left is still there."""
        ...


def stage_module(stage: str) -> Stage:
    """The module of a stage; most import what is heavy only when they run."""
    module: Any = importlib.import_module(f"workloads.stages.{stage}")
    return cast(Stage, module)


def planned(context: RunContext) -> list[str]:
    """The stages that this run's spec asks for, in order."""
    skipped = {
        "publish": context.spec.publish is None,
        "serve": context.spec.serve is None,
    }
    wanted = [stage for stage in STAGES if not skipped.get(stage, False)]
    if World.from_environment(os.environ).node_rank > 0:  # the first node has the result
        return wanted[: wanted.index("train") + 1]
    return wanted


def run_stages(context: RunContext, stages: Sequence[str]) -> None:
    """Runs those of ``stages`` that have no valid marker.

    Raises:
        TuneryError: as the failed stage explains it; what finished before it stays finished.
    """
    for stage in stages:
        module = stage_module(stage)
        marker = context.paths.marker(stage)
        if marker.is_file() and module.intact(context):
            context.events.append("stage_skipped", stage=stage)
            continue
        marker.unlink(missing_ok=True)
        run_stage(context, stage, module)


def run_stage(context: RunContext, stage: str, module: Stage) -> None:
    """Runs one stage and leaves its marker.

    Raises:
        TuneryError: as the stage explains why it failed.
    """
    context.events.append("stage_started", stage=stage)
    started = time.time()
    try:
        outputs = module.run(context)
        seconds = round(time.time() - started, 3)
        write_json(
            context.paths.marker(stage),
            {
                "stage": stage,
                "started": datetime.fromtimestamp(started, UTC).isoformat(timespec="milliseconds"),
                "finished": datetime.now(UTC).isoformat(timespec="milliseconds"),
                "seconds": seconds,
                "outputs": outputs,
            },
        )
    except Preempted:
        raise
    except Exception as error:
        failure = error if isinstance(error, TuneryError) else explain(error, stage)
        _report_failure(context, stage, failure)
        if failure is error:
            raise
        raise failure from error
    context.events.append("stage_finished", stage=stage, seconds=seconds)


def _report_failure(context: RunContext, stage: str, failure: TuneryError) -> None:
    problems = [problem.as_dict() for problem in failure.problems]
    try:
        context.events.append("stage_failed", stage=stage, exit_code=int(failure.exit_code), problems=problems)
    except OSError as error:  # on a full disk even this line may not fit: the error itself still gets out
        print(f"the event log cannot be written: {error}", file=sys.stderr)  # noqa: T201 the log of last resort


def command(stages: Sequence[str] | None, arguments: Sequence[str]) -> int:
    """Runs stages as a process does; returns the exit code.

    Args:
        stages: the stages to run, or None for all that the spec asks for.
    """
    stop = StopRequest()
    stop.install()
    try:
        if parent := os.environ.get(ENV_PARENT):
            die_with_parent(int(parent))
        if len(arguments) != 1:
            raise InputError.of("A stage takes one argument.", "give it the run directory")
        context = RunContext.open(Path(arguments[0]), stop)
        with _only_one(context):
            run_stages(context, planned(context) if stages is None else stages)
            if all(context.paths.marker(stage).is_file() for stage in planned(context)):
                context.events.append("run_finished")
    except TuneryError as error:
        return told(error)
    return int(ExitCode.OK)


def told(error: TuneryError) -> int:
    """Says what is wrong on standard error; the exit code that goes with it."""
    for problem in error.problems:
        print(problem, file=sys.stderr)  # noqa: T201 a stage's messages are its log
    if error.exit_code is ExitCode.INTERNAL and error.__cause__ is not None:
        import traceback

        traceback.print_exception(error.__cause__)
    return int(error.exit_code)


def main(*stages: str) -> NoReturn:
    """What a stage module does when it is run: all stages of the spec when none is named."""
    leave(command(stages or None, sys.argv[1:]))


def leave(code: int) -> NoReturn:
    """Ends this process."""
    sys.stdout.flush()
    sys.stderr.flush()
    if code == ExitCode.PREEMPTED:
        os._exit(code)  # the interpreter's own end takes torch more than a second of a short grace
    sys.exit(code)


def _only_one(context: RunContext) -> AbstractContextManager[Any]:
    try:
        return FileLock(context.paths.lock, timeout=0).acquire()
    except Timeout:
        raise UnavailableError.of(
            "Another process works on this run.", "wait for it to end, or stop it", file=context.paths.root
        ) from None
    except OSError as error:
        raise UnavailableError.of(
            f"The run directory cannot be written: {error.strerror}.",
            "make it writable for you, and free some disk space if there is none",
            file=context.paths.root,
        ) from error
