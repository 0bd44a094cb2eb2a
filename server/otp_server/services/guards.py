"""Guards against SMS fraud: bought numbers that make a provider earn (requirement 85).

Numbers are watched in blocks of 10 000, those that differ in their last four digits only, because
such numbers are bought in blocks. Two signs, beside the rules of countries and line types
(``domain/contact.py``):

    sms-prefix       many starts for one block
    sms-unverified   of the codes sent to a block, a large part is never entered

A guard that only records lets everything pass and says what it would have refused; that is how its
numbers are found. Both are signs and no promises: they begin empty at each start of the server.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from otp_server.core import SlidingWindows
from otp_server.errors import LimiterFull

if TYPE_CHECKING:
    from collections.abc import Sequence

PREFIX_POLICY = "sms-prefix"
UNVERIFIED_POLICY = "sms-unverified"
PATIENCE_MS = 600_000
"""A code not entered so long after its start counts as never entered."""
PERIOD_MS = 1_800_000
"""Codes are counted over the running period and the one before: half an hour to an hour."""
STARTS_MIN = 10
"""Fewer codes of a block say nothing."""
_BLOCK_DIGITS = 4
_BLOCKS_MAX = 100_000
_WAITING_MAX = 100_000


@dataclass(frozen=True, slots=True)
class GuardRules:
    """``prefix`` are ``(count, milliseconds)`` windows of a block's starts.

    ``unverified_share``: which part of a block's codes may stay unentered; 0 does not look.
    ``enforce`` False only records.
    """

    prefix: Sequence[tuple[int, int]]
    unverified_share: float = 0.0
    enforce: bool = False


class GuardHit(NamedTuple):
    """A guard says no, and for how long."""

    policy: str
    wait_ms: int


class SmsGuards:
    """Both guards over the starts whose code may go out by SMS. Nothing here blocks."""

    def __init__(self, rules: GuardRules) -> None:
        self.enforce = rules.enforce
        self._prefixes = SlidingWindows(rules.prefix, _BLOCKS_MAX)
        self._unverified = UnverifiedShare(rules.unverified_share)

    def hits(self, block: str, now_ms: int) -> list[GuardHit]:
        """What speaks against a code for a number of this block now; charges nothing."""
        hits = []
        wait_ms = self._prefixes.wait_ms(block, now_ms)
        if wait_ms:
            hits.append(GuardHit(PREFIX_POLICY, wait_ms))
        wait_ms = self._unverified.wait_ms(block, now_ms)
        if wait_ms:
            hits.append(GuardHit(UNVERIFIED_POLICY, wait_ms))
        return hits

    def started(self, uuid: bytes, block: str, now_ms: int) -> None:
        """A process is started for a number of this block."""
        try:  # noqa: SIM105 - each start comes here, and entering suppress costs as much as this
            self._prefixes.record(block, now_ms)
        except LimiterFull:
            pass  # a sign less; the exact limits stand beside it
        self._unverified.started(uuid, block, now_ms)

    def withdrawn(self, uuid: bytes, block: str, at_ms: int) -> None:
        """The process of ``uuid`` was not started after all; ``at_ms`` as it was told then."""
        self._prefixes.refund(block, at_ms)
        self._unverified.withdrawn(uuid)

    def verified(self, uuid: bytes, now_ms: int) -> None:
        """The code of this process was entered."""
        self._unverified.verified(uuid, now_ms)


@dataclass(slots=True)
class _Counts:
    """Of the period ``number`` and the one before: codes entered, and codes never entered."""

    number: int
    verified: int = 0
    unverified: int = 0
    verified_before: int = 0
    unverified_before: int = 0

    def advance(self, number: int) -> None:
        """Go on to the period ``number``."""
        if number <= self.number:
            return
        follows = number == self.number + 1
        self.verified_before = self.verified if follows else 0
        self.unverified_before = self.unverified if follows else 0
        self.verified = self.unverified = 0
        self.number = number


class UnverifiedShare:
    """How many codes of a block are never entered. Memory is bounded by its constants."""

    def __init__(self, share: float) -> None:
        self._share = share
        self._waiting: OrderedDict[bytes, tuple[str, int]] = OrderedDict()
        self._patient_until_ms = 0
        """Of who waits now, nobody is judged before."""
        self._counts: OrderedDict[str, _Counts] = OrderedDict()

    def started(self, uuid: bytes, block: str, now_ms: int) -> None:
        """A code of the block is on its way."""
        if not self._share:
            return
        self._judge_waiting(now_ms)
        if len(self._waiting) >= _WAITING_MAX:
            self._waiting.popitem(last=False)  # not judged at all
        self._waiting[uuid] = (block, now_ms)

    def withdrawn(self, uuid: bytes) -> None:
        """It is not."""
        self._waiting.pop(uuid, None)

    def verified(self, uuid: bytes, now_ms: int) -> None:
        """It was entered."""
        self._judge_waiting(now_ms)
        block, _ = self._waiting.pop(uuid, (None, 0))
        if block is not None:
            self._of(block, now_ms).verified += 1

    def wait_ms(self, block: str, now_ms: int) -> int:
        """0, or until the counts that speak against the block begin to be forgotten."""
        if not self._share:
            return 0
        self._judge_waiting(now_ms)
        if block not in self._counts:
            return 0
        counts = self._of(block, now_ms)
        unverified = counts.unverified + counts.unverified_before
        judged = unverified + counts.verified + counts.verified_before
        if judged < STARTS_MIN or unverified <= self._share * judged:
            return 0
        return PERIOD_MS - now_ms % PERIOD_MS

    def _judge_waiting(self, now_ms: int) -> None:
        if now_ms < self._patient_until_ms:
            return
        while self._waiting:
            uuid, (block, at_ms) = next(iter(self._waiting.items()))
            if now_ms - at_ms < PATIENCE_MS:
                self._patient_until_ms = at_ms + PATIENCE_MS
                return
            del self._waiting[uuid]
            self._of(block, now_ms).unverified += 1

    def _of(self, block: str, now_ms: int) -> _Counts:
        number = now_ms // PERIOD_MS
        counts = self._counts.get(block)
        if counts is None:
            if len(self._counts) >= _BLOCKS_MAX:
                self._counts.popitem(last=False)
            counts = self._counts[block] = _Counts(number)
        else:
            self._counts.move_to_end(block)
        counts.advance(number)
        return counts


def block_of(tenant: str, phone: str) -> str:
    """The block of an E.164 number, of this tenant only."""
    return f"{tenant} {phone[:-_BLOCK_DIGITS]}"
