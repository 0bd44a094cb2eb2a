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

from otp_server.domain.address import address_key
from otp_server.services.limit_charges import Charge, Limit, charge_or_refuse, told
from otp_server.services.limit_hits import NOBODY, Hitter

if TYPE_CHECKING:
    from otp_server.clock import Clock
    from otp_server.domain.process_outcome import ProcessRefused, Quota
    from otp_server.services.limit_hits import LimitHits
    from otp_server.services.start_limits import LimitWindows


@dataclass(frozen=True, slots=True)
class Login:
    """A login that was let in, charged as a failed one."""

    charge: Charge
    at_ms: int


class CallLimits:
    """Both limits. Nothing here blocks, so each method is one step."""

    def __init__(self, windows: LimitWindows, *, hits: LimitHits, clock: Clock) -> None:
        self._calls = Limit("calls", windows.calls, windows.keys_max)
        self._logins = Limit("failed-logins", windows.failed_logins, windows.keys_max)
        self._hits = hits
        self._clock = clock

    def begin_call(self, hitter: Hitter, client_id: str) -> ProcessRefused | tuple[Quota, ...]:
        """Charge a call, and say what is left; or why it is refused."""
        now_ms = self._clock.now_ms()
        charge = Charge(self._calls, client_id)
        refused = charge_or_refuse([charge], hitter, self._hits, now_ms)
        return refused or told([charge], now_ms)

    def begin_login(self, address: str) -> ProcessRefused | Login:
        """Charge a login as a failed one, before its secret is looked at; follow by ``end_login``.

        So logins that run together cannot pass the limit. A right one that is refused because
        many are being judged is told to come again in a second.
        """
        now_ms = self._clock.now_ms()
        charge = Charge(self._logins, address_key(address))
        refused = charge_or_refuse([charge], Hitter("", NOBODY, address), self._hits, now_ms)
        if refused is not None:
            return refused
        self._logins.hold(charge.key)
        return Login(charge, now_ms)

    def end_login(self, login: Login, *, failed: bool) -> None:
        """It was judged; one that did not fail is given back."""
        if not failed:
            self._logins.table.refund(login.charge.key, login.at_ms)
        self._logins.decide(login.charge.key)
