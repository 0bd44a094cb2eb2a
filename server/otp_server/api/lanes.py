"""Calls of hot operations: gathered in batches, bounded, and shed by priority.

Each operation has a lane of its own, so none waits behind another's calls. While a lane's calls are
in flight its next requests gather: no task is spent on a request, and the store's commit is shared.
An operation that waits for more than the store is called with one request at a time, in a task
each: a delivery that takes seconds then holds up nobody but who asked for it.

When the store falls behind, who is less important is refused first (``Priority``):

- a request that has waited ``LATE_S`` for its call is refused: a caller that still listens is told
  in time, and for the others no work is done,
- a lane is full at ``WAITING_MAX`` of its priority,
- while the oldest request of a more important lane has waited ``BEHIND_S``, or that lane is half
  full, it takes none at all, and no call is made for those that wait in it already.

What waits for the store elsewhere has its place in the same order (``Queue``).
"""

from __future__ import annotations

from collections import deque
from itertools import chain
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from otp_server.api.operation import ApiError, Priority
from otp_server.errors import ErrorKind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from otp_server.api.operation import Operation
    from otp_server.core import HttpRequest
    from otp_server.domain.process_outcome import Quotas

BATCH_MAX = 256
CALLS_MAX = 2
"""Of one operation at once: while one commits, the next is made."""
WAITING_MAX = {
    Priority.JUDGE: 2048,
    Priority.SHOW: 1024,
    Priority.START: 1024,
    Priority.FORESEE: 256,
}
BEHIND_S = 0.25
LATE_S = 2.0
_RETRY_AFTER_MS = 1000


class Waiting(msgspec.Struct, frozen=True, gc=False):
    """A request that was read; ``since`` on Trio's clock."""

    request: HttpRequest
    command: Any
    quotas: Quotas | None
    since: float


class Lane:
    """The requests of one operation that wait for their call, oldest first."""

    def __init__(self, operation: Operation[Any, Any]) -> None:
        """ValueError for an operation without a priority."""
        if operation.priority is None:
            raise ValueError(f"{operation.name} is hot and has no priority")
        self.operation = operation
        self.priority = operation.priority
        self.calls = 0
        """How many are in flight."""
        self._batch_max = 1 if operation.alone else BATCH_MAX
        self._calls_max = operation.alone or CALLS_MAX
        self._waiting: deque[Waiting] = deque()

    @property
    def waits(self) -> bool:
        """Whether any request waits."""
        return bool(self._waiting)

    @property
    def is_full(self) -> bool:
        """Whether no request more may wait."""
        return len(self._waiting) >= WAITING_MAX[self.priority]

    @property
    def late_at(self) -> float:
        """When the oldest request is late, on Trio's clock."""
        return self._waiting[0].since + LATE_S if self._waiting else float("inf")

    def put(self, requests: Iterable[Waiting]) -> None:
        """Let them wait."""
        self._waiting.extend(requests)

    def take(self) -> list[Waiting]:
        """The next batch; empty when nothing waits or as many calls are in flight as may be."""
        if self.calls >= self._calls_max:
            return []
        size = min(self._batch_max, len(self._waiting))
        return [self._waiting.popleft() for _ in range(size)]

    def take_late(self, now: float) -> list[Waiting]:
        """Those that have waited too long."""
        late = []
        while self._waiting and self.late_at <= now:
            late.append(self._waiting.popleft())
        return late

    def is_behind(self, now: float) -> bool:
        """Whether the store keeps requests waiting: what waits for other things tells nothing."""
        if not self._waiting or self.operation.alone:
            return False
        half_full = 2 * len(self._waiting) >= WAITING_MAX[self.priority]
        return half_full or self._waiting[0].since + BEHIND_S <= now


class Queue(Protocol):
    """Requests of one priority that wait for the store."""

    @property
    def priority(self) -> Priority:
        """Whose they are."""

    def is_behind(self, now: float) -> bool:
        """Whether its oldest has waited ``BEHIND_S``."""


class Load:
    """All lanes, and who may come in."""

    def __init__(self) -> None:
        self.lanes: list[Lane] = []
        """The most important first."""
        self.others: list[Queue] = []
        """What waits elsewhere."""

    def check(self, lane: Lane, now: float) -> None:
        """ApiError ``overloaded`` when a request may not wait in this lane."""
        if lane.is_full:
            raise overloaded()
        self.check_priority(lane.priority, now)

    def check_priority(self, priority: Priority | None, now: float) -> None:
        """ApiError ``overloaded`` while somebody more important waits for the store."""
        if priority is None:
            return
        for queue in chain(self.lanes, self.others):
            if queue.priority < priority and queue.is_behind(now):
                raise overloaded()

    def puts_off(self, lane: Lane, now: float) -> bool:
        """Whether a lane's next call has to wait: a more important lane waits for the store.

        The most important of those has calls in flight, after whose end this is asked again; and
        when those that wait are refused.
        """
        for each in self.lanes:  # by priority
            if each.priority >= lane.priority:
                break
            if each.is_behind(now):
                return True
        return False

    @property
    def late_at(self) -> float:
        """When the first of all is late."""
        return min((lane.late_at for lane in self.lanes), default=float("inf"))


def overloaded() -> ApiError:
    """The refusal of a call that is shed."""
    return ApiError(ErrorKind.OVERLOADED, retry_after_ms=_RETRY_AFTER_MS)
