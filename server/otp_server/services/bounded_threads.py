"""Work that blocks, in a few threads of its own, with a bounded queue before them."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import trio

from otp_server.errors import Busy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")


class BoundedThreads:
    """``at_once`` threads, and ``waiting_max`` callers that may wait for one."""

    def __init__(self, at_once: int, waiting_max: int) -> None:
        self._threads = trio.CapacityLimiter(at_once)
        self._places_max = at_once + waiting_max
        self._places = 0

    @contextmanager
    def reserve(self) -> Iterator[None]:
        """A place in the queue, for one :meth:`run` at a time. Raises Busy: there is none left."""
        if self._places >= self._places_max:
            raise Busy(f"{self._places} calls wait for their turn")
        self._places += 1
        try:
            yield
        finally:
            self._places -= 1

    async def run(self, call: Callable[[], T]) -> T:
        """The call's answer; only with a place reserved.

        Cancelled while it waits, the call does not run; once begun it runs to its end first.
        """
        return await trio.to_thread.run_sync(call, limiter=self._threads)
