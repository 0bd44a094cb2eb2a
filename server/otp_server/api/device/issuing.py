"""OTP requests waiting for the store: gathered in batches, each answered before its deadline.

While one batch is in the store the next gathers, so the store's commit is shared and no task or
channel is spent on a request. A batch is given until its earliest deadline. When that passes, the
overdue requests are answered ``timeout`` and the others go into the next batch: a cancelled batch
left nothing behind (``services/ports/``). So there is always an answer, never silence
(requirement 53).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import trio

from otp_server.api import lanes
from otp_server.api.operation import Priority
from otp_server.domain.outcome import Reason, Refused
from otp_server.errors import ErrorKind
from otp_server.telemetry import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from otp_server.api.device.sessions import Slot
    from otp_server.domain.outcome import IssueOutcome
    from otp_server.services.issue import IssueService
    from otp_server.telemetry import Metrics

    Answered = tuple[Slot, IssueOutcome]

BATCH_MAX = 256
_ANSWERS_AT_ONCE = 64
_TOGETHER_S = 0.05
"""Requests due within this of each other are answered together."""

log = get_logger(__name__)


class IssueQueue:
    """The admitted requests of all connections.

    ``answer`` gets each request put in once, with its outcome, in no promised order, and never
    raises. It gets a few at a time, and other tasks their turn between. Implements
    :class:`api.lanes.Queue`.
    """

    priority = Priority.SHOW

    def __init__(
        self,
        issue: IssueService,
        answer: Callable[[Sequence[Answered]], None],
        *,
        answer_s: float,
        metrics: Metrics,
    ) -> None:
        self._issue = issue
        self._answer = answer
        self._answer_s = answer_s
        self._metrics = metrics
        self._waiting: deque[Slot] = deque()
        self._in_store = 0
        self._wake = trio.Event()
        self._emptied = trio.Event()

    def put(self, request: Slot) -> None:
        """Queue an admitted request. Never blocks."""
        self._waiting.append(request)
        self._wake.set()

    def is_behind(self, now: float) -> bool:
        """Whether the store keeps requests waiting."""
        return bool(self._waiting) and self._waiting[0].arrived_at + lanes.BEHIND_S <= now

    async def wait_empty(self) -> None:
        """Until every request put in is answered."""
        while self._waiting or self._in_store:
            await self._emptied.wait()

    async def run(self) -> None:
        """Answer what is put in, until cancelled. Survives bugs in what it calls."""
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            while self._waiting:
                await self._one_batch()
            self._emptied.set()
            self._emptied = trio.Event()

    async def _one_batch(self) -> None:
        # The first is due first: they stand in the order of their arrival.
        batch = [self._waiting.popleft() for _ in range(min(BATCH_MAX, len(self._waiting)))]
        self._in_store = len(batch)
        outcomes: Sequence[IssueOutcome] = ()
        try:
            with trio.move_on_at(self._due(batch[0])) as time_left:
                outcomes = await self._try(batch)
            if not time_left.cancelled_caught:
                await self._give(list(zip(batch, outcomes, strict=True)))
                return
            now = trio.current_time() + _TOGETHER_S
            self._waiting.extendleft(r for r in reversed(batch) if self._due(r) > now)
            late = Refused(ErrorKind.TIMEOUT, Reason.LATE)
            await self._give([(r, late) for r in batch if self._due(r) <= now])
        finally:
            self._in_store = 0

    async def _give(self, answered: Sequence[Answered]) -> None:
        """Answer a few at a time: a full batch would keep the other tasks waiting."""
        for start in range(0, len(answered), _ANSWERS_AT_ONCE):
            few = answered[start : start + _ANSWERS_AT_ONCE]
            now = trio.current_time()
            arrived = [request.arrived_at for request, _ in few]
            self._metrics.issue_seconds.observe_since(arrived, now)
            self._answer(few)
            if start + _ANSWERS_AT_ONCE < len(answered):
                await trio.lowlevel.checkpoint()

    async def _try(self, batch: Sequence[Slot]) -> Sequence[IssueOutcome]:
        try:
            return await self._issue.issue_many([request.device_id for request in batch])
        except Exception:
            self._metrics.crashes.labels(where="issue").inc()
            log.exception("issuing failed", count=len(batch))
            return [Refused(ErrorKind.INTERNAL, Reason.BUG)] * len(batch)

    def _due(self, request: Slot) -> float:
        return request.arrived_at + self._answer_s
