"""The limits of the rest face: exact windows, all asked, all charged or none (requirements 33-45).

    contact        starts, by tenant, type and contact: the 6 / 18 / 24 of the contract
    tenant         starts, by tenant
    everybody      starts
    wrong-address  wrong codes, by tenant and address
    wrong-client   wrong codes, by client
    sms-...        starts that may send an SMS (``services/guards.py``)

Calls as such are counted before (``services/call_limits.py``). A refused call charges nothing, so
it does not put off the time when one is let in again. A start that did not come about is given
back, and so is an attempt that was not a wrong code.

An attempt is charged as a wrong one until it is judged. So as many right codes at once as
``wrong-address`` allows wrong ones use it up until the first of them is judged; one that is refused
meanwhile is told to come again in a second (``LimitRow.hold``), and is counted nowhere. Only wrong
codes shut an address out for longer.

``contact``, ``tenant`` and ``everybody`` survive a restart (``restore``). The others begin anew:
they bound the speed of a caller, and the count of wrong codes that must not be lost is the store's
failure budget of the contact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from otp_server.core import Limit, LimitRow
from otp_server.domain.account import SVC_TENANT
from otp_server.domain.address import address_key
from otp_server.domain.challenge_type import Channel
from otp_server.errors import LimiterFull
from otp_server.services.limit_charges import EVERYBODY, TABLE_FULL, Gate

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from otp_server.core import Charges, Quotas
    from otp_server.domain.process_outcome import ProcessRefused
    from otp_server.services.guards import GuardHit, SmsGuards
    from otp_server.services.limit_charges import Keys, Windows
    from otp_server.services.limit_hits import Asker, Hitter, LimitHits
    from otp_server.services.ports.processes import StartRecord

_NO_HITS: Sequence[GuardHit] = ()
FAILED_LOGINS = ((60, 60_000),)
"""How often an address may fail to get an access token."""
UNKNOWN_PROCESS = "unknown-process"
"""The word in the trail for attempts at processes that are not there."""


@dataclass(frozen=True, slots=True)
class LimitWindows:
    """The windows as ``(count, milliseconds)`` pairs, and how many keys a table may hold."""

    contact: Windows
    tenant: Windows
    everybody: Windows
    calls: Windows
    wrong_address: Windows
    wrong_client: Windows
    failed_logins: Windows = FAILED_LOGINS
    keys_max: int = 1_000_000


class SmsStart(msgspec.Struct, frozen=True, gc=False):
    """A start that may send an SMS to a number of this block (``guards.block_of``)."""

    uuid: bytes
    block: str

    def __repr__(self) -> str:
        """Without the digits."""
        return f"<SmsStart {self.uuid.hex()}>"


class Charged(msgspec.Struct, frozen=True, gc=False):
    """What a start that was let in has charged, and may be given back."""

    charges: Charges
    sms: SmsStart | None = None


class Wish(msgspec.Struct, frozen=True, gc=False):
    """A start that asks to be let in. ``indexes``: of the contacts that may get the code."""

    asker: Asker
    type_id: int
    indexes: Mapping[Channel, bytes]
    sms: SmsStart | None


class ProcessLimits:
    """All limits and guards of processes. Nothing here blocks, so each method is one step."""

    def __init__(self, windows: LimitWindows, *, hits: LimitHits, guards: SmsGuards | None) -> None:
        keys_max = windows.keys_max
        contact = Limit("contact", windows.contact, keys_max)
        others = (
            Limit("tenant", windows.tenant, keys_max),
            Limit("everybody", windows.everybody, 1, told=False),
        )
        self._starts = [
            Gate(LimitRow([*[contact] * n, *others]), hits) for n in range(len(Channel) + 1)
        ]
        """By the number of contacts that may get the code."""
        self._attempts = Gate(
            LimitRow(
                [
                    Limit("wrong-address", windows.wrong_address, keys_max),
                    Limit("wrong-client", windows.wrong_client, keys_max),
                ]
            ),
            hits,
        )
        self._hits = hits
        self._guards = guards
        journaled = [*windows.contact, *windows.tenant, *windows.everybody]
        self.longest_window_ms = max(period_ms for _, period_ms in journaled)

    def restore(self, starts: Iterable[StartRecord], now_ms: int) -> int:
        """Charge what the store remembers, oldest first; how many records. Once, at start.

        Those of the svc face are left to its own limits (``services/reset_limits.py``). A start of
        the future says that the clock went back: it counts as of now, and is not hidden. A start
        for two contacts is two records, so what the tenant and everybody have used may be found too
        high and never too low.

        Raises:
            LimiterFull: more contacts than ``keys_max`` were used in the longest window.
        """
        count = 0
        for start in starts:
            if start.tenant.startswith(SVC_TENANT):
                continue
            keys = (start.tenant, start.type_id, start.index), start.tenant, EVERYBODY
            self._starts[1].row.record(keys, min(start.at_ms, now_ms))
            count += 1
        return count

    def foresee(self, wish: Wish, now_ms: int) -> ProcessRefused | Quotas:
        """What ``begin_start`` would say now, charging nothing: a handshake."""
        gate, keys = self._start(wish)
        sms, guards, refusing = wish.sms, self._guards, _NO_HITS
        if sms is not None and guards is not None:
            hits = guards.hits(sms.block, now_ms)
            refusing = hits if guards.enforce else _NO_HITS
        quotas = None if refusing else gate.row.foresee(keys, now_ms)
        return gate.refuse(keys, wish.asker.hitter, now_ms, refusing) if quotas is None else quotas

    def begin_start(self, wish: Wish, now_ms: int) -> ProcessRefused | Charged:
        """Charge a start, or say which limits refuse it."""
        gate, keys = self._start(wish)
        sms, guards, refusing, recorded = wish.sms, self._guards, _NO_HITS, _NO_HITS
        if sms is not None and guards is not None:
            hits = guards.hits(sms.block, now_ms)
            if guards.enforce:
                refusing = hits
            else:
                recorded = hits
        try:
            charges = None if refusing else gate.row.charge(keys, now_ms)
        except LimiterFull:
            return TABLE_FULL
        if charges is None:
            return gate.refuse(keys, wish.asker.hitter, now_ms, refusing)
        if sms is not None and guards is not None:
            if recorded:
                policies = [hit.policy for hit in recorded]
                self._hits.note(wish.asker.hitter, policies, now_ms, recorded=True)
            guards.started(sms.uuid, sms.block, now_ms)
        return Charged(charges, sms)

    def begin_attempt(
        self, hitter: Hitter, client_id: str, now_ms: int
    ) -> ProcessRefused | Charges:
        """Charge an attempt as a wrong one, or say which limits refuse it.

        Follow one that was let in by ``Charges.decide``, however it ends, and one that was not a
        wrong code by ``Charges.refund`` before.
        """
        keys = (hitter.tenant, address_key(hitter.address)), client_id
        return self._attempts.hold(keys, hitter, now_ms)

    def take_back(self, charged: Charged) -> None:
        """Nothing was started."""
        charges, sms = charged.charges, charged.sms
        charges.refund()
        if self._guards is not None and sms is not None:
            self._guards.withdrawn(sms.uuid, sms.block, charges.at_ms)

    def unknown_process(self, hitter: Hitter, now_ms: int) -> None:
        """Note an attempt at a process that is not there: the store writes nothing about it."""
        self._hits.note(hitter, (UNKNOWN_PROCESS,), now_ms)

    def verified(self, uuid: bytes, now_ms: int) -> None:
        """The code of this process was entered, which speaks for its country."""
        if self._guards is not None:
            self._guards.verified(uuid, now_ms)

    def _start(self, wish: Wish) -> tuple[Gate, Keys]:
        """Which limits are asked for a start, and their keys."""
        tenant, type_id, indexes = wish.asker.tenant, wish.type_id, wish.indexes.values()
        if len(indexes) == 1:  # nearly always, and a comprehension costs more than all the rest
            [index] = indexes
            return self._starts[1], ((tenant, type_id, index), tenant, EVERYBODY)
        contacts = [(tenant, type_id, index) for index in indexes]
        return self._starts[len(indexes)], (*contacts, tenant, EVERYBODY)
