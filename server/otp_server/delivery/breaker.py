"""A circuit breaker: a provider that is down gets no messages, only now and then a probe.

::

    closed ──faults in a row──▶ open ──its time is over──▶ half-open ──a probe works──▶ closed
                                 ▲                            │
                                 └──────the probe fails───────┘  (then twice as long)

Only faults of the provider count (:func:`is_fault`): a number that does not exist shows that the
provider works. Outcomes of messages begun before it opened change nothing any more, except that a
success closes it. Time is Trio's clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from otp_server.services.ports.delivery import NotSent, SendOutcome, SendProblem, Sent, Uncertain

if TYPE_CHECKING:
    from collections.abc import Callable

_FAULTS = frozenset(
    {
        SendProblem.AUTH,
        SendProblem.UNREACHABLE,
        SendProblem.TIMEOUT,
        SendProblem.PROVIDER_DOWN,
        SendProblem.UNKNOWN,
    }
)
_NEUTRAL = frozenset({SendProblem.EXPIRED})
"""What became of the message before the provider was asked."""


def is_fault(outcome: SendOutcome) -> bool | None:
    """Whether an outcome is the provider's fault; None: it says nothing of the provider."""
    match outcome:
        case Sent():
            return False
        case NotSent(problem) | Uncertain(problem):
            return None if problem in _NEUTRAL else problem in _FAULTS


@dataclass(frozen=True, slots=True)
class BreakerOptions:
    """``faults`` in a row open it for ``open_s``, twice as long after each failed probe."""

    faults: int = 5
    open_s: float = 5.0
    open_max_s: float = 60.0


class CircuitBreaker:
    """See the module. Not for threads."""

    def __init__(
        self, options: BreakerOptions | None = None, now: Callable[[], float] = trio.current_time
    ) -> None:
        self._options = BreakerOptions() if options is None else options
        self._now = now
        self._faults = 0
        self._in_flight = 0
        self._open_s = self._options.open_s
        self._opened_at = 0.0
        self._down_since: float | None = None

    @property
    def down_since(self) -> float | None:
        """Since when it is not closed; None while the provider works."""
        return self._down_since

    @property
    def wait_s(self) -> float:
        """How long no message may be tried; 0: one may be tried now, or is being tried."""
        if self._down_since is None:
            return 0.0
        return max(0.0, self._opened_at + self._open_s - self._now())

    @property
    def room(self) -> int:
        """How many more may begin now; half-open: one at a time."""
        if self._down_since is None:
            return 1 << 30
        return 0 if self.wait_s > 0 or self._in_flight else 1

    def begin(self, count: int = 1) -> None:
        """So many messages go to the provider now."""
        self._in_flight += count

    def end(self, outcome: SendOutcome | None, count: int = 1) -> None:
        """What became of so many in a row; None: they were cut off."""
        self._in_flight -= count
        fault = None if outcome is None else is_fault(outcome)
        if fault is None:
            return
        if not fault:
            self._faults = 0
            self._down_since = None
            self._open_s = self._options.open_s
            return
        for _ in range(count):
            self._fail()

    def _fail(self) -> None:
        self._faults += 1
        if self._down_since is None:
            if self._faults >= self._options.faults:
                self._down_since = self._opened_at = self._now()
        elif self.wait_s == 0:
            self._opened_at = self._now()
            self._open_s = min(self._open_s * 2, self._options.open_max_s)
