"""Waiting, inside a pod, for a service that is away.

A Job's first failure is its last, and a new pod would have to download everything again: so what may pass is waited
for here, for as long as that is cheaper.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from workloads.errors import UnavailableError

T = TypeVar("T")

_LIMIT_SECONDS = 600.0
"""A service that is away for longer is somebody's work; meanwhile a waiting GPU costs money."""
_FIRST_PAUSE, _LONGEST_PAUSE = 2.0, 60.0


@dataclass(frozen=True, slots=True)
class Patience:
    """Calls again what raised UnavailableError, after pauses that grow.

    Attributes:
        limit: seconds after the first failure from which on it is given up.
        sleep, clock: of the real world; tests have their own.
    """

    limit: float = _LIMIT_SECONDS
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic

    def __call__(self, work: Callable[[], T]) -> T:
        """What ``work`` returns.

        Raises:
            UnavailableError: the last one, when the limit is reached.
            TuneryError: any other, at once.
        """
        from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_random_exponential

        failed_since: list[float] = []

        def enough(_: RetryCallState) -> bool:
            failed_since.append(self.clock())
            return failed_since[-1] - failed_since[0] >= self.limit

        def tell(state: RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome else None
            pause = state.next_action.sleep if state.next_action else 0.0
            print(f"{error} (trying again in {pause:.0f} s)", file=sys.stderr)  # noqa: T201 a stage's messages are its log

        again = Retrying(
            retry=retry_if_exception_type(UnavailableError),
            wait=wait_random_exponential(multiplier=_FIRST_PAUSE, max=_LONGEST_PAUSE),
            stop=enough,
            sleep=self.sleep,
            before_sleep=tell,
            reraise=True,
        )
        return again(work)


ONCE = Patience(limit=0.0)
"""For what is worth one attempt."""
