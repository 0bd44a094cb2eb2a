"""How often a client may call, whatever it asks, and how often an address may fail to log in.

    calls          every authenticated call, by client
    failed-logins  wrong client secrets and unknown clients, by address

They are judged before anything is read, so a caller over its limit costs no store. A refused call
charges nothing; one that was let in stays a call, whatever becomes of it. Both begin anew at each
start of the server: they bound the speed of a caller.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from otp_server.core import Limit, LimitRow
from otp_server.domain.address import address_key
from otp_server.domain.process_outcome import ProcessRefused
from otp_server.errors import LimiterFull
from otp_server.services.limit_charges import TABLE_FULL, Gate
from otp_server.services.limit_hits import NOBODY, Hitter

if TYPE_CHECKING:
    from otp_server.clock import Clock
    from otp_server.core import Charges, Quotas
    from otp_server.services.limit_hits import LimitHits
    from otp_server.services.start_limits import LimitWindows


@dataclass(frozen=True, slots=True)
class Login:
    """A login that was let in, charged as a failed one."""

    charges: Charges


class CallLimits:
    """Both limits. Nothing here blocks, so each method is one step."""

    def __init__(self, windows: LimitWindows, *, hits: LimitHits, clock: Clock) -> None:
        keys_max = windows.keys_max
        self._calls = Gate(LimitRow([Limit("calls", windows.calls, keys_max)]), hits)
        logins = Limit("failed-logins", windows.failed_logins, keys_max)
        self._logins = Gate(LimitRow([logins]), hits)
        self._clock = clock

    def begin_call(self, tenant: str, client_id: str, address: str) -> ProcessRefused | Quotas:
        """Charge a call, and say what is left; or why it is refused."""
        now_ms = self._clock.now_ms()
        keys = (client_id,)
        try:
            quotas = self._calls.row.spend(keys, now_ms)
        except LimiterFull:
            return TABLE_FULL
        if quotas is not None:
            return quotas
        return self._calls.refuse(keys, Hitter(tenant, f"client:{client_id}", address), now_ms)

    def begin_login(self, address: str) -> ProcessRefused | Login:
        """Charge a login as a failed one, before its secret is looked at; follow by ``end_login``.

        So logins that run together cannot pass the limit. A right one that is refused because
        many are being judged is told to come again in a second.
        """
        hitter = Hitter("", NOBODY, address)
        charges = self._logins.hold((address_key(address),), hitter, self._clock.now_ms())
        return charges if isinstance(charges, ProcessRefused) else Login(charges)

    def end_login(self, login: Login, *, failed: bool) -> None:
        """It was judged; one that did not fail is given back."""
        if not failed:
            login.charges.refund()
        login.charges.decide()
