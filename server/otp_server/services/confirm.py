"""Confirming device codes: exactly once, under guess limits, with one face for every refusal.

For each attempt, in this order:

1. every limiter is asked; if all agree, all are charged (address prefix, organisation, everyone),
2. the guess is counted durably, in its own commit, and what it may match is read,
3. the digests are compared in constant time, life and expiry are checked,
4. a guarded update ends the code; exactly one caller can win it,
5. the winner's charge is given back, its own and nothing else (requirement 49).

Killed between any two steps, the guess stays counted and the code is confirmed at most once.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from otp_server.core import verify_digest
from otp_server.domain.challenge import CodeState
from otp_server.domain.outcome import Confirmed, ConfirmOutcome, Reason, Refused
from otp_server.errors import ErrorKind, LimiterFull, StoreUnavailable
from otp_server.services.issue import DOMAIN, TENANT
from otp_server.services.ports import Acceptance, AcceptRefusal, Guess
from otp_server.telemetry import get_logger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otp_server.clock import Clock
    from otp_server.core import Keyring, Passcode, SlidingWindows
    from otp_server.domain.challenge import DeviceCode, Route
    from otp_server.services.ports import CodeStore

CLOCK_SKEW_MS = 2_000
"""How far before its issue a code may be confirmed: the step back of a wall clock across a
restart that is still believed (requirement 17)."""
STORE_WAIT_S = 8.0
"""How long a confirmation waits for the store; it is not cut short by a leaving client."""
_GUESS_ID_BYTES = 16
_EVERYONE = ""

log = get_logger(__name__)

_INVALID = ErrorKind.INVALID_CODE


@dataclass(frozen=True, slots=True)
class Attempt:
    """One confirm request. ``address_key`` as :func:`otp_server.domain.address.address_key`."""

    passcode: Passcode
    route: Route
    address_key: str
    org_id: int | None = None


@dataclass(frozen=True, slots=True)
class GuessLimits:
    """The three tables; a guess must pass all (requirement 45)."""

    per_address: SlidingWindows
    per_organisation: SlidingWindows
    in_all: SlidingWindows

    def reserve(self, guess: Guess) -> Refused | None:
        """Charge all tables, or none and say why. Never blocks, so the two steps are one."""
        asked = self._tables(guess)
        waits = [(table.wait_ms(key, guess.at_ms), reason) for table, key, reason in asked]
        wait_ms, reason = max(waits, key=lambda wait: wait[0])
        if wait_ms:
            return Refused(ErrorKind.RATE_LIMITED, reason, wait_ms)
        charged: list[tuple[SlidingWindows, str]] = []
        try:
            for table, key, _ in asked:
                table.reserve(key, guess.at_ms)
                charged.append((table, key))
        except LimiterFull:
            for table, key in charged:
                table.refund(key, guess.at_ms)
            return Refused(ErrorKind.OVERLOADED, Reason.LIMITER_FULL)
        return None

    def record(self, guess: Guess) -> None:
        """Charge all tables unasked: a guess of the time before a restart."""
        for table, key, _ in self._tables(guess):
            table.record(key, guess.at_ms)

    def refund(self, guess: Guess) -> None:
        """Give this guess back to all tables."""
        for table, key, _ in self._tables(guess):
            table.refund(key, guess.at_ms)

    def _tables(self, guess: Guess) -> list[tuple[SlidingWindows, str, Reason]]:
        tables = [
            (self.per_address, guess.address_key, Reason.ADDRESS_LIMIT),
            (self.in_all, _EVERYONE, Reason.GLOBAL_LIMIT),
        ]
        if guess.org_id is not None:
            tables.append((self.per_organisation, str(guess.org_id), Reason.ORG_LIMIT))
        return tables


class ConfirmService:
    """Checks codes and ends them."""

    def __init__(
        self, store: CodeStore, *, keyring: Keyring, clock: Clock, limits: GuessLimits
    ) -> None:
        self._store = store
        self._keyring = keyring
        self._clock = clock
        self._limits = limits

    async def restore(self, longest_window_ms: int) -> int:
        """Charge the limits with the guesses the store remembers; how many. Call once at start."""
        now_ms = self._clock.now_ms()
        guesses = await self._store.guesses_since(now_ms - longest_window_ms)
        for guess in guesses:
            at_ms = min(guess.at_ms, now_ms)  # a clock set back must not hide a guess
            self._limits.record(Guess(guess.guess_id, at_ms, guess.address_key, guess.org_id))
        return len(guesses)

    async def confirm_many(self, attempts: Sequence[Attempt]) -> list[ConfirmOutcome]:
        """Answer each attempt, in two store transactions for the whole batch.

        Cancellation: once a guess is charged the rest runs to its end (at most ``STORE_WAIT_S``),
        whoever waits for it, so that a leaving client cannot un-count a guess. Raises nothing of
        the store: its failures are outcomes.
        """
        outcomes: list[ConfirmOutcome | None] = [None] * len(attempts)
        guesses: list[Guess | None] = [None] * len(attempts)
        now_ms = self._clock.now_ms()
        for i, attempt in enumerate(attempts):
            guess = Guess(
                secrets.token_bytes(_GUESS_ID_BYTES), now_ms, attempt.address_key, attempt.org_id
            )
            refused = self._limits.reserve(guess)
            if refused is None:
                guesses[i] = guess
            else:
                outcomes[i] = refused
        unavailable = Refused(ErrorKind.UNAVAILABLE, Reason.STORE)
        with trio.CancelScope(shield=True, deadline=trio.current_time() + STORE_WAIT_S):
            try:
                await self._check(attempts, guesses, outcomes)
            except StoreUnavailable as error:
                log.warning("codes not confirmed", count=len(attempts), why=str(error))
        return [outcome if outcome is not None else unavailable for outcome in outcomes]

    async def _check(
        self,
        attempts: Sequence[Attempt],
        guesses: Sequence[Guess | None],
        outcomes: list[ConfirmOutcome | None],
    ) -> None:
        digests = {
            i: self._keyring.digests(DOMAIN, TENANT, b"", attempts[i].passcode)
            for i, guess in enumerate(guesses)
            if guess is not None
        }
        counted = [(guess, digests[i]) for i, guess in enumerate(guesses) if guess is not None]
        if not counted:
            return
        found = await self._store.count_guesses(counted)
        now_ms = self._clock.now_ms()
        winners: list[tuple[int, Guess, Acceptance]] = []
        for i, (guess, _), code in zip(digests, counted, found, strict=True):
            reason = self._judge(code, digests[i], now_ms)
            if code is None or reason is not None:
                outcomes[i] = Refused(_INVALID, reason or Reason.UNKNOWN)
                continue
            attempt = attempts[i]
            winners.append(
                (
                    i,
                    guess,
                    Acceptance(
                        code.challenge_id, guess.guess_id, attempt.route, attempt.org_id, now_ms
                    ),
                )
            )
        if not winners:
            return
        accepted = await self._store.accept_device_codes([wish for _, _, wish in winners])
        for (i, guess, _), answer in zip(winners, accepted, strict=True):
            match answer:
                case AcceptRefusal.NOT_LIVE:
                    outcomes[i] = Refused(_INVALID, Reason.RACE_LOST)
                case AcceptRefusal.LINKED_ELSEWHERE:
                    outcomes[i] = Refused(ErrorKind.LINKED_ELSEWHERE, Reason.LINKED_ELSEWHERE)
                case device:
                    self._limits.refund(guess)
                    outcomes[i] = Confirmed(device)

    def _judge(
        self, code: DeviceCode | None, digests: Sequence[bytes], now_ms: int
    ) -> Reason | None:
        """Why this code may not be confirmed, or None when it may."""
        if code is None:
            verify_digest(bytes(len(digests[0])), digests)  # the same work as for a known code
            return Reason.UNKNOWN
        if not verify_digest(code.digest, digests):
            return Reason.UNKNOWN
        if code.is_live(now_ms, skew_ms=CLOCK_SKEW_MS):
            return None
        if code.state is CodeState.ISSUED:
            return Reason.EXPIRED
        return Reason(code.state.value)
