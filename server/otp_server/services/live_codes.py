"""How many codes are live, by length: never too few (requirement 50).

The store counts exactly, but not for every request. Between two counts each code is added before
its transaction begins and none is taken away, so the figure is an upper bound and the length rule
errs to the safe side, however many requests run at once::

    counted    by the store, once a second
    added      transactions ended since the count began
    in flight  transactions not ended: a count may have missed them
"""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from otp_server.services.ports import CodeStore


class LiveCodes:
    """The upper bound, shared by issuing and upkeep."""

    def __init__(self) -> None:
        self._counted: Mapping[int, int] = {}
        self._added: Counter[int] = Counter()
        self._in_flight: Counter[int] = Counter()

    def by_length(self) -> dict[int, int]:
        """Live codes by length, at least as many as there are."""
        return dict(Counter(self._counted) + self._added + self._in_flight)

    @contextmanager
    def issuing(self, length: int, count: int) -> Iterator[None]:
        """Around the transaction that may issue ``count`` codes."""
        self._in_flight[length] += count
        try:
            yield
        finally:  # however it ended: the next count will tell
            self._in_flight[length] -= count
            self._added[length] += count

    async def refresh(self, store: CodeStore, now_ms: int) -> None:
        """Count again. What is added or in flight while the count runs stays."""
        before = self._added.copy()
        self._counted = await store.live_device_codes(now_ms)
        self._added.subtract(before)
