"""One limit, and charging several of them: all or none (requirements 40, 45).

A policy is one window of a limit, such as ``contact-60``. What is charged before the store is asked
is in force at once, so calls that run together cannot pass a limit.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from otp_server.core import SlidingWindows
from otp_server.domain.outcome import Reason
from otp_server.domain.process_outcome import ProcessRefused, Quota
from otp_server.errors import ErrorKind, LimiterFull

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otp_server.services.limit_hits import Hitter, LimitHits

    Windows = Sequence[tuple[int, int]]

UNDECIDED_MS = 1000
"""When to ask again where charges that may yet be given back fill a window."""
FULL_MS = 1000
"""When to ask again where a table has no room: it forgets keys whose windows are over."""
_MS = 1000


EVERYBODY = ""
"""The one key of a limit over all."""
_INDEX_BYTES = 16  # 128 bits of a contact's index tell contacts apart


def index_key(index: bytes) -> str:
    """A contact's index as part of a key."""
    return index[:_INDEX_BYTES].hex()


class Limit:
    """One limit: exact windows for each key of a bounded table.

    A charge may be held while it is not decided whether it stays. Where a window without room has
    such charges, its wait is ``UNDECIDED_MS`` at most, since they may all be given back.
    """

    def __init__(self, name: str, windows: Windows, keys_max: int, *, told: bool = True) -> None:
        """``told``: whether a caller may know what is left of it (else only when it refuses)."""
        self.table = SlidingWindows(windows, keys_max)
        self.told = told
        self.name = name
        self._held: Counter[str] = Counter()
        self._unused = tuple(
            Quota(f"{name}-{period // _MS}", limit, period, limit, 0) for limit, period in windows
        )
        self._all_room = [(limit, 0) for limit, _ in windows]
        self.is_distinct = len({quota.policy for quota in self._unused}) == len(self._unused)
        """Whether each of its windows has a policy of its own: periods are told in seconds."""

    def quotas(self, key: str, now_ms: int) -> Sequence[Quota]:
        """What is left of each window."""
        room = self.table.room(key, now_ms)
        if room == self._all_room:
            return self._unused
        undecided = key in self._held
        quotas: list[Quota] = []
        for whole, (remaining, reset_ms) in zip(self._unused, room, strict=True):
            wait_ms = min(reset_ms, UNDECIDED_MS) if undecided and not remaining else reset_ms
            quotas.append(Quota(whole.policy, whole.limit, whole.window_ms, remaining, wait_ms))
        return quotas

    def hold(self, key: str) -> None:
        """One charge of this key is not decided yet; follow it by ``decide``."""
        self._held[key] += 1

    def decide(self, key: str) -> None:
        """It stays, or was given back."""
        self._held[key] -= 1
        if not self._held[key]:
            del self._held[key]


class Charge(msgspec.Struct, frozen=True):
    """One charge of one limit."""

    limit: Limit
    key: str

    def has_room(self, now_ms: int) -> bool:
        """Whether no window refuses it: the quick question, before anybody asks which does."""
        return self.limit.table.wait_ms(self.key, now_ms) == 0


def violations(charges: Sequence[Charge], now_ms: int) -> list[tuple[str, int]]:
    """The policies without room, and until when."""
    found: list[tuple[str, int]] = []
    for charge in charges:
        if charge.limit.table.wait_ms(charge.key, now_ms):
            quotas = charge.limit.quotas(charge.key, now_ms)
            found += [(quota.policy, quota.reset_ms) for quota in quotas if not quota.remaining]
    return found


def charge_all(charges: Sequence[Charge], now_ms: int) -> ProcessRefused | None:
    """Charge all, which were found to have room; or none, when a table is full."""
    done: list[Charge] = []
    try:
        for charge in charges:
            charge.limit.table.reserve(charge.key, now_ms)
            done.append(charge)
    except LimiterFull:
        for charge in done:
            charge.limit.table.refund(charge.key, now_ms)
        return ProcessRefused(ErrorKind.OVERLOADED, Reason.LIMITER_FULL, FULL_MS)
    return None


def first_refusal(charges: Sequence[Charge], now_ms: int) -> ProcessRefused | None:
    """The refusal by the first limit without room, which hides those behind it.

    For limits a caller may not know of at no cost: whoever is refused is charged nothing.
    """
    for count, charge in enumerate(charges, 1):
        if not charge.has_room(now_ms):
            return refused_by(violations([charge], now_ms), charges[:count], now_ms)
    return None


def charge_or_refuse(
    charges: Sequence[Charge], hitter: Hitter, hits: LimitHits, now_ms: int
) -> ProcessRefused | None:
    """Charge all, or none and ``first_refusal``, which the trail is told of."""
    refused = first_refusal(charges, now_ms)
    if refused is None:
        return charge_all(charges, now_ms)
    hits.note(hitter, refused.violated, now_ms)
    return refused


def told(charges: Sequence[Charge], now_ms: int) -> tuple[Quota, ...]:
    """What a caller may know: of each policy its tightest key, and hidden ones that refuse."""
    quotas: list[Quota] = []
    names: list[str] = []
    once = True
    for charge in charges:
        limit, key = charge.limit, charge.key
        if not limit.told and charge.has_room(now_ms):
            continue
        found = limit.quotas(key, now_ms)
        quotas += found if limit.told else [quota for quota in found if not quota.remaining]
        once = once and limit.is_distinct and limit.name not in names
        names.append(limit.name)
    return tuple(quotas) if once else _tightest(quotas)


def _tightest(quotas: Sequence[Quota]) -> tuple[Quota, ...]:
    found: dict[str, Quota] = {}
    for quota in quotas:
        held = found.setdefault(quota.policy, quota)
        if (quota.remaining, -quota.reset_ms) < (held.remaining, -held.reset_ms):
            found[quota.policy] = quota
    return tuple(found.values())


def refused_by(
    found: Sequence[tuple[str, int]], charges: Sequence[Charge], now_ms: int
) -> ProcessRefused:
    """The refusal by these violations; the slowest of them says when to ask again."""
    return ProcessRefused(
        ErrorKind.RATE_LIMITED,
        Reason.PROCESS_LIMIT,
        max(wait_ms for _, wait_ms in found),
        violated=tuple(dict.fromkeys(policy for policy, _ in found)),
        quotas=told(charges, now_ms),
    )
