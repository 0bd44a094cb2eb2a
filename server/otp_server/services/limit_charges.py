"""Charging several limits: all or none (requirements 40, 45). The core does it (``LimitRow``).

A policy is one window of a limit, such as ``contact-60``. What is charged before the store is asked
is in force at once, so calls that run together cannot pass a limit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from otp_server.domain.outcome import Reason
from otp_server.domain.process_outcome import ProcessRefused
from otp_server.errors import ErrorKind, LimiterFull

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otp_server.core import Charges, LimitRow
    from otp_server.services.limit_hits import Hitter, LimitHits

    Windows = Sequence[tuple[int, int]]
    Keys = tuple[str | tuple[str | int | bytes, ...], ...]

FULL_MS = 1000
"""When to ask again where a table has no room: it forgets keys whose windows are over."""
EVERYBODY = ""
"""The one key of a limit over all."""
TABLE_FULL = ProcessRefused(ErrorKind.OVERLOADED, Reason.LIMITER_FULL, FULL_MS)


class Gate:
    """A row of limits, whose refusals the trail is told of."""

    def __init__(self, row: LimitRow, hits: LimitHits) -> None:
        self.row = row
        self._hits = hits

    def charge(self, keys: Keys, hitter: Hitter, now_ms: int) -> ProcessRefused | Charges:
        """Charge all, or say why none."""
        try:
            charges = self.row.charge(keys, now_ms)
        except LimiterFull:
            return TABLE_FULL
        return self.refuse(keys, hitter, now_ms) if charges is None else charges

    def hold(self, keys: Keys, hitter: Hitter, now_ms: int) -> ProcessRefused | Charges:
        """The same, not decided yet: follow it by ``Charges.decide``, however it ends."""
        try:
            charges = self.row.hold(keys, now_ms)
        except LimiterFull:
            return TABLE_FULL
        return self.refuse(keys, hitter, now_ms) if charges is None else charges

    def refuse(
        self, keys: Keys, hitter: Hitter, now_ms: int, others: Sequence[tuple[str, int]] = ()
    ) -> ProcessRefused:
        """The refusal by those without room and by ``others``; the slowest says when to ask again.

        At least one of them refuses.
        """
        violated, quotas = self.row.refusal(keys, now_ms)
        violated += others
        refused = ProcessRefused(
            ErrorKind.RATE_LIMITED,
            Reason.PROCESS_LIMIT,
            max(wait_ms for _, wait_ms in violated),
            violated=tuple(dict.fromkeys(policy for policy, _ in violated)),
            quotas=quotas,
        )
        self._hits.note(hitter, refused.violated, now_ms)
        return refused
