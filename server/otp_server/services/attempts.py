"""Attempts: a typed code against the one of its process, counted before anybody compares.

For each attempt, in this order:

1. what cannot be a code of any type is refused and counts nowhere (requirement 24),
2. every limit is asked; if all agree, all are charged as for a wrong code,
3. the attempt is counted durably, in its own commit (11), which says what to compare it with,
4. the code of the process is derived and compared in constant time,
5. the verdict is settled; exactly one caller can win (13),
6. what was charged for a code that was not wrong is given back.

Killed between any two steps, a counted attempt stays counted, and a process is accepted once at
most.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from otp_server.domain.audit import Actor
from otp_server.domain.challenge_type import EVERY_CHANNEL
from otp_server.domain.idempotency import parse_key
from otp_server.domain.outcome import Reason
from otp_server.domain.process import FailureReason, ProcessStatus
from otp_server.domain.process_id import parse_uuid
from otp_server.domain.process_outcome import Accepted, ProcessRefused, Wrong
from otp_server.errors import ConfigError, ErrorKind, StoreUnavailable
from otp_server.services.idempotency import claim_refused
from otp_server.services.limit_hits import Hitter
from otp_server.services.ports.processes import (
    AttemptRefusal,
    AttemptReplayed,
    AttemptWait,
    ClaimRefusal,
    Counted,
    NewAttempt,
    Settled,
    Verdict,
)
from otp_server.services.process_code import is_code
from otp_server.services.process_fields import claim_problems, code_problems, invalid
from otp_server.services.store_wait import store_wait
from otp_server.telemetry import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from otp_server.clock import Clock
    from otp_server.core import Charges, Keyring
    from otp_server.domain.challenge_type import Channel
    from otp_server.domain.process_outcome import AttemptOutcome
    from otp_server.services.idempotency import Claims
    from otp_server.services.ports.processes import IdempotencyClaim, ProcessStore
    from otp_server.services.start_limits import ProcessLimits

FAILURES_POLICY = "contact-failures"
"""The policy that refuses while a contact waits after many wrong codes (``domain/budget.py``)."""
ROUTE_POLICY = "route-attempts"
"""The one that refuses while the last attempts of a route are compared."""
_OPERATION = "attempt"

_Caller = tuple[str, str, str]
"""Tenant, client and address."""

log = get_logger(__name__)

_REFUSALS = {
    AttemptRefusal.NOT_FOUND: (ErrorKind.OTP_NOT_FOUND, Reason.UNKNOWN),
    AttemptRefusal.EXPIRED: (ErrorKind.OTP_EXPIRED, Reason.EXPIRED),
    AttemptRefusal.ACCEPTED: (ErrorKind.OTP_ALREADY_ACCEPTED, Reason.ACCEPTED),
    AttemptRefusal.EXHAUSTED: (ErrorKind.OTP_ATTEMPTS_EXHAUSTED, Reason.EXHAUSTED),
    AttemptRefusal.SUPERSEDED: (ErrorKind.OTP_SUPERSEDED, Reason.SUPERSEDED),
    AttemptRefusal.UNDELIVERABLE: (ErrorKind.OTP_UNDELIVERABLE, Reason.UNDELIVERABLE),
    AttemptRefusal.LOCKED: (ErrorKind.CONTACT_LOCKED, Reason.LOCKED),
}
_FAILED = {
    FailureReason.EXHAUSTED: AttemptRefusal.EXHAUSTED,
    FailureReason.SUPERSEDED: AttemptRefusal.SUPERSEDED,
    FailureReason.UNDELIVERABLE: AttemptRefusal.UNDELIVERABLE,
}


class Attempt(msgspec.Struct, frozen=True):
    """One attempt. ``uuid``, ``code`` and ``claim_key`` (Idempotency-Key) as they were sent."""

    tenant: str
    client_id: str
    address: str
    uuid: str
    code: str
    claim_key: str | None = None

    def __repr__(self) -> str:
        """Without code and key."""
        return f"<Attempt at {self.uuid!r} by {self.client_id} of {self.tenant!r}>"

    @property
    def hitter(self) -> Hitter:
        """Who asks, for the trail of limits."""
        return Hitter(self.tenant, f"client:{self.client_id}", self.address)


@dataclass(frozen=True, slots=True)
class AttemptRules:
    """What attempts go by, beside limits.

    ``message_stored`` wakes who delivers: a wrong code may have led to a new message, over one of
    ``channels``, those that have a provider. It does not block.
    """

    claims: Claims
    message_stored: Callable[[], None]
    channels: frozenset[Channel] = EVERY_CHANNEL


class _Entered(msgspec.Struct, frozen=True):
    """An attempt that the limits let in; ``place`` is the one of its outcome."""

    place: int
    attempt: Attempt
    charges: Charges
    item: NewAttempt


class AttemptService:
    """Compares codes and ends processes."""

    def __init__(
        self,
        store: ProcessStore,
        *,
        clock: Clock,
        keyring: Keyring,
        limits: ProcessLimits,
        rules: AttemptRules,
    ) -> None:
        self._store = store
        self._clock = clock
        self._keyring = keyring
        self._limits = limits
        self._rules = rules

    async def check_keys(self) -> None:
        """At start: every open process's code can be derived (requirement 8).

        Raises ConfigError, naming the keys that are missing, and StoreUnavailable.
        """
        in_use = await self._store.key_ids_in_use(self._clock.now_ms())
        missing = sorted(in_use - set(self._keyring.key_ids))
        if missing:
            names = ", ".join(repr(key_id) for key_id in missing)
            raise ConfigError(
                f"keys.code has no {names}, and codes of open OTP processes are derived under it: "
                "put it back after the current key until those processes are over"
            )

    async def attempt_many(self, attempts: Sequence[Attempt]) -> list[AttemptOutcome]:
        """Answer each attempt, in two store transactions for the whole batch.

        Cancellation: once an attempt is charged the rest runs to its end
        (``services/store_wait.py``), so that a leaving client cannot un-count it. Raises nothing
        of the store: its failures are outcomes.
        """
        outcomes: list[AttemptOutcome | None] = [None] * len(attempts)
        now_ms = self._clock.now_ms()
        entered: list[_Entered] = []
        callers: dict[_Caller, tuple[Hitter, Actor]] = {}  # most of a batch are one's
        try:
            for i, attempt in enumerate(attempts):
                made = self._enter(i, attempt, callers, now_ms)
                if isinstance(made, _Entered):
                    entered.append(made)
                else:
                    outcomes[i] = made
            if entered:
                with store_wait():
                    await self._check(entered, outcomes)
        finally:
            for each in entered:
                each.charges.decide()
        unavailable = ProcessRefused(ErrorKind.UNAVAILABLE, Reason.STORE)
        return [outcome if outcome is not None else unavailable for outcome in outcomes]

    def _enter(
        self,
        place: int,
        attempt: Attempt,
        callers: dict[_Caller, tuple[Hitter, Actor]],
        now_ms: int,
    ) -> _Entered | ProcessRefused:
        """Steps 1 and 2."""
        problems = code_problems(attempt.code)
        if attempt.claim_key is not None:
            problems = claim_problems(attempt.claim_key) | problems
        if problems:
            return invalid(problems)
        uuid = parse_uuid(attempt.uuid)
        if uuid is None:
            return self._refused(AttemptRefusal.NOT_FOUND, attempt, now_ms)
        tenant, client_id = attempt.tenant, attempt.client_id
        caller = tenant, client_id, attempt.address
        known = callers.get(caller)
        if known is None:
            hitter = attempt.hitter
            known = callers[caller] = hitter, Actor(hitter.actor, attempt.address)
        hitter, actor = known
        claim = None if attempt.claim_key is None else self._claim(attempt, uuid, now_ms)
        charges = self._limits.begin_attempt(hitter, client_id, now_ms)
        if isinstance(charges, ProcessRefused):
            return charges
        item = NewAttempt(uuid, tenant, now_ms, actor, claim, self._rules.channels)
        return _Entered(place, attempt, charges, item)

    def _claim(self, attempt: Attempt, uuid: bytes, now_ms: int) -> IdempotencyClaim | None:
        """The claim of a key that is one."""
        key = None if attempt.claim_key is None else parse_key(attempt.claim_key)
        if key is None:
            return None
        asked = (uuid, attempt.code.encode(errors="surrogatepass"))
        return self._rules.claims.claim(attempt.client_id, _OPERATION, key, now_ms, asked=asked)

    async def _check(
        self, entered: Sequence[_Entered], outcomes: list[AttemptOutcome | None]
    ) -> None:
        """Steps 3 to 6; an outcome left out says that the store did not answer."""
        try:
            counted = await self._store.count_attempts([each.item for each in entered])
        except StoreUnavailable as error:
            log.warning("attempts not counted", count=len(entered), why=str(error))
            for each in entered:
                each.charges.refund()
            return
        compared: list[tuple[_Entered, Counted, bool]] = []
        for each, answer in zip(entered, counted, strict=True):
            if isinstance(answer, Counted):
                right = self._compare(each, answer)
                if isinstance(right, bool):
                    compared.append((each, answer, right))
                else:
                    outcomes[each.place] = right
            else:
                each.charges.refund()
                outcomes[each.place] = self._uncounted(answer, each)
        if compared:
            now_ms = self._clock.now_ms()  # when all were compared: none is accepted past its time
            channels = self._rules.channels
            verdicts = [
                (each, Verdict(answer, right, now_ms, each.item.actor, each.item.claim, channels))
                for each, answer, right in compared
            ]
            await self._settle(verdicts, outcomes)

    async def _settle(
        self,
        verdicts: Sequence[tuple[_Entered, Verdict]],
        outcomes: list[AttemptOutcome | None],
    ) -> None:
        try:
            settled = await self._store.settle_attempts([verdict for _, verdict in verdicts])
        except StoreUnavailable as error:
            log.warning("attempts not settled", count=len(verdicts), why=str(error))
            return
        for (_, verdict), end in zip(verdicts, settled, strict=True):
            if end is not Settled.ACCEPTED and _may_move_on(verdict.counted):
                self._rules.message_stored()
                break
        for each, verdict in verdicts:
            if verdict.right:
                each.charges.refund()
        now_ms = self._clock.now_ms()
        for (each, verdict), end in zip(verdicts, settled, strict=True):
            if end is Settled.WRONG:
                outcomes[each.place] = Wrong(quotas=each.charges.quotas(now_ms))
            elif end is Settled.ACCEPTED:
                self._limits.verified(verdict.counted.uuid, verdict.at_ms)
                outcomes[each.place] = Accepted(quotas=each.charges.quotas(now_ms))
            else:
                outcomes[each.place] = await self._late(each)

    def _compare(self, each: _Entered, counted: Counted) -> bool | ProcessRefused:
        """Whether the text is the code; a refusal where the code's key is gone, a fault of ours."""
        try:
            return is_code(self._keyring, counted, each.attempt.code)
        except KeyError:
            log.exception("the key of a code is not configured any more", key_id=counted.key_id)
            return ProcessRefused(ErrorKind.INTERNAL, Reason.KEY_MISSING)

    def _uncounted(
        self,
        answer: AttemptRefusal | AttemptWait | AttemptReplayed | ClaimRefusal,
        each: _Entered,
    ) -> AttemptOutcome:
        match answer:
            case AttemptRefusal():
                return self._refused(answer, each.attempt, each.item.at_ms)
            case AttemptWait():
                return refused_for_now(answer)
            case AttemptReplayed(accepted):
                kind = Accepted if accepted else Wrong
                return kind(replayed=True, quotas=each.charges.quotas(self._clock.now_ms()))
            case ClaimRefusal():
                return claim_refused(answer)

    def _refused(self, refusal: AttemptRefusal, attempt: Attempt, at_ms: int) -> ProcessRefused:
        if refusal is AttemptRefusal.NOT_FOUND:
            self._limits.unknown_process(attempt.hitter, at_ms)
        return _refused(refusal)

    async def _late(self, each: _Entered) -> AttemptOutcome | None:
        """Why a right code was not accepted: the process ended, or has a new code."""
        try:
            process = await self._store.find_process(each.attempt.tenant, each.item.uuid)
        except StoreUnavailable as error:
            log.warning("a late attempt is not told why", why=str(error))
            return None
        if process is None:
            return _refused(AttemptRefusal.NOT_FOUND)
        match process.status_at(self._clock.now_ms()):
            case ProcessStatus.ACCEPTED:
                return _refused(AttemptRefusal.ACCEPTED)
            case ProcessStatus.EXPIRED:
                return _refused(AttemptRefusal.EXPIRED)
            case ProcessStatus.FAILED if process.failure is not None:
                return _refused(_FAILED[process.failure])
        return Wrong(quotas=each.charges.quotas(self._clock.now_ms()))


def _may_move_on(counted: Counted) -> bool:
    """Whether there may be a next route, whose message is stored when one's attempts are over."""
    return len(counted.plan.routes) > 1


def refused_for_now(wait: AttemptWait) -> ProcessRefused:
    """The refusal of an attempt that must wait."""
    return ProcessRefused(
        ErrorKind.RATE_LIMITED,
        Reason.FAILURES_WAIT,
        wait.retry_after_ms,
        violated=(ROUTE_POLICY if wait.route else FAILURES_POLICY,),
    )


def _refused(refusal: AttemptRefusal) -> ProcessRefused:
    return ProcessRefused(*_REFUSALS[refusal])
