"""A training that makes no progress: its stacks are written down, and its process leaves to be started again.

A hang has no exception: a collective that one rank did not join, a disk or a data loader's worker that does not
answer. The only thing left to this process is to say where each thread stands, and to end.
"""

from __future__ import annotations

import faulthandler
import statistics
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

_STEPS = 50
_FIRST_SECONDS = 1800.0
"""How long the first step may take: kernels are compiled then, and data that is streamed begins to flow."""
_LOOKS = 20.0  # looks per limit


class StallWatch(TrainerCallback):  # type: ignore[misc]  # transformers is not followed by mypy
    """Calls ``on_stall`` once, in its own thread, when nothing has happened for too long.

    Attributes:
        factor: of the median step time.
        floor: seconds before which nothing counts as a stall.
    """

    def __init__(
        self,
        factor: float,
        floor: float,
        on_stall: Callable[[int, float], None],
        clock: Callable[[], float] = time.monotonic,
        first: float = _FIRST_SECONDS,
    ) -> None:
        """``on_stall`` gets the last step and the seconds since something happened."""
        self._factor = factor
        self._floor = floor
        self._first = first
        self._on_stall = on_stall
        self._clock = clock
        self._steps: deque[float] = deque(maxlen=_STEPS)
        self._began = self._alive = 0.0
        self._step = 0
        self._ended = Event()
        self._thread: Thread | None = None

    @property
    def limit(self) -> float:
        """Seconds without progress that count as a stall."""
        if not self._steps:
            return max(self._floor, self._first)
        return max(self._floor, self._factor * statistics.median(self._steps))

    def look(self) -> bool:
        """Whether it has stalled."""
        return self._clock() - self._alive > self.limit

    def close(self) -> None:
        """Ends the watch."""
        self._ended.set()

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._step = state.global_step
        self._began = self._alive = self._clock()
        self._thread = Thread(target=self._watch, name="stall-watch", daemon=True)
        self._thread.start()

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._began = self._alive = self._clock()  # what came before, such as a save, was no step

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._step, self._alive = state.global_step, self._clock()
        self._steps.append(self._alive - self._began)

    def on_substep_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._alive = self._clock()

    on_prediction_step = on_evaluate = on_save = on_log = on_substep_end

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.close()

    def _watch(self) -> None:
        while not self._ended.wait(min(self._floor, self.limit / _LOOKS)):
            if self.look() and not self._ended.is_set():
                self._on_stall(self._step, self._clock() - self._alive)
                return


def write_stacks(path: Path) -> None:
    """Writes where each thread of this process stands, into a file and the log."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        faulthandler.dump_traceback(file, all_threads=True)
    print(path.read_text(), file=sys.stderr, flush=True)  # noqa: T201 on an environment the log is what stays
