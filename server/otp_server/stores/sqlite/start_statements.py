"""Starting processes, in SQL: one operation inside the caller's transaction.

What a function promises is the sentence of its namesake in ``services/ports/processes.py``.
Writers are serial, so looking and then changing is one step. Of a tenant, type and contact only
one process can be open that counted the contact, since each start ends the one before; but for
starts that supersede nothing.

A batch is read by a few statements and written by a few, whatever its size: each statement ends in
a fight for the GIL. In between each item is judged in order; one whose contact or claim an item
before it used has everything written first, and reads anew. Claims have statements of their own.
"""

from __future__ import annotations

import os
from array import array
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import apsw

from otp_server.domain.process import FailureReason, ProcessStatus
from otp_server.domain.process_id import format_uuid
from otp_server.errors import AlreadyExists
from otp_server.services.ports.processes import ClaimRefusal, StalePlan, Started
from otp_server.stores import process_rules as rules
from otp_server.stores.sqlite import claim_statements as claims
from otp_server.stores.sqlite import outbox_queue, process_statements, setting_statements
from otp_server.stores.sqlite.bulk_insert import BulkInsert, next_number
from otp_server.stores.sqlite.process_rows import entities_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otp_server.domain.process import SealedContact
    from otp_server.services.ports.outbox import FirstLease, LeasedMessage
    from otp_server.services.ports.processes import IdempotencyClaim, NewProcess, StartOutcome
    from otp_server.stores.sqlite.process_keys import Row
    from otp_server.stores.sqlite.process_rows import ProcessWork

    _Contact: TypeAlias = tuple[str, bytes, int, str]
    """A counted contact of a type: its column, its index, the type, the tenant."""

STARTS_AT_ONCE: Final = 128
"""Processes written by one set of statements: about two milliseconds of work."""

_USED_UUIDS = (
    "SELECT p.uuid FROM carray(?) AS given CROSS JOIN processes AS p ON p.id = given.value"
)
_PROCESSES = BulkInsert(
    "processes",
    "id, uuid, tenant, type_id, plan_id, status, attempts, generation, route, route_status,"
    " route_attempts, key_id, created_at_ms, updated_at_ms, expires_at_ms, phone_index,"
    " phone_sealed, phone_counted, email_index, email_sealed, email_counted, address, entities",
)
_ENTITIES = BulkInsert(
    "process_entities", "entity_type, entity_id, type_id, process_id", verb="INSERT OR IGNORE"
)
_OPEN = (
    "SELECT iif(p.phone_counted, p.phone_index, NULL), iif(p.email_counted, p.email_index, NULL),"
    " p.type_id, p.tenant, p.id, p.uuid, p.expires_at_ms"
    " FROM carray(?) AS given CROSS JOIN processes AS p ON p.id = given.value AND p.open = 1"
    " ORDER BY p.id"
)


def start_processes(work: ProcessWork, batch: Sequence[NewProcess]) -> list[StartOutcome]:
    """In order, so an item meets the processes of those before it."""
    require_fresh(work, batch)
    versions = {
        tenant: setting_statements.settings_version(work.connection, tenant)
        for tenant in {item.tenant for item in batch}
    }
    leases = rules.first_leases(batch)
    outcomes: list[StartOutcome] = []
    for start in range(0, len(batch), STARTS_AT_ONCE):
        part = slice(start, start + STARTS_AT_ONCE)
        outcomes += _Starting(work).start(batch[part], leases[part], versions)
    return outcomes


def require_fresh(work: ProcessWork, batch: Sequence[NewProcess]) -> None:
    """Raises AlreadyExists for a uuid used before, ValueError for a bug of the caller."""
    used = {uuid for (uuid,) in _found(work, [item.uuid for item in batch], _USED_UUIDS)}
    for item in batch:
        rules.first_contact(item)
        if item.uuid in used:
            raise AlreadyExists("uuid", format_uuid(item.uuid))
        used.add(item.uuid)


def begin(work: ProcessWork, item: NewProcess, *, void: bool = False) -> int:
    """Store a process with its first message, which is never sent if it is ``void``; its id.

    A void one was in the queue too, and nobody could see it there: so it costs what another costs,
    whose process ends one with a message that waits (requirement 30).
    """
    process_id = _Starting(work).begin(item)
    if void:
        outbox_queue.void_queued(work.connection, process_id, item.created_at_ms)
    return process_id


