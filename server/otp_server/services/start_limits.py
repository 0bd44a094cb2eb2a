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
meanwhile is told to come again in a second (``Limit.hold``), and is counted nowhere. Only wrong
codes shut an address out for longer.

``contact``, ``tenant`` and ``everybody`` survive a restart (``restore``). The others begin anew:
they bound the speed of a caller, and the count of wrong codes that must not be lost is the store's
failure budget of the contact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from otp_server.domain.account import SVC_TENANT
from otp_server.domain.address import address_key
from otp_server.services.limit_charges import (
    EVERYBODY,
    Charge,
    Limit,
    charge_all,
    index_key,
    refused_by,
    told,
    violations,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from otp_server.domain.process_outcome import ProcessRefused, Quota
    from otp_server.services.guards import SmsGuards
    from otp_server.services.limit_charges import Windows
    from otp_server.services.limit_hits import Hitter, LimitHits
    from otp_server.services.ports.processes import StartRecord

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


class SmsStart(msgspec.Struct, frozen=True):
    """A start that may send an SMS to this E.164 number."""

    uuid: bytes
    phone: str

    def __repr__(self) -> str:
        """Without the number."""
        return f"<SmsStart {self.uuid.hex()}>"


class Charged(msgspec.Struct, frozen=True):
    """What a start or an attempt that was let in has charged, and may be given back."""

    tenant: str
    at_ms: int
    charges: Sequence[Charge]
    sms: SmsStart | None = None


class Wish(msgspec.Struct, frozen=True):
    """A start that asks to be let in. ``indexes``: of the contacts that may get the code."""

    hitter: Hitter
    type_id: int
    indexes: Sequence[bytes]
    sms: SmsStart | None


class ProcessLimits:
    """All limits and guards of processes. Nothing here blocks, so each method is one step."""

    def __init__(self, windows: LimitWindows, *, hits: LimitHits, guards: SmsGuards | None) -> None:
        keys_max = windows.keys_max
        self._contact = Limit("contact", windows.contact, keys_max)
        self._tenant = Limit("tenant", windows.tenant, keys_max)
        self._everybody = Limit("everybody", windows.everybody, 1, told=False)
        self._wrong_address = Limit("wrong-address", windows.wrong_address, keys_max)
        self._wrong_client = Limit("wrong-client", windows.wrong_client, keys_max)
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
            at_ms = min(start.at_ms, now_ms)
            for charge in self._start_charges(start.tenant, start.type_id, [start.index]):
                charge.limit.table.record(charge.key, at_ms)
            count += 1
        return count

    def foresee(self, wish: Wish, now_ms: int) -> ProcessRefused | tuple[Quota, ...]:
        """What ``begin_start`` would say now, charging nothing: a handshake."""
        charges = self._start_charges(wish.hitter.tenant, wish.type_id, wish.indexes)
        refused, _ = self._judge(charges, wish, now_ms)
        return refused or told(charges, now_ms)

    def begin_start(self, wish: Wish, now_ms: int) -> ProcessRefused | Charged:
        """Charge a start, or say which limits refuse it."""
        charges = self._start_charges(wish.hitter.tenant, wish.type_id, wish.indexes)
        refused, recorded = self._judge(charges, wish, now_ms)
        refused = refused or charge_all(charges, now_ms)
        if refused is not None:
            return refused
        self._hits.note(wish.hitter, recorded, now_ms, recorded=True)
        if self._guards is not None and wish.sms is not None:
            self._guards.started(wish.sms.uuid, wish.hitter.tenant, wish.sms.phone, now_ms)
        return Charged(wish.hitter.tenant, now_ms, charges, wish.sms)

    def begin_attempt(
        self, hitter: Hitter, client_id: str, now_ms: int
    ) -> ProcessRefused | Charged:
        """Charge an attempt as a wrong one, or say which limits refuse it.

        Follow one that was let in by ``end_attempt``, however it ends.
        """
        charges = [
            Charge(self._wrong_address, f"{hitter.tenant} {address_key(hitter.address)}"),
            Charge(self._wrong_client, client_id),
        ]
        refused = self._refusal(violations(charges, now_ms), charges, hitter, now_ms)
        refused = refused or charge_all(charges, now_ms)
        if refused is not None:
            return refused
        for charge in charges:
            charge.limit.hold(charge.key)
        return Charged(hitter.tenant, now_ms, charges)

    def end_attempt(self, charged: Charged) -> None:
        """The attempt was judged: what it charged stays, unless it was taken back before."""
        for charge in charged.charges:
            charge.limit.decide(charge.key)

    def take_back(self, charged: Charged) -> None:
        """Nothing was started, or the code was not wrong."""
        for charge in charged.charges:
            charge.limit.table.refund(charge.key, charged.at_ms)
        sms = charged.sms
        if self._guards is not None and sms is not None:
            self._guards.withdrawn(sms.uuid, charged.tenant, sms.phone, charged.at_ms)

    def unknown_process(self, hitter: Hitter, now_ms: int) -> None:
        """Note an attempt at a process that is not there: the store writes nothing about it."""
        self._hits.note(hitter, (UNKNOWN_PROCESS,), now_ms)

    def verified(self, uuid: bytes, now_ms: int) -> None:
        """The code of this process was entered, which speaks for its country."""
        if self._guards is not None:
            self._guards.verified(uuid, now_ms)

    def quotas(self, charged: Charged, now_ms: int) -> tuple[Quota, ...]:
        """What is left after a call that was let in."""
        return told(charged.charges, now_ms)

    def _start_charges(self, tenant: str, type_id: int, indexes: Sequence[bytes]) -> list[Charge]:
        contacts = [
            Charge(self._contact, f"{tenant} {type_id} {index_key(index)}") for index in indexes
        ]
        return [*contacts, Charge(self._tenant, tenant), Charge(self._everybody, EVERYBODY)]

    def _judge(
        self, charges: Sequence[Charge], wish: Wish, now_ms: int
    ) -> tuple[ProcessRefused | None, list[str]]:
        """What refuses a start; and the guards that would, if they did not only record."""
        found = violations(charges, now_ms)
        recorded: list[str] = []
        if self._guards is not None and wish.sms is not None:
            hits = self._guards.hits(wish.hitter.tenant, wish.sms.phone, now_ms)
            if self._guards.enforce:
                found += hits
            else:
                recorded = [hit.policy for hit in hits]
        return self._refusal(found, charges, wish.hitter, now_ms), recorded

    def _refusal(
        self,
        found: Sequence[tuple[str, int]],
        charges: Sequence[Charge],
        hitter: Hitter,
        now_ms: int,
    ) -> ProcessRefused | None:
        """The refusal, noted for the trail; None without violations."""
        if not found:
            return None
        refused = refused_by(found, charges, now_ms)
        self._hits.note(hitter, refused.violated, now_ms)
        return refused
