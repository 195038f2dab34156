"""A clock that can be hurried and set: waits of a client that tries again take no real time, and dates jump.

Must be installed before the modules that take ``time.sleep`` or ``time.monotonic`` for themselves are imported.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

_SHORTEST_SLEEP = 0.02
"""Shorter sleeps wait for another thread or process, which needs them as they are."""


class Clock:
    """What ``time`` shows this process and its forks.

    Attributes:
        haste: how many times faster than real time sleeps pass.
        offset: what the date is off, in seconds.
    """

    def __init__(self) -> None:
        self.haste = 1.0
        self.offset = 0.0
        self._skipped = 0.0
        self._sleep: Callable[[float], None] = time.sleep
        self._monotonic, self._time = time.monotonic, time.time

    def install(self) -> None:
        """Puts itself in the place of ``time.sleep``, ``time.monotonic`` and ``time.time``."""
        patched: Any = time
        patched.sleep, patched.monotonic, patched.time = self.sleep, self.monotonic, self.time

    def sleep(self, seconds: float) -> None:
        """Sleeps, for a part of that only when in haste."""
        real = seconds / self.haste if seconds > _SHORTEST_SLEEP else seconds
        self._sleep(real)
        self._skipped += seconds - real

    def monotonic(self) -> float:
        """Real seconds and those that were not slept."""
        return self._monotonic() + self._skipped

    def time(self) -> float:
        """The date as it was set."""
        return self._time() + self._skipped + self.offset


CLOCK = Clock()