def recall_starts(
    work: ProcessWork, batch: Sequence[tuple[str, IdempotencyClaim]], at_ms: int
) -> list[Started | ClaimRefusal | None]:
    """What earlier starts with these claims were answered."""
    return [_recall_start(work, tenant, claim, at_ms) for tenant, claim in batch]


def _recall_start(
    work: ProcessWork, tenant: str, claim: IdempotencyClaim, at_ms: int
) -> Started | ClaimRefusal | None:
    """A claim whose process is forgotten says nothing."""
    row = claims.find(work.connection, tenant, claim, at_ms)
    process = None if row is None else work.by_uuid(tenant, row.uuid)
    if row is None or process is None:
        return None
    if row.fingerprint != claim.fingerprint:
        return ClaimRefusal.MISMATCH
    return Started(row.uuid, process.plan, row.route, replayed=True)


class _Starting:
    """What is known of the contacts of a batch, and what is not written yet."""

    def __init__(self, work: ProcessWork) -> None:
        self._work = work
        self._open: dict[_Contact, list[tuple[int, bytes, int]]] = {}  # by id
        self._over: set[int] = set()
        # Not written yet:
        self._ended: defaultdict[tuple[ProcessStatus, FailureReason | None, int], list[int]]
        self._ended = defaultdict(list)
        self._new: list[NewProcess] = []
        self._leases: list[FirstLease | None] = []  # of those
        self._contacts: set[_Contact] = set()
        self._claims: set[tuple[str, str, str, str]] = set()
        # Written:
        self._leased: dict[bytes, LeasedMessage] = {}  # by uuid

    def start(
        self,
        batch: Sequence[NewProcess],
        leases: Sequence[FirstLease | None],
        versions: dict[str, int],
    ) -> list[StartOutcome]:
        """Start each, and write."""
        self._read([contact for item in batch if item.supersedes for contact in _counted(item)])
        outcomes = [
            self._start(item, lease, versions[item.tenant])
            for item, lease in zip(batch, leases, strict=True)
        ]
        self._write()
        return [self._with_message(outcome) for outcome in outcomes] if self._leased else outcomes

    def _with_message(self, outcome: StartOutcome) -> StartOutcome:
        if not isinstance(outcome, Started) or outcome.replayed:
            return outcome
        message = self._leased.get(outcome.uuid)
        return Started(outcome.uuid, outcome.plan, outcome.route, message=message)

    def begin(self, item: NewProcess) -> int:
        """Begin one, whatever its claim and its plan's version, and write; its id."""
        self._begin(item, None)
        return self._write()

    def _start(self, item: NewProcess, lease: FirstLease | None, version: int) -> StartOutcome:
        claimed = None if item.claim is None else self._recall(item, item.claim)
        if claimed is not None:
            word = rules.start_word(claimed)
            subject = claimed.uuid if isinstance(claimed, Started) else item.uuid
            told = (item.tenant, subject)
            self._work.tell(told, "otp.init", word, item.actor, item.created_at_ms)
            return claimed
        if item.settings_version != version:
            return StalePlan.STALE
        self._begin(item, lease)
        if item.claim is not None:
            connection, claim = self._work.connection, item.claim
            claims.take_for_start(connection, item.tenant, claim, item.uuid, item.route)
            self._claims.add((item.tenant, claim.client_id, claim.operation, claim.key))
        told = (item.tenant, item.uuid)
        self._work.tell(told, "otp.init", "started", item.actor, item.created_at_ms)
        return Started(item.uuid, item.plan, item.route)

    def _recall(self, item: NewProcess, claim: IdempotencyClaim) -> Started | ClaimRefusal | None:
        if (item.tenant, claim.client_id, claim.operation, claim.key) in self._claims:
            self._write()
        return _recall_start(self._work, item.tenant, claim, item.created_at_ms)

    def _begin(self, item: NewProcess, lease: FirstLease | None) -> None:
        contacts = _counted(item)
        if item.supersedes:
            if not self._contacts.isdisjoint(contacts):
                self._write()
            unknown = [contact for contact in contacts if contact not in self._open]
            if unknown:
                self._read(unknown)
            for contact in contacts:
                self._supersede_older(item, contact)
        self._contacts.update(contacts)
        self._new.append(item)
        self._leases.append(lease)

    def _supersede_older(self, item: NewProcess, contact: _Contact) -> None:
        """End the open processes of a counted contact: mostly there is one, or none."""
        at_ms = item.created_at_ms
        for process_id, uuid, expires_at_ms in self._open.get(contact, ()):
            if process_id in self._over:
                continue
            self._over.add(process_id)
            if expires_at_ms <= at_ms:
                self._ended[ProcessStatus.EXPIRED, None, at_ms].append(process_id)
            else:
                reason = FailureReason.SUPERSEDED
                self._ended[ProcessStatus.FAILED, reason, at_ms].append(process_id)
                self._work.tell((item.tenant, uuid), "otp.end", reason.value, item.actor, at_ms)

    def _read(self, contacts: Sequence[_Contact]) -> None:
        """The open processes of contacts, about which nothing waits to be written."""
        self._open.update({contact: [] for contact in contacts})
        asked = [contact[1] for contact in contacts]
        for phone, email, type_id, tenant, *process in _found(self._work, asked, _OPEN):
            for column, index in (("phone", phone), ("email", email)):
                found = self._open.get((column, index, type_id, tenant))
                if found is not None:
                    found.append((process[0], process[1], process[2]))

    def _write(self) -> int:
        """Write what was ended, then what was begun, in order; the id of the first of these."""
        for (status, failure, at_ms), process_ids in self._ended.items():
            process_statements.end_all(self._work, process_ids, status, failure, at_ms)
        first = self._insert(self._new) if self._new else 0
        for contact in self._contacts:
            self._open.pop(contact, None)  # one more is open now
        self._ended.clear()
        self._new.clear()
        self._leases.clear()
        self._contacts.clear()
        self._claims.clear()
        return first

    def _insert(self, items: Sequence[NewProcess]) -> int:
        connection, plans = self._work.connection, self._work.plans
        plan_ids = {id(item.plan): item.plan for item in items}
        numbers = {key: plans.keep(connection, plan) for key, plan in plan_ids.items()}
        first = next_number(connection, "processes")
        values: list[Any] = []
        entities: list[Any] = []
        known: list[Row] = []
        for process_id, item in enumerate(items, first):
            values += _row(process_id, item, numbers[id(item.plan)])
            known.append((process_id, item.uuid, _index(item.phone), _index(item.email)))
            for each in item.entities:
                entities += (each.type, each.id, item.plan.type_id, process_id)
        _PROCESSES.insert(connection, values)
        self._work.keys.add(connection, known)
        os.sched_yield()
        if entities:
            _ENTITIES.insert(connection, entities)
        for message in outbox_queue.enqueue_first(connection, items, self._leases, first):
            self._leased[message.uuid] = message
        os.sched_yield()
        return first


