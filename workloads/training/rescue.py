"""What a training does when its loss has gone, or it hangs: back to a checkpoint, or out of the process; bounded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from workloads.errors import InputError, Preempted, Problem, TuneryError
from workloads.events import EventLog, read_events
from workloads.runtime import RunPaths
from workloads.training.checkpoints import list_committed, set_aside
from workloads.training.divergence import Diverged, Window

_STALLS = 3
"""So many in a row, with no checkpoint between them, are no passing fault of a node."""


def roll_back(config: dict[str, Any], paths: RunPaths, events: EventLog, limit: int, found: Diverged) -> None:
    """Makes the newest good checkpoint the newest one, and records that the batches since are left out.

    A checkpoint from which the loss has gone a second time is taken for a part of the problem, and set aside.

    Raises:
        InputError: it has gone more than ``limit`` times, or the data comes as a stream, of which nothing can be left
            out: this training, with this config and data, does not work.
    """
    before = _all(paths, "rolled_back")
    if len(before) >= limit or config.get("streaming"):
        raise _hopeless(config, paths, found, len(before))
    newest = list_committed(paths.checkpoints)
    if newest and before and before[-1]["step"] == newest[0].step:
        set_aside(newest[0].folder, paths.damaged)
        newest = newest[1:]
    step = newest[0].step if newest else 0
    events.append("rolled_back", step=step, left_at=found.step, reason=found.reason, times=len(before) + 1)


def left_out(paths: RunPaths) -> list[Window]:
    """The steps whose batches this run leaves out since its loss has gone there."""
    return [Window(int(each["step"]), int(each["left_at"])) for each in _all(paths, "rolled_back")]


def _hopeless(config: dict[str, Any], paths: RunPaths, found: Diverged, times: int) -> InputError:
    rate, norm = config.get("learning_rate", 5e-5), config.get("max_grad_norm", 1.0)
    again = f", after {times} times back to a checkpoint with other batches" if times else ""
    half = " train in bf16 instead of fp16;" if config.get("fp16") else ""
    return InputError.of(
        f"At step {found.step} {found.reason}{again}: the training does not get past it.",
        f"lower learning_rate (it is {rate}), raise warmup_steps, lower max_grad_norm (it is {norm});{half} look at "
        f"the rows for empty or broken answers",
        file=paths.training_config,
        key="learning_rate",
    )


def stalled(paths: RunPaths, events: EventLog, step: int, seconds: float, stacks: Path) -> TuneryError:
    """Records that the training hangs; what its process ends with.

    The process ends with 75, to be started again for free: a hang is mostly a node's. Since nothing else would bound
    that, the third one in a row without a checkpoint between them is 70.
    """
    events.append("stalled", step=step, seconds=round(seconds, 1), stacks=stacks.name)
    in_a_row = _since_progress(read_events(paths.events)[0])
    saved = max((each.step for each in list_committed(paths.checkpoints)), default=0)
    message = f"The training made no progress for {seconds:.0f} s after step {step}; its stacks are in {stacks.name}."
    error: TuneryError = Preempted.of(message, f"run it again: it continues from step {saved}")
    if in_a_row >= _STALLS:
        fix = "see in the stacks what it waits for: a collective, the data loader, or the disk"
        error = TuneryError(
            Problem(f"{message} It happened {in_a_row} times in a row.", fix, file=str(stacks), code="stalled")
        )
    problems = [problem.as_dict() for problem in error.problems]
    events.append("stage_failed", stage="train", exit_code=int(error.exit_code), problems=problems)
    return error


def _since_progress(events: Sequence[dict[str, Any]]) -> int:
    count = 0
    for event in events:
        if event["event"] == "checkpoint_saved":
            count = 0
        elif event["event"] == "stalled":
            count += 1
    return count


def _all(paths: RunPaths, name: str) -> list[dict[str, Any]]:
    return [event for event in read_events(paths.events)[0] if event["event"] == name]
