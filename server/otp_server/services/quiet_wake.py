"""Waking who delivers, but not while the caller is being answered.

A worker that takes a message at once works while the answer is on its way, and the answer comes
later by that: who measures learns that there was a message, and so an account (requirement 30).
Where accounts are not revealed, the workers are therefore woken a drawn time later.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

FIRST_S = 0.05
LAST_S = 0.15
_STEPS = 1000


class QuietWake:
    """Call it when a message was stored; ``run`` wakes. From the Trio thread; never blocks."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._asked = trio.Event()

    def __call__(self) -> None:
        """Wake between ``FIRST_S`` and ``LAST_S`` from now, or from the first call unheard."""
        self._asked.set()

    async def run(self) -> None:
        """Wake as asked, until cancelled."""
        while True:
            await self._asked.wait()
            drawn = secrets.randbelow(_STEPS) / _STEPS
            await trio.sleep(FIRST_S + drawn * (LAST_S - FIRST_S))
            self._asked = trio.Event()
            self._wake()
