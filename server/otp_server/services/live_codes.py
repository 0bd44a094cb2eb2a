"""How many codes are live, by length: never too few (requirement 50).

The store counts exactly, but not for every request: between two counts each issued code is added
and none taken away, so the figure is an upper bound and the length rule errs to the safe side.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from otp_server.services.ports import CodeStore


class LiveCodes:
    """The upper bound, shared by issuing and upkeep."""

    def __init__(self) -> None:
        self._counted: Mapping[int, int] = {}
        self._added: dict[int, int] = {}

    def by_length(self) -> dict[int, int]:
        """Live codes by length, at least as many as there are."""
        lengths = self._counted.keys() | self._added.keys()
        return {n: self._counted.get(n, 0) + self._added.get(n, 0) for n in lengths}

    def add(self, length: int, count: int) -> None:
        """``count`` codes may have been issued."""
        self._added[length] = self._added.get(length, 0) + count

    async def refresh(self, store: CodeStore, now_ms: int) -> None:
        """Count again. What is issued while the count runs stays added."""
        before = dict(self._added)
        self._counted = await store.live_device_codes(now_ms)
        self._added = {n: c - before.get(n, 0) for n, c in self._added.items()}
