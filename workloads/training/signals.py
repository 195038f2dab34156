"""How a stage hears that it must stop, and how it dies with the process that started it."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Mapping
from types import FrameType

from workloads.errors import Preempted
from workloads.runtime import ENV_GRACE

ENV_PARENT = "TUNERY_PARENT_PID"
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class StopRequest:
    """Turns SIGTERM and SIGINT into a stop at the next safe point.

    Outside training nothing is lost by leaving at once: stages are idempotent. While a training runs, it must
    first save; ``deferred`` says so, and the training asks ``requested`` at every step.
    """

    def __init__(self) -> None:
        self.requested = False
        self.deferred = False
        self.left = False
        self._requested_at = 0.0

    def install(self) -> None:
        """Takes over SIGTERM and SIGINT of this process."""
        signal.signal(signal.SIGTERM, self._handle)
        signal.signal(signal.SIGINT, self._handle)

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        self.request()
        if not self.deferred:
            self.leave()

    def request(self) -> None:
        """Asks for a stop; the first time counts."""
        if not self.requested:
            self._requested_at = time.monotonic()
            self.requested = True

    @property
    def age(self) -> float | None:
        """Seconds since the stop was asked for; None when it was not."""
        return time.monotonic() - self._requested_at if self.requested else None

    def leave(self) -> None:
        """Ends the stage here; the finished stages before it stay finished."""
        self.left = True
        raise Preempted.of("The run was told to stop.", "run it again with --resume: finished stages are kept")


def grace_seconds(environ: Mapping[str, str] = os.environ) -> float | None:
    """How long this process may go on after SIGTERM; None when nothing says so, as on one's own machine."""
    try:
        return float(environ[ENV_GRACE])
    except (KeyError, ValueError):
        return None


def die_with_parent(expected_parent: int) -> None:
    """Asks the kernel for SIGTERM when the parent process ends, so that no orphan goes on training.

    Does nothing outside Linux. See prctl(2), PR_SET_PDEATHSIG.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))
    if os.getppid() != expected_parent:  # it ended before the kernel knew
        os.kill(os.getpid(), signal.SIGTERM)
