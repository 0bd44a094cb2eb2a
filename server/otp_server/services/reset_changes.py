"""``otp.set_password``: a right code changes the password, once, and signs the caller in.

For each call, in this order:

1. the socket is bound to the session, the account is looked up (``services/reset_reading.py``),
2. the new password is judged, which counts nothing (requirement 25),
3. limits, secret and room in the hasher, and only then the attempt is counted and compared
   (``services/reset_attempts.py``),
4. a wrong code is settled,
5. for a right one the password is hashed, and one transaction changes it, uses the code up, ends
   the user's other sessions, begins the caller's new one and leaves the notice in the outbox (26),
6. the socket that the caller named follows it; all others of his old session, and those of the
   ended ones, end.

Whoever signs out, or in, while the password is hashed has ended the session that the secret was
bound to: the code is then refused as a wrong one, and nobody is signed in.

Killed anywhere, the old password is there with its code unused, or the new one with it used. Once
counted, a call runs to its end, whatever its caller does.

Where accounts are not revealed, step 2 knows only what the caller said itself: that a name is
refused as a password would tell whose account it is. What the account says is asked when the code
was right, and a password refused then burns nothing either.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from otp_server.domain.account_outcome import PasswordRefused, SignedIn, WrongCode
from otp_server.domain.outcome import Reason, Refused
from otp_server.errors import Busy, ConfigError, ErrorKind, StoreUnavailable
from otp_server.services.ports.processes import Settled
from otp_server.services.ports.resets import PasswordChange
from otp_server.services.reset_parts import BUSY, NOT_DONE, UNREADABLE
from otp_server.services.store_wait import store_wait
from otp_server.telemetry import get_logger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otp_server.domain.account import Session, User
    from otp_server.domain.account_outcome import ChangeOutcome, UserView
    from otp_server.services.password_policy import PasswordPolicy
    from otp_server.services.passwords import PasswordHasher, ReservedPlace
    from otp_server.services.reset_attempts import Bound, Compared, Ends, Guess, ResetAttempts
    from otp_server.services.reset_calls import Change
    from otp_server.services.reset_parts import ResetParts
    from otp_server.services.reset_processes import ResetProcesses
    from otp_server.services.reset_reading import Asked, ResetReader
    from otp_server.services.sessions import SessionService

CHANGE_WAIT_S = 12.0
"""How long hashing, with those who wait before it, and the change itself may take. With the time
before it, less than an attempt may stay unsettled (``domain/budget.py``) in all but a stalled
store; there the change is refused as late."""

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class PasswordParts:
    """What a change needs beside the parts of all."""

    hasher: PasswordHasher
    policy: PasswordPolicy
    sessions: SessionService


@dataclass(frozen=True, slots=True)
class _Right:
    """A right code of a user, whose new password is good."""

    compared: Compared[Change]
    user: User
    view: UserView


@dataclass(frozen=True, slots=True)
class _Ready:
    """The change to ask the store for, and what its caller is told once it is done."""

    right: _Right
    session_id: str
    session: Session
    item: PasswordChange


class ResetChanges:
    """Changes passwords."""

    def __init__(
        self,
        parts: ResetParts,
        passwords: PasswordParts,
        reader: ResetReader,
        attempts: ResetAttempts,
        processes: ResetProcesses,
    ) -> None:
        self._parts = parts
        self._passwords = passwords
        self._reader = reader
        self._attempts = attempts
        self._processes = processes

    async def change_many(self, changes: Sequence[Change]) -> list[ChangeOutcome]:
        """See :class:`otp_server.services.resets.ResetService`."""
        asked, refused = await self._reader.read_many(changes, failed=NOT_DONE)
        outcomes: dict[int, ChangeOutcome] = {**refused}
        good: list[Asked[Change]] = []
        for each in asked:
            problem = await self._judge_entry(each)
            if problem is None:
                good.append(each)
            else:
                outcomes[each.place] = problem
        ends: Ends = {}
        guesses = self._attempts.enter(good, ends)
        try:
            if guesses:
                await self._change_all(guesses, ends, outcomes)
        finally:
            self._attempts.leave(guesses)
        outcomes.update(ends)
        return [outcomes.get(place, NOT_DONE) for place in range(len(changes))]

    async def _change_all(
        self,
        guesses: Sequence[Guess[Change]],
        ends: Ends,
        outcomes: dict[int, ChangeOutcome],
    ) -> None:
        """Steps 3 to 6; who is left out is told that the store failed."""
        with ExitStack() as reserved:
            places: dict[int, ReservedPlace] = {}
            compared: list[Compared[Change]] = []
            with store_wait():
                bound = await self._attempts.find(guesses, ends)
                ready = self._reserve(bound, reserved, places, ends)
                compared = await self._attempts.compare(ready, ends)
            with trio.CancelScope(shield=True, deadline=trio.current_time() + CHANGE_WAIT_S):
                rights = await self._settle_wrong(compared, ends, outcomes)
                changes = [
                    await self._prepare(right, places[right.compared.guess.place])
                    for right in rights
                ]
                if changes:
                    await self._change(changes, ends, outcomes)
                return
        log.warning("passwords perhaps not changed", count=len(guesses))

    def _reserve(
        self,
        bound: Sequence[Bound[Change]],
        reserved: ExitStack,
        places: dict[int, ReservedPlace],
        ends: Ends,
    ) -> list[Bound[Change]]:
        """Those with room in the hasher."""
        roomy: list[Bound[Change]] = []
        for each in bound:
            place = each.guess.place
            try:
                places[place] = reserved.enter_context(self._passwords.hasher.reserve())
            except Busy:
                each.guess.charges.refund()
                ends[place] = BUSY
            else:
                roomy.append(each)
        return roomy

    async def _settle_wrong(
        self,
        compared: Sequence[Compared[Change]],
        ends: Ends,
        outcomes: dict[int, ChangeOutcome],
    ) -> list[_Right]:
        """Step 4; those that are right, and that nothing else keeps from changing the password.

        What is kept from it is settled as a check is: the code stays good.
        """
        rights: list[_Right] = []
        others: list[Compared[Change]] = []
        for each in compared:
            user = each.guess.asked.user
            if not each.verdict.right or user is None:
                ends[each.guess.place] = WrongCode()
                others.append(each)
                continue
            judged = await self._judge_account(each, user)
            if isinstance(judged, _Right):
                rights.append(judged)
            else:
                outcomes[each.guess.place] = judged
                others.append(each)
        if not await self._attempts.settle(others):
            for each in others:
                ends[each.guess.place] = NOT_DONE
        return rights

    async def _prepare(self, right: _Right, place: ReservedPlace) -> _Ready:
        """The hash, and all that belongs to the change."""
        asked, verdict = right.compared.guess.asked, right.compared.verdict
        hashed = await place.hash(asked.call.password)
        session_id, session = self._passwords.sessions.new_signed_in(right.user, asked.session.host)
        notice = self._processes.notice(
            asked.tenant,
            right.view.email,
            asked.call.accept_language,
            actor=verdict.actor,
            now_ms=session.created_at_ms,
        )
        item = PasswordChange(verdict, right.user.uid, hashed, session, notice)
        return _Ready(right, session_id, session, item)

    async def _change(
        self, changes: Sequence[_Ready], ends: Ends, outcomes: dict[int, ChangeOutcome]
    ) -> None:
        """Steps 5 and 6."""
        try:
            changed = await self._parts.store.change_passwords([each.item for each in changes])
        except StoreUnavailable as error:
            log.warning("passwords not changed", count=len(changes), why=str(error))
            return
        for each, done in zip(changes, changed, strict=True):
            guess = each.right.compared.guess
            if done.settled is not Settled.ACCEPTED:
                ends[guess.place] = WrongCode()
                continue
            guess.charges.refund()
            asked = guess.asked
            self._parts.sockets.move(
                asked.session.digest, each.session.digest, asked.call.socket_id
            )
            self._parts.sockets.end(done.ended)
            outcomes[guess.place] = SignedIn(each.session_id, each.session, each.right.view)
        self._parts.rules.message_stored()

    async def _judge_entry(self, asked: Asked[Change]) -> PasswordRefused | Refused | None:
        """Step 2, by what may be known before the code was right; None: it is good."""
        about: Sequence[str] = [asked.call.uid]
        if self._parts.rules.reveal_accounts:
            if asked.user is None:
                return None  # there is no account: that is the answer, and not the password
            view = self._parts.accounts.view(asked.user)
            if view is None:
                return UNREADABLE
            about = _about(view)
        return await self._judge(asked.call.password, about)

    async def _judge_account(
        self, compared: Compared[Change], user: User
    ) -> _Right | PasswordRefused | Refused:
        """Step 2, by what the account says, where that has not been asked yet."""
        view = self._parts.accounts.view(user)
        if view is None:
            return UNREADABLE
        if not self._parts.rules.reveal_accounts:
            problem = await self._judge(compared.guess.asked.call.password, _about(view))
            if problem is not None:
                return problem
        return _Right(compared, user, view)

    async def _judge(self, password: str, about: Sequence[str]) -> PasswordRefused | Refused | None:
        try:
            problems = await self._passwords.policy.problems_of(password, about=about)
        except Busy:
            return BUSY
        except ConfigError as error:
            log.error("a new password was not judged", why=str(error))  # noqa: TRY400 - says it all
            return Refused(ErrorKind.INTERNAL, Reason.BUG)
        return PasswordRefused(tuple(problems)) if problems else None


def _about(view: UserView) -> list[str]:
    return [view.email, view.firstname, view.lastname]
