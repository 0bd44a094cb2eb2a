"""How often an address may call the svc face, whatever it asks.

    svc-address   calls, by address

It is judged before anything is read, so a caller over its limit costs no store. A refused call
charges nothing; one that was let in stays a call, whatever becomes of it. It begins anew at each
start of the server: it bounds the speed of a caller.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from otp_server.core import Limit, LimitRow
from otp_server.domain.address import address_key
from otp_server.domain.process_outcome import ProcessRefused
from otp_server.services.limit_charges import Gate
from otp_server.services.limit_hits import NOBODY, Hitter

if TYPE_CHECKING:
    from otp_server.clock import Clock
    from otp_server.services.limit_charges import Windows
    from otp_server.services.limit_hits import LimitHits


class AddressCalls:
    """The limit. Nothing here blocks, so ``begin`` is one step."""

    def __init__(self, windows: Windows, keys_max: int, *, hits: LimitHits, clock: Clock) -> None:
        """``windows``: ``(count, milliseconds)`` pairs; ``keys_max``: addresses held at once."""
        self._gate = Gate(LimitRow([Limit("svc-address", windows, keys_max)]), hits)
        self._clock = clock

    def begin(self, address: str) -> ProcessRefused | None:
        """Charge a call, or say why it is refused."""
        hitter = Hitter("", NOBODY, address)
        charged = self._gate.charge((address_key(address),), hitter, self._clock.now_ms())
        return charged if isinstance(charged, ProcessRefused) else None
