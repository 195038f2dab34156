"""A large file in pieces over several connections, in memory and in order.

Pieces are handed on in the order of the file, so that it only ever grows at its end: what a killed process leaves is
a prefix, which can be hashed and continued.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

PIECE = 8 << 20
"""Bytes of a piece: a hundred round trips for each GB, and little memory."""


def in_order(bring: Callable[[int, memoryview], None], start: int, stop: int, connections: int) -> Iterator[memoryview]:
    """The bytes from ``start`` to ``stop``, while as many pieces as there are connections are on their way.

    Args:
        bring: fills the view with the bytes at an offset; called from several threads.

    Yields:
        The next bytes; the memory is used again when the next are asked for.
    """
    buffers = deque(bytearray(PIECE) for _ in range(connections))
    offsets = iter(range(start, stop, PIECE))
    under_way: deque[tuple[Future[None], bytearray, int]] = deque()
    pool = ThreadPoolExecutor(connections, thread_name_prefix="piece")

    def begin() -> None:
        offset = next(offsets, None)
        if offset is not None:
            buffer, size = buffers.popleft(), min(PIECE, stop - offset)
            under_way.append((pool.submit(bring, offset, memoryview(buffer)[:size]), buffer, size))

    try:
        for _ in range(connections):
            begin()
        while under_way:
            arrived, buffer, size = under_way.popleft()
            arrived.result()
            yield memoryview(buffer)[:size]
            buffers.append(buffer)
            begin()
    finally:
        pool.shutdown(cancel_futures=True)