def _found(work: ProcessWork, keys: Sequence[bytes], statement: str) -> list[tuple[Any, ...]]:
    """What ``statement`` reads of the processes that may have one of these keys."""
    which = array("q", work.keys.find(work.connection, keys))  # mostly there is none
    return work.connection.execute(statement, (apsw.carray(which),)).fetchall() if which else []


def _counted(item: NewProcess) -> list[_Contact]:
    return [
        (column, contact.index, item.plan.type_id, item.tenant)
        for column, contact in (("phone", item.phone), ("email", item.email))
        if contact is not None and contact.index in item.counted_indexes
    ]


def _index(contact: SealedContact | None) -> bytes | None:
    return None if contact is None else contact.index


def _row(process_id: int, item: NewProcess, plan_id: int) -> tuple[Any, ...]:
    phone, email, counted = item.phone, item.email, item.counted_indexes
    return (
        process_id,
        item.uuid,
        item.tenant,
        item.plan.type_id,
        plan_id,
        "new",
        0,
        1,
        item.route,
        "new",
        0,
        item.key_id,
        item.created_at_ms,
        item.created_at_ms,
        item.expires_at_ms,
        _index(phone),
        None if phone is None else phone.sealed,
        phone is not None and phone.index in counted,
        _index(email),
        None if email is None else email.sealed,
        email is not None and email.index in counted,
        item.actor.address,
        entities_text(item.entities),
    )
