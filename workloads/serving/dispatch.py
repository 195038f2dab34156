"""Runs generations in threads: a bounded number at once, a bounded number waiting, none for a client that left."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from workloads.serving.interface import Completion


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of the text of one choice."""

    index: int
    text: str


@dataclass(frozen=True, slots=True)
class Finished:
    """One choice, complete."""

    index: int
    completion: Completion


Event = Piece | Finished
Work = Callable[[Callable[[Event], None], threading.Event], None]
"""Generates in a thread: tells each event, and ends soon after the event is set."""


class Busy(Exception):  # noqa: N818 - a state of the server, not a mistake
    """As many requests as the server takes are running and waiting."""


class Dispatcher:
    """The threads that generate.

    Args:
        running: generations at once.
        waiting: accepted requests that wait for a thread.
    """

    def __init__(self, running: int, waiting: int) -> None:
        self._threads = ThreadPoolExecutor(running, thread_name_prefix="generate")
        self._places = threading.BoundedSemaphore(running + waiting)
        self._stopping: set[threading.Event] = set()

    async def events(self, work: Work, seconds: float) -> AsyncGenerator[Event, None]:
        """What ``work`` tells, as it tells it. Closing the iterator stops the work.

        Raises:
            Busy: before the first event.
            TimeoutError: the work, waiting for a thread included, took more than ``seconds``.
            Exception: what ``work`` raises.
        """
        if not self._places.acquire(blocking=False):
            raise Busy
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        told: asyncio.Queue[Event | Future[None]] = asyncio.Queue()
        cancelled = threading.Event()

        def tell(event: Event | Future[None]) -> None:
            loop.call_soon_threadsafe(told.put_nowait, event)

        future = self._threads.submit(work, tell, cancelled)
        self._stopping.add(cancelled)
        # the place is free when the thread is, which is later than the moment a client leaves
        future.add_done_callback(lambda _: self._places.release())
        future.add_done_callback(tell)
        try:
            while True:
                async with asyncio.timeout_at(deadline):
                    event = await told.get()
                if isinstance(event, Future):
                    event.result()
                    return
                yield event
        finally:
            cancelled.set()
            future.cancel()
            self._stopping.discard(cancelled)

    async def close(self) -> None:
        """Stops what still runs and waits for its threads."""
        for cancelled in tuple(self._stopping):
            cancelled.set()
        await asyncio.to_thread(self._threads.shutdown, cancel_futures=True)
