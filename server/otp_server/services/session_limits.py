"""How often somebody may begin a session, and try a password (requirements 40, 45).

    sign-in-address   wrong passwords, by address
    sign-in-account   wrong passwords, by account
    session-address   sessions begun without signing in, by address
    session-in-all    sessions begun without signing in, by everybody

A sign-in is charged as a failed one before its password is looked at, and given back when it did
not fail: those that run together cannot pass a limit. An e-mail that has no account is charged as
one that has. A refused call charges nothing, so it is told of the first limit that refuses it
alone: what others tried at an account is no stranger's to read for free. ``sign-in-account`` and
``session-in-all`` are told only when they refuse. All of them begin anew at each start of the
server: they bound the speed of a caller.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from otp_server.core import Limit, LimitRow
from otp_server.domain.account import tenant_of
from otp_server.domain.address import address_key
from otp_server.domain.process_outcome import ProcessRefused
from otp_server.services.limit_charges import EVERYBODY, Gate
from otp_server.services.limit_hits import NOBODY, Hitter

if TYPE_CHECKING:
    from otp_server.clock import Clock
    from otp_server.core import Charges
    from otp_server.services.limit_charges import Windows
    from otp_server.services.limit_hits import LimitHits

WRONG_PASSWORD = "wrong-password"  # noqa: S105 - a word of the trail, not a password
"""The word in the trail for a sign-in that failed: the store writes nothing about it."""


@dataclass(frozen=True, slots=True)
class SessionWindows:
    """The windows as ``(count, milliseconds)`` pairs, and how many keys a table may hold."""

    account: Windows
    address: Windows
    sessions: Windows
    sessions_in_all: Windows
    keys_max: int = 1_000_000


@dataclass(frozen=True, slots=True)
class SignInCharge:
    """A sign-in that was let in, charged as a failed one."""

    charges: Charges


class SessionLimits:
    """The four limits. Nothing here blocks, so each method is one step."""

    def __init__(self, windows: SessionWindows, *, hits: LimitHits, clock: Clock) -> None:
        keys_max = windows.keys_max
        sign_ins = [
            Limit("sign-in-address", windows.address, keys_max),
            Limit("sign-in-account", windows.account, keys_max, told=False),
        ]
        sessions = [
            Limit("session-address", windows.sessions, keys_max),
            Limit("session-in-all", windows.sessions_in_all, 1, told=False),
        ]
        self._sign_ins = Gate(LimitRow(sign_ins, first_only=True), hits)
        self._sessions = Gate(LimitRow(sessions, first_only=True), hits)
        self._hits = hits
        self._clock = clock

    def begin_session(self, organisation: str, address: str) -> ProcessRefused | None:
        """Charge a session that begins without signing in, or say what refuses it."""
        hitter = Hitter(tenant_of(organisation), NOBODY, address)
        keys = address_key(address), EVERYBODY
        charged = self._sessions.charge(keys, hitter, self._clock.now_ms())
        return charged if isinstance(charged, ProcessRefused) else None

    def begin_sign_in(
        self, organisation: str, email_index: bytes, address: str
    ) -> ProcessRefused | SignInCharge:
        """Charge a sign-in as a failed one, or say what refuses it; follow by ``end_sign_in``.

        One that is refused while many are being judged is told to come again in a second.
        """
        tenant = tenant_of(organisation)
        keys = address_key(address), (tenant, email_index)
        hitter = Hitter(tenant, NOBODY, address)
        charges = self._sign_ins.hold(keys, hitter, self._clock.now_ms())
        return charges if isinstance(charges, ProcessRefused) else SignInCharge(charges)

    def end_sign_in(self, charged: SignInCharge, *, failed: bool) -> None:
        """It was judged; one that did not fail is given back."""
        if not failed:
            charged.charges.refund()
        charged.charges.decide()

    def note_wrong(self, organisation: str, uid: str | None, address: str) -> None:
        """Write down, for the trail, that a password was wrong; ``uid`` None: no such account."""
        actor = NOBODY if uid is None else f"user:{uid}"
        hitter = Hitter(tenant_of(organisation), actor, address)
        self._hits.note(hitter, (WRONG_PASSWORD,), self._clock.now_ms())
