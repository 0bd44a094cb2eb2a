"""``otp.send``: a code on its way, and the secret that names it to this session.

For each call, in this order:

1. the socket is bound to the session, the account is looked up (``services/reset_reading.py``),
2. every limit is asked; if all agree, all are charged, whether there is an account or not,
3. the store: process, secret and message in one commit; for an e-mail without an account a decoy,
   where accounts are not revealed,
4. what was charged for a code that was certainly not stored is given back,
5. the provider's answer is waited for, for a while. Where accounts are not revealed nobody waits,
   since nothing is delivered to a decoy; it is said that the code was sent.

Nothing is sent here: the delivery workers do (requirement 31).
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from otp_server.domain.account import digest_of, new_secret
from otp_server.domain.account_outcome import NoUser, SecretSent
from otp_server.domain.contact import parse_email
from otp_server.domain.process_outcome import ProcessRefused
from otp_server.errors import StoreUnavailable
from otp_server.services.ports.resets import NewReset, Reset
from otp_server.services.reset_limits import UNKNOWN_ACCOUNT
from otp_server.services.reset_parts import NOT_DONE, UNREADABLE
from otp_server.services.store_wait import store_wait
from otp_server.telemetry import get_logger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otp_server.core import Charges
    from otp_server.domain.account_outcome import SendOutcome, UserView
    from otp_server.services.delivery_watch import DeliveryWatch, Watched
    from otp_server.services.reset_calls import Send
    from otp_server.services.reset_parts import ResetParts
    from otp_server.services.reset_processes import ResetProcesses
    from otp_server.services.reset_reading import Asked, ResetReader

_OTP, _SECRET = "otp", "secret"
"""The methods; any other is the latter. Upstream has these two tables (D9)."""

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Entered:
    """A send that the limits let in."""

    asked: Asked[Send]
    charges: Charges
    secret: str
    new: NewReset
    view: UserView | None


class ResetSends:
    """Sends codes."""

    def __init__(
        self,
        parts: ResetParts,
        reader: ResetReader,
        processes: ResetProcesses,
        watch: DeliveryWatch,
    ) -> None:
        self._parts = parts
        self._reader = reader
        self._processes = processes
        self._watch = watch

    async def send_many(self, sends: Sequence[Send]) -> list[SendOutcome]:
        """See :class:`otp_server.services.resets.ResetService`."""
        asked, refused = await self._reader.read_many(sends, failed=NOT_DONE)
        outcomes: dict[int, SendOutcome] = {**refused}
        entered = self._enter(asked, outcomes)
        if entered:
            await self._send(entered, outcomes)
        return [outcomes.get(place, NOT_DONE) for place in range(len(sends))]

    def _enter(
        self, asked: Sequence[Asked[Send]], outcomes: dict[int, SendOutcome]
    ) -> list[_Entered]:
        """Step 2, for all at one instant."""
        now_ms = self._parts.clock.now_ms()
        limits, reveal = self._parts.limits, self._parts.rules.reveal_accounts
        entered: list[_Entered] = []
        for each in asked:
            charges = limits.begin_send(each.hitter, each.email_index or b"", now_ms)
            if isinstance(charges, ProcessRefused):
                outcomes[each.place] = charges
                continue
            if reveal and each.user is None:
                limits.note_unknown(each.hitter, UNKNOWN_ACCOUNT, now_ms)
                outcomes[each.place] = NoUser()
                continue
            view = None
            if reveal and each.user is not None:
                view = self._parts.accounts.view(each.user)
                if view is None:
                    charges.refund()
                    outcomes[each.place] = UNREADABLE
                    continue
            secret = new_secret()
            entered.append(_Entered(each, charges, secret, self._reset(each, secret, now_ms), view))
        return entered

    def _reset(self, asked: Asked[Send], secret: str, now_ms: int) -> NewReset:
        """What is no e-mail is no account's either, and gets a decoy for nobody."""
        call, tenant = asked.call, asked.tenant
        process = self._processes.code(
            tenant,
            parse_email(call.email) or "",
            call.accept_language,
            actor=asked.actor,
            now_ms=now_ms,
        )
        reset = Reset(
            secret_digest=digest_of(secret),
            tenant=tenant,
            uuid=process.uuid,
            uid=None if asked.user is None else asked.user.uid,
            email_index=process.counted_indexes[0],
            session_digest=asked.session.digest,
            method=_OTP if call.method == _OTP else _SECRET,
            created_at_ms=now_ms,
            expires_at_ms=process.expires_at_ms,
        )
        return NewReset(process, reset)

    async def _send(self, entered: Sequence[_Entered], outcomes: dict[int, SendOutcome]) -> None:
        """Steps 3 to 5."""
        with ExitStack() as watches:
            watched = [
                watches.enter_context(self._watch.watch(each.new.process.uuid))
                for each in entered
                if self._parts.rules.reveal_accounts
            ]
            stored = await self._store(entered)
            self._parts.rules.message_stored()
            if not stored:
                return
            sent = await self._delivered(watched) if watched else [True] * len(entered)
        for each, is_sent in zip(entered, sent, strict=True):
            outcomes[each.asked.place] = SecretSent(
                each.secret, each.asked.call.email, is_sent, each.view
            )

    async def _store(self, entered: Sequence[_Entered]) -> bool:
        """Steps 3 and 4: whether the store has them for certain."""
        with store_wait():
            try:
                await self._parts.store.start_resets([each.new for each in entered])
            except StoreUnavailable as error:
                log.warning("no codes sent", count=len(entered), why=str(error))
                for each in entered:
                    each.charges.refund()
                return False
            return True
        log.warning("codes perhaps not sent", count=len(entered))
        return False

    async def _delivered(self, watched: Sequence[Watched]) -> list[bool]:
        """Step 5: each within the same time."""
        until = trio.current_time() + self._parts.rules.delivery_wait_s
        return [await each.wait(max(0.0, until - trio.current_time())) for each in watched]
