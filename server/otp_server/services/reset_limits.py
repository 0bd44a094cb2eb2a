"""The limits of codes of the svc face: exact windows, all asked, all charged or none (33-45).

    code-address    codes asked for, by address
    code-in-all     codes asked for by everybody
    code-account    codes sent, by organisation and e-mail
    code-wrong      wrong codes and secrets, and e-mails without an account, by address

An e-mail without an account is charged as one that has one, so a limit tells nobody which it is. A
refused call charges nothing, so it is told of the first limit that refuses it alone: what others
used of an account is no stranger's to read for free. ``code-account`` and ``code-in-all`` are told
only when they refuse. An attempt is charged as a wrong one until it is judged, and given
back when it was right; who is refused while many are being judged is told to come again in a
second (``LimitRow.hold``).

``code-account`` survives a restart (``restore``). The others begin anew: they bound the speed of a
caller; what must not be lost is the store's, such as the attempts of a secret.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from otp_server.core import Limit, LimitRow
from otp_server.domain.account import SVC_TENANT
from otp_server.domain.address import address_key
from otp_server.services.limit_charges import EVERYBODY, Gate

if TYPE_CHECKING:
    from collections.abc import Iterable

    from otp_server.core import Charges
    from otp_server.domain.process_outcome import ProcessRefused
    from otp_server.services.limit_charges import Windows
    from otp_server.services.limit_hits import Hitter, LimitHits
    from otp_server.services.ports.processes import StartRecord

UNKNOWN_SECRET = "unknown-secret"  # noqa: S105 - a word of the trail, not a secret
"""The word in the trail for a secret that is none of the caller's."""
NO_CODE = "no-code"
"""The one for an entry that cannot be a code: nothing to compare, or too long."""
UNKNOWN_ACCOUNT = "unknown-account"
"""The one for an e-mail or uid without an account, where that is revealed."""


@dataclass(frozen=True, slots=True)
class ResetWindows:
    """The windows as ``(count, milliseconds)`` pairs, and how many keys a table may hold."""

    account: Windows
    sends_address: Windows
    wrong_address: Windows
    sends_in_all: Windows
    keys_max: int = 1_000_000


class ResetLimits:
    """The four limits. Nothing here blocks, so each method is one step."""

    def __init__(self, windows: ResetWindows, *, hits: LimitHits) -> None:
        keys_max = windows.keys_max
        account = Limit("code-account", windows.account, keys_max, told=False)
        sends = [
            Limit("code-address", windows.sends_address, keys_max),
            Limit("code-in-all", windows.sends_in_all, 1, told=False),
            account,
        ]
        wrong = Limit("code-wrong", windows.wrong_address, keys_max)
        self._accounts = LimitRow([account])
        self._sends = Gate(LimitRow(sends, first_only=True), hits)
        self._attempts = Gate(LimitRow([wrong], first_only=True), hits)
        self._hits = hits
        self.longest_window_ms = max(period_ms for _, period_ms in windows.account)

    def restore(self, starts: Iterable[StartRecord], now_ms: int) -> int:
        """Charge what the store remembers of the svc face, oldest first; how many records.

        Once, at start. A start of the future says that the clock went back: it counts as of now.

        Raises:
            LimiterFull: more e-mails than ``keys_max`` were used in the longest window.
        """
        count = 0
        for start in starts:
            if start.tenant.startswith(SVC_TENANT):
                account = start.tenant, start.index
                self._accounts.record((account,), min(start.at_ms, now_ms))
                count += 1
        return count

    def begin_send(
        self, hitter: Hitter, email_index: bytes, now_ms: int
    ) -> ProcessRefused | Charges:
        """Charge a code for this e-mail, or say which limit refuses it.

        Follow one that was let in, when nothing was sent, by ``Charges.refund``.
        """
        account = hitter.tenant, email_index
        keys = address_key(hitter.address), EVERYBODY, account
        return self._sends.charge(keys, hitter, now_ms)

    def begin_attempt(self, hitter: Hitter, now_ms: int) -> ProcessRefused | Charges:
        """Charge an attempt as a wrong one, or say what refuses it.

        Follow one that was let in by ``Charges.decide``, however it ends, and one that was not a
        wrong code by ``Charges.refund`` before.
        """
        return self._attempts.hold((address_key(hitter.address),), hitter, now_ms)

    def note_unknown(self, hitter: Hitter, what: str, now_ms: int) -> None:
        """Note a word of the above, for the trail: the store writes nothing about it."""
        self._hits.note(hitter, (what,), now_ms)
