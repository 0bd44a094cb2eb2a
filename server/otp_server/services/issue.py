"""Issuing device codes: limiter -> length by policy -> draw -> one store transaction a batch.

A request is admitted once (the limiter is charged) and may then be tried in several batches, since
a cancelled batch leaves nothing behind (``services/ports.py``). Answers are values, in the order
asked.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
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
CANDIDATES = 4
"""Codes drawn for each request, so that a collision costs no second transaction."""
ROUNDS = 4
"""Transactions tried with fresh candidates before a request is refused as crowded."""
_CHALLENGE_ID_BYTES = 16  # 128 random bits (requirement 5)

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Drawn:
    item: NewDeviceCode
    passcodes: list[Passcode]


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
            drawn = self._draw([device_ids[i] for i in waiting], length)
            try:
                with self._live.issuing(length, len(waiting)):
                    results = await self._store.issue_device_codes([d.item for d in drawn])
            except StoreUnavailable as error:
                log.warning("codes not issued", count=len(waiting), why=str(error))
                for i in waiting:
                    outcomes[i] = Refused(ErrorKind.UNAVAILABLE, Reason.STORE)
                break
            again: list[int] = []
            for i, made, result in zip(waiting, drawn, results, strict=True):
                if result is IssueRefusal.NO_FREE_CANDIDATE:
                    again.append(i)
                else:
                    outcomes[i] = self._outcome(made, result)
            waiting = again
        return outcomes

    async def void(self, challenge_ids: Sequence[bytes]) -> None:
        """End codes that nobody may confirm any more. Raises StoreUnavailable."""
        await self._store.void_device_codes(challenge_ids, self._clock.now_ms())

    def _draw(self, device_ids: Sequence[str], length: int) -> list[_Drawn]:
        now_ms = self._clock.now_ms()
        codes = self._keyring.draw(DOMAIN, TENANT, ALPHABET, length, CANDIDATES * len(device_ids))
        drawn: list[_Drawn] = []
        for n, device_id in enumerate(device_ids):
            own = codes[n * CANDIDATES : (n + 1) * CANDIDATES]
            item = NewDeviceCode(
                challenge_id=secrets.token_bytes(_CHALLENGE_ID_BYTES),
                device_id=device_id,
                length=length,
                candidates=[digests for _, digests in own],
                issued_at_ms=now_ms,
                expires_at_ms=now_ms + self._policy.ttl_ms,
            )
            drawn.append(_Drawn(item, [passcode for passcode, _ in own]))
        return drawn

    def _outcome(self, made: _Drawn, result: int | IssueRefusal) -> IssueOutcome:
        if isinstance(result, int):
            item = made.item
            return Issued(
                item.device_id, item.challenge_id, made.passcodes[result], item.expires_at_ms
            )
        if result is IssueRefusal.DEVICE_REVOKED:
            return Refused(ErrorKind.UNAUTHORIZED, Reason.REVOKED)
        return Refused(ErrorKind.UNAUTHORIZED, Reason.DEVICE_UNKNOWN)
