"""OTP processes of the memory store: starts, search, sweeps."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from otp_server.domain.budget import CLAIM_PATIENCE_MS, FAILURES_KEPT_MS, WAIT_FROM
from otp_server.domain.challenge_type import EVERY_CHANNEL
from otp_server.domain.process import Delivery, FailureReason, Process, ProcessStatus, RouteStatus
from otp_server.domain.process_id import format_uuid
from otp_server.errors import AlreadyExists
from otp_server.services.ports.outbox import MessageState
from otp_server.services.ports.processes import (
    ID_MAX,
    STARTS_PAGE,
    ClaimRefusal,
    StalePlan,
    Started,
    StartRecord,
)
from otp_server.stores import process_rules as rules
from otp_server.stores.bounds import SWEEP_ROWS_MAX
from otp_server.stores.memory.attempts import MemoryAttempts
from otp_server.stores.memory.outbox import MemoryOutbox
from otp_server.stores.memory.process_state import claim_name
from otp_server.stores.process_rules import TakenClaim

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otp_server.domain.audit import Actor
    from otp_server.domain.challenge_type import Channel
    from otp_server.services.ports.outbox import FirstLease
    from otp_server.services.ports.processes import (
        IdempotencyClaim,
        NewProcess,
        ProcessQuery,
        StartOutcome,
    )


class MemoryProcesses(MemoryAttempts, MemoryOutbox):
    """What the ports ``processes``, ``outbox`` and ``audit`` ask, in dictionaries."""

    async def start_processes(self, batch: Sequence[NewProcess]) -> list[StartOutcome]:
        """See :class:`otp_server.services.ports.ProcessStore`; so for all below."""
        await self._enter()
        self._require_fresh_uuids(batch)
        leases = rules.first_leases(batch)
        return [self._start(item, lease) for item, lease in zip(batch, leases, strict=True)]

    def _require_fresh_uuids(self, batch: Sequence[NewProcess]) -> None:
        fresh: set[bytes] = set()
        for item in batch:
            rules.first_contact(item)
            if item.uuid in self._process_ids or item.uuid in fresh:
                raise AlreadyExists("uuid", format_uuid(item.uuid))
            fresh.add(item.uuid)

    def _start(self, item: NewProcess, lease: FirstLease | None) -> StartOutcome:
        claimed = None
        if item.claim is not None:
            claimed = self._recall_start(item.tenant, item.claim, item.created_at_ms)
        if claimed is not None:
            subject = claimed.uuid if isinstance(claimed, Started) else item.uuid
            told = item.tenant, subject
            word = rules.start_word(claimed)
            self._tell(told, "otp.init", word, item.actor, item.created_at_ms)
            return claimed
        if item.settings_version != self._settings_versions.get(item.tenant, 0):
            return StalePlan.STALE
        process = self._begin(item)
        if item.claim is not None:
            taken = TakenClaim(item.claim.fingerprint, item.uuid, item.route)
            self._claims[claim_name(item.tenant, item.claim)] = taken, item.claim.expires_at_ms
        told = item.tenant, item.uuid
        self._tell(told, "otp.init", "started", item.actor, item.created_at_ms)
        if lease is None:
            return Started(item.uuid, item.plan, item.route)
        [message_id] = self._messages_of[process.id]
        self._messages[message_id] = replace(
            self._messages[message_id],
            state=MessageState.LEASED,
            tries=1,
            lease=lease.lease,
            lease_until_ms=lease.until_ms,
        )
        message = rules.leased_first(item, message_id, lease)
        return Started(item.uuid, item.plan, item.route, message=message)

    def _begin(self, item: NewProcess) -> Process:
        """Store it with its first message."""
        self._last_process_id += 1
        process = Process(
            id=self._last_process_id,
            uuid=item.uuid,
            tenant=item.tenant,
            plan=item.plan,
            status=ProcessStatus.NEW,
            failure=None,
            phone=item.phone,
            email=item.email,
            address=item.actor.address,
            entities=item.entities,
            attempts=0,
            key_id=item.key_id,
            generation=1,
            route=item.route,
            route_status=RouteStatus.NEW,
            route_attempts=0,
            created_at_ms=item.created_at_ms,
            updated_at_ms=item.created_at_ms,
            expires_at_ms=item.expires_at_ms,
        )
        if item.supersedes:
            self._supersede(process, item.counted_indexes, item.actor)
        self._processes[process.id] = process
        self._process_ids[item.uuid] = process.id
        for place in self._places_of(process):
            self._of_contact.setdefault(place, []).append(process.id)
        self._counted_indexes[process.id] = item.counted_indexes
        self._enqueue(process, item.created_at_ms)
        return process

    async def recall_starts(
        self, batch: Sequence[tuple[str, IdempotencyClaim]], now_ms: int
    ) -> list[Started | ClaimRefusal | None]:
        """Look-ups."""
        await self._enter()
        return [self._recall_start(tenant, claim, now_ms) for tenant, claim in batch]

    def _recall_start(
        self, tenant: str, claim: IdempotencyClaim, at_ms: int
    ) -> Started | ClaimRefusal | None:
        taken, expires_at_ms = self._claims.get(claim_name(tenant, claim), (None, 0))
        process = None if taken is None else self._find_process(tenant, taken.uuid)
        if taken is None or process is None or expires_at_ms <= at_ms:
            return None
        if taken.fingerprint != claim.fingerprint:
            return ClaimRefusal.MISMATCH
        return Started(taken.uuid, process.plan, taken.route, replayed=True)

    def _supersede(self, process: Process, counted: tuple[bytes, ...], actor: Actor) -> None:
        """End every open process of the tenant and type that counted one of the same contacts."""
        at_ms = process.created_at_ms
        for place in self._places_of(process):
            if place[2] not in counted:
                continue
            for number in self._of_contact.get(place, ()):
                other = self._processes[number]
                if place[2] not in self._counted_indexes[number]:
                    continue
                if rules.is_open_at(other, at_ms):
                    reason = FailureReason.SUPERSEDED
                    self._end_process(other, ProcessStatus.FAILED, reason, at_ms)
                    told = other.tenant, other.uuid
                    self._tell(told, "otp.end", reason.value, actor, at_ms)
                elif other.status.is_open:
                    self._end_process(other, ProcessStatus.EXPIRED, None, at_ms)

    async def find_process(self, tenant: str, uuid: bytes) -> Process | None:
        """A look-up."""
        await self._enter()
        return self._find_process(tenant, uuid)

    async def search_processes(self, query: ProcessQuery) -> list[tuple[Process, list[Delivery]]]:
        """A walk over all of them."""
        await self._enter()
        found = [
            process for process in reversed(self._processes.values()) if _matches(process, query)
        ]
        page = found[query.offset : query.offset + query.limit]
        return [(process, self._deliveries(process.id)) for process in page]

    def _deliveries(self, process_id: int) -> list[Delivery]:
        return [
            Delivery(each.route, each.channel, each.state.value, each.problem, each.updated_at_ms)
            for each in map(self._messages.__getitem__, self._messages_of[process_id])
        ]

    async def starts_since(
        self, at_ms: int, *, after_id: int = ID_MAX, limit: int = STARTS_PAGE
    ) -> list[StartRecord]:
        """The processes are the journal."""
        await self._enter()
        later = [
            process
            for process in self._processes.values()
            if (process.created_at_ms, process.id) > (at_ms, after_id)
            and self._counted_indexes[process.id]
        ]
        later.sort(key=lambda process: (process.created_at_ms, process.id))
        return [
            StartRecord(
                process.tenant,
                process.plan.type_id,
                contact.index,
                process.created_at_ms,
                process.id,
            )
            for process in later[:limit]
            for contact in (process.phone, process.email)
            if contact is not None and contact.index in self._counted_indexes[process.id]
        ]

    async def key_ids_in_use(self, now_ms: int) -> set[str]:
        """The keys of open processes."""
        await self._enter()
        open_ones = (each for each in self._processes.values() if rules.is_open_at(each, now_ms))
        return {process.key_id for process in open_ones}

    async def sealing_key_ids_in_use(self, now_ms: int) -> set[str]:
        """The keys of their contacts."""
        await self._enter()
        open_ones = (each for each in self._processes.values() if rules.is_open_at(each, now_ms))
        contacts = (contact for each in open_ones for contact in (each.phone, each.email))
        return {contact.key_id for contact in contacts if contact is not None}

    async def mark_key(self, purpose: str, fingerprint: str, *, anew: bool = False) -> str:
        """Which key serves a purpose."""
        await self._enter()
        if anew:
            self._key_marks[purpose] = fingerprint
        return self._key_marks.setdefault(purpose, fingerprint)

    async def sweep_processes(
        self,
        now_ms: int,
        *,
        forget_before_ms: int,
        usable: frozenset[Channel] = EVERY_CHANNEL,
    ) -> int:
        """End and forget, bounded."""
        await self._enter()
        return (
            self._expire(now_ms)
            + self._close_left_attempts(now_ms, usable)
            + self._forget_processes(forget_before_ms)
            + self._forget_claims(now_ms)
            + self._forget_failures(now_ms)
        )

    def _expire(self, now_ms: int) -> int:
        over = [
            process
            for process in self._processes.values()
            if process.status.is_open and process.expires_at_ms <= now_ms
        ]
        over.sort(key=lambda process: process.expires_at_ms)
        for process in over[:SWEEP_ROWS_MAX]:
            self._end_process(process, ProcessStatus.EXPIRED, None, now_ms)
        return len(over[:SWEEP_ROWS_MAX])

    def _close_left_attempts(self, now_ms: int, usable: frozenset[Channel]) -> int:
        left = sorted(
            (at_ms, process_id, attempt)
            for process_id, opened in self._open_attempts.items()
            for attempt, at_ms in opened.items()
            if at_ms <= now_ms - CLAIM_PATIENCE_MS
        )[:SWEEP_ROWS_MAX]
        for _, process_id, attempt in left:
            del self._open_attempts[process_id][attempt]
        for process_id in dict.fromkeys(process_id for _, process_id, _ in left):
            self._go_on(process_id, rules.SERVER, now_ms, usable)
        return len(left)

    def _forget_processes(self, before_ms: int) -> int:
        old = [process for process in self._processes.values() if process.created_at_ms < before_ms]
        old.sort(key=lambda process: process.created_at_ms)
        for process in old[:SWEEP_ROWS_MAX]:
            del self._processes[process.id], self._process_ids[process.uuid]
            del self._counted_indexes[process.id]
            self._open_attempts.pop(process.id, None)
            self._given_back.pop(process.id, None)
            self._forget_beside(process.uuid)
            for number in self._messages_of.pop(process.id):
                del self._messages[number]
            for place in self._places_of(process):
                self._of_contact[place].remove(process.id)
        return len(old[:SWEEP_ROWS_MAX])

    def _forget_beside(self, uuid: bytes) -> None:
        """Forget what goes with a process; resets do."""

    def _forget_failures(self, now_ms: int) -> int:
        before_ms = now_ms - FAILURES_KEPT_MS
        old = [
            contact
            for contact, (failures, last_at_ms) in self._failures.items()
            if failures < WAIT_FROM and last_at_ms < before_ms
        ][:SWEEP_ROWS_MAX]
        for contact in old:
            del self._failures[contact]
        return len(old)

    def _forget_claims(self, now_ms: int) -> int:
        over = [name for name, (_, ends_at_ms) in self._claims.items() if ends_at_ms <= now_ms]
        over.sort(key=lambda name: self._claims[name][1])
        for name in over[:SWEEP_ROWS_MAX]:
            del self._claims[name]
        return len(over[:SWEEP_ROWS_MAX])


def _matches(process: Process, query: ProcessQuery) -> bool:
    phone = None if process.phone is None else process.phone.index
    email = None if process.email is None else process.email.index
    return (
        (process.tenant, process.plan.type_id) == (query.tenant, query.type_id)
        and query.phone_index in (None, phone)
        and query.email_index in (None, email)
        and set(query.entities) <= set(process.entities)
    )
