"""A secret and a code against what was sent: counted before anybody compares (requirement 11).

What ``otp.verify`` and ``otp.set_password`` have in common, in this order:

1. the limit of wrong codes is asked, and charged as for a wrong one,
2. what is too long, or holds nothing to compare, is wrong, and no secret's attempt (24),
3. the secret is looked up; one that is not of this session and account is wrong, and no attempt of
   the secret either: nobody can burn another's (requirement 29),
4. the attempt is counted durably,
5. the code is derived and compared in constant time. A decoy's is never right.

Unknown, expired, exhausted, superseded and used secrets all look alike: wrong.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

from otp_server.domain.account import digest_of
from otp_server.domain.account_outcome import NoUser, WrongCode
from otp_server.domain.audit import Actor
from otp_server.domain.code_entry import CHARACTERS_PER_SYMBOL_MAX
from otp_server.domain.outcome import Reason, Refused
from otp_server.domain.process_outcome import ProcessRefused
from otp_server.errors import ErrorKind, StoreUnavailable
from otp_server.services.attempts import refused_for_now
from otp_server.services.ports.processes import (
    AttemptRefusal,
    AttemptWait,
    Counted,
    NewAttempt,
    Settled,
    Verdict,
)
from otp_server.services.process_code import is_code
from otp_server.services.reset_calls import Change, Check
from otp_server.services.reset_limits import NO_CODE, UNKNOWN_ACCOUNT, UNKNOWN_SECRET
from otp_server.services.reset_parts import UNREADABLE
from otp_server.services.reset_processes import CODE_LENGTH
from otp_server.telemetry import get_logger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otp_server.core import Charges
    from otp_server.services.ports.processes import CountOutcome
    from otp_server.services.ports.resets import Reset
    from otp_server.services.reset_parts import ResetParts
    from otp_server.services.reset_reading import Asked

G = TypeVar("G", bound=Check | Change)

Ends = dict[int, NoUser | WrongCode | Refused]
"""The calls of a batch that have their answer, by place."""
_CODE_CHARACTERS_MAX = CHARACTERS_PER_SYMBOL_MAX * CODE_LENGTH
_LOCKED = Refused(ErrorKind.CONTACT_LOCKED, Reason.LOCKED)

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Guess(Generic[G]):
    """An attempt that the limits let in. ``code`` as text."""

    asked: Asked[G]
    charges: Charges
    code: str = field(repr=False)

    @property
    def place(self) -> int:
        """Of its outcome."""
        return self.asked.place


@dataclass(frozen=True, slots=True)
class Bound(Generic[G]):
    """One whose secret is of this session and account; ``reset`` is that of a decoy or a user."""

    guess: Guess[G]
    reset: Reset


@dataclass(frozen=True, slots=True)
class Compared(Generic[G]):
    """One that was counted and compared, and must be settled."""

    guess: Guess[G]
    reset: Reset
    verdict: Verdict


class ResetAttempts:
    """The steps. Those of the store take the whole batch at once."""

    def __init__(self, parts: ResetParts) -> None:
        self._parts = parts

    def enter(self, asked: Sequence[Asked[G]], ends: Ends) -> list[Guess[G]]:
        """Step 1, for all at one instant; follow by ``leave``."""
        now_ms = self._parts.clock.now_ms()
        limits, reveal = self._parts.limits, self._parts.rules.reveal_accounts
        entered: list[Guess[G]] = []
        for each in asked:
            charges = limits.begin_attempt(each.hitter, now_ms)
            if isinstance(charges, ProcessRefused):
                ends[each.place] = charges
                continue
            if reveal and each.user is None:
                limits.note_unknown(each.hitter, UNKNOWN_ACCOUNT, now_ms)
                ends[each.place] = NoUser()
            entered.append(Guess(each, charges, code_text(each.call.code)))
        return entered

    def leave(self, guesses: Sequence[Guess[G]]) -> None:
        """All were judged."""
        for each in guesses:
            each.charges.decide()

    async def find(self, guesses: Sequence[Guess[G]], ends: Ends) -> list[Bound[G]]:
        """Steps 2 and 3, of those without an answer; a store that failed leaves none."""
        asked = [each for each in guesses if each.place not in ends]
        fit: list[Guess[G]] = []
        for each in asked:
            if _may_be_code(each.code):
                fit.append(each)
            else:
                self._refuse(each, NO_CODE, ends)
        if not fit:
            return []
        try:
            resets = await self._parts.store.find_resets(
                [digest_of(each.asked.call.secret) for each in fit]
            )
        except StoreUnavailable as error:
            log.warning("secrets not found", count=len(fit), why=str(error))
            self._take_back(fit)
            return []
        bound: list[Bound[G]] = []
        for each, reset in zip(fit, resets, strict=True):
            if reset is not None and _is_of(reset, each.asked):
                bound.append(Bound(each, reset))
            else:
                self._refuse(each, UNKNOWN_SECRET, ends)
        return bound

    async def compare(self, bound: Sequence[Bound[G]], ends: Ends) -> list[Compared[G]]:
        """Steps 4 and 5; a store that failed leaves none."""
        if not bound:
            return []
        now_ms, channels = self._parts.clock.now_ms(), self._parts.rules.channels
        attempts = [
            NewAttempt(
                each.reset.uuid,
                each.reset.tenant,
                now_ms,
                each.guess.asked.actor,
                usable=channels,
            )
            for each in bound
        ]
        try:
            counted = await self._parts.store.count_attempts(attempts)
        except StoreUnavailable as error:
            log.warning("attempts not counted", count=len(bound), why=str(error))
            self._take_back([each.guess for each in bound])
            return []
        compared: list[Compared[G]] = []
        for each, answer in zip(bound, counted, strict=True):
            if isinstance(answer, Counted):
                verdict = self._compare(each, answer)
                if verdict is None:
                    ends[each.guess.place] = UNREADABLE
                else:
                    compared.append(Compared(each.guess, each.reset, verdict))
            else:
                ends[each.guess.place] = self._uncounted(each.guess, answer)
        return compared

    async def settle(self, compared: Sequence[Compared[G]]) -> list[Settled]:
        """Write the verdicts down, which ends no process of a right one; none: the store failed.

        What was charged for a right one is given back.
        """
        if not compared:
            return []
        try:
            settled = await self._parts.store.settle_checks([each.verdict for each in compared])
        except StoreUnavailable as error:
            log.warning("attempts not settled", count=len(compared), why=str(error))
            return []
        for each, end in zip(compared, settled, strict=True):
            if end is Settled.ACCEPTED:
                each.guess.charges.refund()
        return settled

    def _compare(self, bound: Bound[G], counted: Counted) -> Verdict | None:
        """None: the code's key is gone, a fault of ours."""
        asked = bound.guess.asked
        try:
            right = is_code(self._parts.keyring, counted, bound.guess.code)
        except KeyError:
            log.exception("the key of a code is not configured any more", key_id=counted.key_id)
            return None
        uid = bound.reset.uid
        right = right and uid is not None
        actor = Actor(f"user:{uid}", asked.call.address) if right else asked.actor
        now_ms = self._parts.clock.now_ms()
        return Verdict(counted, right, now_ms, actor, usable=self._parts.rules.channels)

    def _uncounted(self, guess: Guess[G], answer: CountOutcome) -> WrongCode | Refused:
        match answer:
            case AttemptRefusal.LOCKED:
                self._take_back([guess])
                return _LOCKED
            case AttemptWait():
                self._take_back([guess])
                return refused_for_now(answer)
        return WrongCode()

    def _refuse(self, guess: Guess[G], what: str, ends: Ends) -> None:
        """As wrong, with no attempt of a secret; the trail is told in its stead."""
        self._parts.limits.note_unknown(guess.asked.hitter, what, guess.charges.at_ms)
        ends[guess.place] = WrongCode()

    def _take_back(self, guesses: Sequence[Guess[G]]) -> None:
        for each in guesses:
            each.charges.refund()


def code_text(code: str | int) -> str:
    """A code as text: a number that may be one with its leading zeros, any other is no code."""
    if isinstance(code, str):
        return code
    return f"{code:0{CODE_LENGTH}d}" if 0 <= code < 10**CODE_LENGTH else ""


def _may_be_code(code: str) -> bool:
    return len(code) <= _CODE_CHARACTERS_MAX and any(c.isalnum() for c in code)


def _is_of(reset: Reset, asked: Asked[G]) -> bool:
    """Whether the secret was given to this session, and for this account."""
    given_to = (reset.session_digest, reset.tenant, reset.email_index)
    if given_to != (asked.session.digest, asked.tenant, asked.email_index):
        return False
    return not asked.looked_up or reset.uid == (None if asked.user is None else asked.user.uid)
