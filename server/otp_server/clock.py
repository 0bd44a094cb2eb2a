"""Time: Unix milliseconds that neither jump nor go back while the process lives.

Codes expire and windows slide by this clock, so a step of the wall clock must not revive or kill
them (requirement 17). The clock starts at the wall's reading and then counts monotonic time; it
leans towards the wall by at most ``SLEW`` of the time passed. So over any span its error beside
true elapsed time is at most ``SLEW`` (0.5 %: 1.5 s of a 300 s lifetime), however far the wall was
set; a wall that was put right by seconds is followed within minutes. Across restarts the wall
alone is known; :meth:`otp_server.domain.challenge.DeviceCode.is_live` bounds what that may do.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

SLEW = 0.005
_NS_PER_MS = 1_000_000


class Clock(Protocol):
    """Where the time comes from."""

    def now_ms(self) -> int:
        """Unix milliseconds, never less than a reading before."""


class SteadyClock:
    """The clock of a running server."""

    def __init__(
        self,
        wall_ns: Callable[[], int] = time.time_ns,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._wall_ns = wall_ns
        self._monotonic_ns = monotonic_ns
        self._monotonic_last = monotonic_ns()
        self._now_ns = wall_ns()
        self._now_ms = self._now_ns // _NS_PER_MS
        self._same_ns = 0
        """However the wall leans, so long after the last reading it is the same millisecond."""

    def now_ms(self) -> int:
        """Unix milliseconds, never less than a reading before."""
        monotonic = self._monotonic_ns()
        elapsed = monotonic - self._monotonic_last
        if elapsed < self._same_ns:
            return self._now_ms
        elapsed = max(0, elapsed)
        self._monotonic_last = monotonic
        now_ns = self._now_ns + elapsed
        lean = self._wall_ns() - now_ns
        lean_max = int(elapsed * SLEW)
        if lean > lean_max:
            lean = lean_max
        elif lean < -lean_max:
            lean = -lean_max
        self._now_ns = now_ns = now_ns + lean
        self._now_ms = now_ms = now_ns // _NS_PER_MS
        self._same_ns = int((_NS_PER_MS - now_ns % _NS_PER_MS) / (1 + SLEW))
        return now_ms
