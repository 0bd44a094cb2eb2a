"""Issuing device codes: limiter -> length by policy -> draw -> one store transaction a batch.

A request is admitted once (the limiter is charged) and may then be tried in several batches, since
a cancelled batch leaves nothing behind (``services/ports/``). Answers are values, in the order
asked.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from otp_server.domain.outcome import Issued, IssueOutcome, Reason, Refused
from otp_server.domain.policy import ALPHABET
from otp_server.errors import ErrorKind, LimiterFull, StoreUnavailable
from otp_server.services.ports import IssueRefusal, NewDeviceCode
from otp_server.telemetry import get_logger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otp_server.clock import Clock
    from otp_server.core import Keyring, Passcode, SlidingWindows
    from otp_server.domain.policy import CodePolicy
    from otp_server.services.live_codes import LiveCodes
    from otp_server.services.ports import CodeStore

DOMAIN = "device"
TENANT = ""  # the device face is of the whole installation: a code carries no tenant
SPARES = 3
"""Codes drawn for each batch beside one a request, so that collisions cost no second transaction.
Every request of the batch may take them; the store sees to it that each is taken once."""
ROUNDS = 4
"""Transactions tried with fresh candidates before a request is refused as crowded."""
_CHALLENGE_ID_TIME_BYTES = 6  # Unix milliseconds, until the year 10889
_CHALLENGE_ID_RANDOM_BYTES = 16  # 128 random bits (requirement 5)

log = get_logger(__name__)


def new_challenge_ids(now_ms: int, count: int) -> list[bytes]:
    """Ids that are told apart by 128 random bits each, the time before them.

    The time makes the ids of a batch neighbours in a store's index, as in a UUID of version 7.
    """
    time = now_ms.to_bytes(_CHALLENGE_ID_TIME_BYTES)
    size = _CHALLENGE_ID_RANDOM_BYTES
    random = secrets.token_bytes(size * count)
    return [time + random[at : at + size] for at in range(0, size * count, size)]


class IssueService:
    """Draws and stores codes. ``limiter`` is keyed by device id."""

    def __init__(
        self,
        store: CodeStore,
        *,
        keyring: Keyring,
        clock: Clock,
        policy: CodePolicy,
        limiter: SlidingWindows,
        live: LiveCodes,
    ) -> None:
        self._store = store
        self._keyring = keyring
        self._clock = clock
        self._policy = policy
        self._limiter = limiter
        self._live = live

    def admit(self, device_id: str) -> Refused | None:
        """Charge the device's limit; None when it may go on. Never blocks."""
        try:
            wait_ms = self._limiter.reserve(device_id, self._clock.now_ms())
        except LimiterFull:
            return Refused(ErrorKind.CROWDED, Reason.LIMITER_FULL)
        if wait_ms:
            return Refused(ErrorKind.RATE_LIMITED, Reason.DEVICE_LIMIT, wait_ms)
        return None

    async def issue_many(self, device_ids: Sequence[str]) -> list[IssueOutcome]:
        """Issue a code to each admitted device, in one store transaction in the usual case.

        Cancellation: nothing issued by this call can be confirmed; the call may be repeated.
        Raises nothing of the store: its failures are outcomes.
        """
        outcomes: list[IssueOutcome] = [
            Refused(ErrorKind.CROWDED, Reason.COLLISION) for _ in device_ids
        ]
        waiting = list(range(len(device_ids)))
        for _ in range(ROUNDS):
            if not waiting:
                break
            length = self._policy.length_for(self._live.by_length(), len(waiting))
            if length is None:
                for i in waiting:
                    outcomes[i] = Refused(ErrorKind.CROWDED, Reason.CROWDED)
                break
            items, drawn = self._draw([device_ids[i] for i in waiting], length)
            try:
                with self._live.issuing(length, len(waiting)):
                    results = await self._store.issue_device_codes(items)
            except StoreUnavailable as error:
                log.warning("codes not issued", count=len(waiting), why=str(error))
                for i in waiting:
                    outcomes[i] = Refused(ErrorKind.UNAVAILABLE, Reason.STORE)
                break
            again: list[int] = []
            for n, (i, item, result) in enumerate(zip(waiting, items, results, strict=True)):
                if result is IssueRefusal.NO_FREE_CANDIDATE:
                    again.append(i)
                elif isinstance(result, IssueRefusal):
                    outcomes[i] = _refused(result)
                else:
                    passcode = drawn[n] if result == 0 else drawn[len(items) + result - 1]
                    outcomes[i] = Issued(
                        item.device_id, item.challenge_id, passcode, item.expires_at_ms
                    )
            waiting = again
        return outcomes

    async def void(self, challenge_ids: Sequence[bytes]) -> None:
        """End codes that nobody may confirm any more. Raises StoreUnavailable."""
        await self._store.void_device_codes(challenge_ids, self._clock.now_ms())

    def _draw(
        self, device_ids: Sequence[str], length: int
    ) -> tuple[list[NewDeviceCode], list[Passcode]]:
        """The items, and the passcodes drawn: one an item, then the spares of all."""
        now_ms = self._clock.now_ms()
        expires_at_ms = now_ms + self._policy.ttl_ms
        count = len(device_ids)
        drawn = self._keyring.draw(DOMAIN, TENANT, ALPHABET, length, count + SPARES)
        spares = [digests for _, digests in drawn[count:]]
        ids = new_challenge_ids(now_ms, count)
        items = [
            NewDeviceCode(
                challenge_id, device_id, length, [digests, *spares], now_ms, expires_at_ms
            )
            for challenge_id, device_id, (_, digests) in zip(ids, device_ids, drawn, strict=False)
        ]
        return items, [passcode for passcode, _ in drawn]


def _refused(why: IssueRefusal) -> Refused:
    if why is IssueRefusal.DEVICE_REVOKED:
        return Refused(ErrorKind.UNAUTHORIZED, Reason.REVOKED)
    return Refused(ErrorKind.UNAUTHORIZED, Reason.DEVICE_UNKNOWN)
