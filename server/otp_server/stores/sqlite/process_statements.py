"""Processes in SQL: started, moved to another route, ended, forgotten.

What a function promises is the sentence of its namesake in ``services/ports/processes.py``.
Writers are serial, so looking and then changing is one step. Of a tenant, type and contact only
one process can be open that counted the contact, since each start ends the one before; but for
starts that supersede nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from otp_server.domain.budget import CLAIM_PATIENCE_MS, FAILURES_KEPT_MS, WAIT_FROM
from otp_server.domain.process import FailureReason, ProcessStatus, RouteStatus
from otp_server.errors import AlreadyExists
from otp_server.services.ports.processes import ClaimRefusal, StalePlan, Started
from otp_server.stores import process_rules as rules
from otp_server.stores.bounds import SWEEP_ROWS_MAX
from otp_server.stores.sqlite import claim_statements as claims
from otp_server.stores.sqlite import outbox_queue, setting_statements
from otp_server.stores.sqlite.plan_statements import drop_plans
from otp_server.stores.sqlite.process_rows import entities_of, entities_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otp_server.domain.audit import Actor
    from otp_server.domain.challenge_type import Channel
    from otp_server.domain.process import Process
    from otp_server.services.ports.processes import IdempotencyClaim, NewProcess, StartOutcome
    from otp_server.stores.sqlite.process_rows import ProcessWork

_INSERT = (
    "INSERT INTO processes (uuid, tenant, type_id, plan_id, status, attempts, generation, route,"
    " route_status, route_attempts, key_id, created_at_ms, updated_at_ms, expires_at_ms,"
    " phone_index, phone_sealed, phone_counted, email_index, email_sealed, email_counted,"
    " address, entities)"
    " VALUES (?1, ?2, ?3, ?4, 'new', 0, 1, ?5, 'new', 0, ?6, ?7, ?7, ?8,"
    " ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)"
)
_INSERT_ENTITY = (
    "INSERT OR IGNORE INTO process_entities (entity_type, entity_id, type_id, process_id)"
    " VALUES (?, ?, ?, ?)"
)
_OPEN = {
    contact: (
        f"SELECT id, uuid, expires_at_ms FROM processes INDEXED BY processes_{contact}_open"  # noqa: S608 - our own words
        f" WHERE {contact}_index = ? AND type_id = ? AND tenant = ?"
        f" AND {contact}_counted = 1 AND status IN ('new', 'sent') ORDER BY id"
    )
    for contact in ("phone", "email")
}
_END = "UPDATE processes SET status = ?, failure = ?, updated_at_ms = ? WHERE id = ?"
_FAIL_ROUTE = "UPDATE processes SET route_status = ? WHERE id = ?"
_TAKE_ROUTE = (
    "UPDATE processes SET generation = generation + 1, route = ?, route_status = 'new',"
    " route_attempts = 0, updated_at_ms = ? WHERE id = ?"
)
_HAS_OPEN_ATTEMPTS = "SELECT 1 FROM open_attempts WHERE process_id = ? LIMIT 1"
_OVER = (
    "SELECT id FROM processes INDEXED BY processes_open_end"
    " WHERE status IN ('new', 'sent') AND expires_at_ms <= ? ORDER BY expires_at_ms LIMIT ?"
)
_LEFT = (
    "SELECT process_id, attempt FROM open_attempts WHERE at_ms <= ?"
    " ORDER BY at_ms, process_id, attempt LIMIT ?"
)
_CLOSE_ATTEMPT = "DELETE FROM open_attempts WHERE process_id = ? AND attempt = ?"
_OLD = (
    "SELECT id, plan_id, type_id, entities FROM processes WHERE created_at_ms < ?"
    " ORDER BY created_at_ms, id LIMIT ?"
)
_FORGET_ENTITY = (
    "DELETE FROM process_entities"
    " WHERE entity_type = ? AND entity_id = ? AND type_id = ? AND process_id = ?"
)
_FORGET = (
    "DELETE FROM messages WHERE process_id = ?",
    "DELETE FROM open_attempts WHERE process_id = ?",
    "DELETE FROM processes WHERE id = ?",
)
_FORGET_FAILURES = (
    "DELETE FROM contact_failures WHERE (contact_index, tenant) IN ("  # noqa: S608 - our own words
    "SELECT contact_index, tenant FROM contact_failures INDEXED BY contact_failures_age"
    f" WHERE failures < {WAIT_FROM} AND last_at_ms < ? LIMIT ?)"
)


# Starting.


def start_processes(work: ProcessWork, batch: Sequence[NewProcess]) -> list[StartOutcome]:
    """In order, so an item meets the processes of those before it."""
    require_fresh(work, batch)
    tenants = {item.tenant for item in batch}
    versions = {
        tenant: setting_statements.settings_version(work.connection, tenant) for tenant in tenants
    }
    return [_start(work, item, versions[item.tenant]) for item in batch]


def require_fresh(work: ProcessWork, batch: Sequence[NewProcess]) -> None:
    """Raises AlreadyExists for a uuid used before, ValueError for a bug of the caller."""
    fresh: set[bytes] = set()
    for item in batch:
        rules.first_contact(item)
        used = work.connection.execute("SELECT 1 FROM processes WHERE uuid = ?", (item.uuid,))
        if item.uuid in fresh or used.fetchone() is not None:
            raise AlreadyExists("uuid", rules.spelled(item.uuid))
        fresh.add(item.uuid)


def _start(work: ProcessWork, item: NewProcess, version: int) -> StartOutcome:
    claimed = None
    if item.claim is not None:
        claimed = _recall_start(work, item.tenant, item.claim, item.created_at_ms)
    if claimed is not None:
        word = rules.start_word(claimed)
        subject = claimed.uuid if isinstance(claimed, Started) else item.uuid
        work.tell((item.tenant, subject), "otp.init", word, item.actor, item.created_at_ms)
        return claimed
    if item.settings_version != version:
        return StalePlan.STALE
    begin(work, item)
    if item.claim is not None:
        claims.take_for_start(work.connection, item.tenant, item.claim, item.uuid, item.route)
    work.tell((item.tenant, item.uuid), "otp.init", "started", item.actor, item.created_at_ms)
    return Started(item.uuid, item.plan, item.route)


def begin(work: ProcessWork, item: NewProcess, *, void: bool = False) -> int:
    """Store a process with its first message, which is never sent if it is ``void``; its id."""
    if item.supersedes:
        _supersede_older(work, item)
    process_id = _insert(work, item)
    outbox_queue.enqueue(
        work.connection,
        (process_id, item.tenant, 1),
        (item.route, item.plan.routes[item.route].channel),
        leaves=rules.leaves(item.plan, item.route, rules.channels_of(item)),
        at_ms=item.created_at_ms,
        void=void,
    )
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


def _supersede_older(work: ProcessWork, item: NewProcess) -> None:
    """End the open processes of each of the counted contacts: mostly there is one, or none."""
    for column, contact in (("phone", item.phone), ("email", item.email)):
        if contact is None or contact.index not in item.counted_indexes:
            continue
        rows: list[tuple[Any, ...]] = work.connection.execute(
            _OPEN[column], (contact.index, item.plan.type_id, item.tenant)
        ).fetchall()
        for process_id, uuid, expires_at_ms in rows:
            if expires_at_ms <= item.created_at_ms:
                _end(work, process_id, ProcessStatus.EXPIRED, None, item.created_at_ms)
            else:
                told = (item.tenant, uuid)
                supersede(work, process_id, told, item.actor, item.created_at_ms)


def _insert(work: ProcessWork, item: NewProcess) -> int:
    contacts: list[Any] = []
    for contact in (item.phone, item.email):
        if contact is None:
            contacts += (None, None, 0)
        else:
            counted = contact.index in item.counted_indexes
            contacts += (contact.index, contact.sealed, int(counted))
    work.connection.execute(
        _INSERT,
        (
            item.uuid,
            item.tenant,
            item.plan.type_id,
            work.plans.keep(work.connection, item.plan),
            item.route,
            item.key_id,
            item.created_at_ms,
            item.expires_at_ms,
            *contacts,
            item.actor.address,
            entities_text(item.entities),
        ),
    )
    process_id = work.connection.last_insert_rowid()
    if item.entities:
        type_id = item.plan.type_id
        rows = [(each.type, each.id, type_id, process_id) for each in item.entities]
        work.connection.executemany(_INSERT_ENTITY, rows)
    return process_id


# Ends and routes.


def _end(
    work: ProcessWork,
    process_id: int,
    status: ProcessStatus,
    failure: FailureReason | None,
    at_ms: int,
) -> None:
    """End an open process; its messages not taken yet are void."""
    word = None if failure is None else failure.value
    work.connection.execute(_END, (status.value, word, at_ms, process_id))
    outbox_queue.void_queued(work.connection, process_id, at_ms)


def supersede(
    work: ProcessWork, process_id: int, told: tuple[str, bytes], actor: Actor, at_ms: int
) -> None:
    """Fail an open process, of a tenant and uuid, for a newer one."""
    superseded = FailureReason.SUPERSEDED
    _end(work, process_id, ProcessStatus.FAILED, superseded, at_ms)
    work.tell(told, "otp.end", superseded.value, actor, at_ms)


def fail(
    work: ProcessWork, process: Process, reason: FailureReason, actor: Actor, at_ms: int
) -> None:
    """End an open process for a reason of its own route."""
    exhausted = reason is FailureReason.EXHAUSTED
    route_status = RouteStatus.EXHAUSTED if exhausted else RouteStatus.FAILED
    work.connection.execute(_FAIL_ROUTE, (route_status.value, process.id))
    _end(work, process.id, ProcessStatus.FAILED, reason, at_ms)
    work.tell((process.tenant, process.uuid), "otp.end", reason.value, actor, at_ms)


def take_next_route(
    work: ProcessWork, process: Process, actor: Actor, at_ms: int, usable: frozenset[Channel]
) -> Process | None:
    """Move to the next route with a new generation and its message; None: there is none."""
    route = rules.next_route(process, at_ms, usable)
    if route is None:
        return None
    moved = rules.moved(process, route, at_ms)
    work.connection.execute(_TAKE_ROUTE, (route, at_ms, process.id))
    outbox_queue.void_queued(work.connection, process.id, at_ms)
    outbox_queue.enqueue(
        work.connection,
        (process.id, process.tenant, moved.generation),
        (route, process.plan.routes[route].channel),
        leaves=rules.leaves(process.plan, route, rules.channels_of(process)),
        at_ms=at_ms,
    )
    work.tell((process.tenant, process.uuid), "otp.route", "next", actor, at_ms)
    return moved


def go_on(
    work: ProcessWork, process_id: int, actor: Actor, at_ms: int, usable: frozenset[Channel]
) -> None:
    """After an attempt that was not accepted: fail or take the next route, if it is time to.

    While another attempt is still being compared it may be right, so nothing happens then.
    """
    process = work.by_id(process_id)
    if process is None or not rules.is_open_at(process, at_ms):
        return
    if has_open_attempts(work, process_id):
        return
    if rules.are_attempts_used_up(process):
        fail(work, process, FailureReason.EXHAUSTED, actor, at_ms)
    elif rules.is_route_used_up(process):
        take_next_route(work, process, actor, at_ms, usable)


def has_open_attempts(work: ProcessWork, process_id: int) -> bool:
    """Whether attempts of it are being compared, or were when a server died."""
    found = work.connection.execute(_HAS_OPEN_ATTEMPTS, (process_id,)).fetchone()
    return found is not None


# Sweeping.


def sweep_processes(
    work: ProcessWork, now_ms: int, forget_before_ms: int, usable: frozenset[Channel]
) -> int:
    """At most ``SWEEP_ROWS_MAX`` of each kind."""
    return (
        _expire(work, now_ms)
        + _close_left_attempts(work, now_ms, usable)
        + _forget(work, forget_before_ms)
        + claims.forget(work.connection, now_ms)
        + _forget_failures(work, now_ms)
    )


def _expire(work: ProcessWork, now_ms: int) -> int:
    over: list[tuple[Any, ...]] = work.connection.execute(
        _OVER, (now_ms, SWEEP_ROWS_MAX)
    ).fetchall()
    for (process_id,) in over:
        _end(work, process_id, ProcessStatus.EXPIRED, None, now_ms)
    return len(over)


def _close_left_attempts(work: ProcessWork, now_ms: int, usable: frozenset[Channel]) -> int:
    """Attempts that nobody settles any more were wrong."""
    before_ms = now_ms - CLAIM_PATIENCE_MS
    left: list[tuple[Any, ...]] = work.connection.execute(
        _LEFT, (before_ms, SWEEP_ROWS_MAX)
    ).fetchall()
    work.connection.executemany(_CLOSE_ATTEMPT, left)
    for process_id in dict.fromkeys(process_id for process_id, _ in left):
        go_on(work, process_id, rules.SERVER, now_ms, usable)
    return len(left)


def _forget_failures(work: ProcessWork, now_ms: int) -> int:
    work.connection.execute(_FORGET_FAILURES, (now_ms - FAILURES_KEPT_MS, SWEEP_ROWS_MAX))
    return work.connection.changes()


def _forget(work: ProcessWork, before_ms: int) -> int:
    old: list[tuple[Any, ...]] = work.connection.execute(
        _OLD, (before_ms, SWEEP_ROWS_MAX)
    ).fetchall()
    entities = [
        (each.type, each.id, type_id, process_id)
        for process_id, _, type_id, text in old
        for each in entities_of(text)
    ]
    work.connection.executemany(_FORGET_ENTITY, entities)
    for statement in _FORGET:
        work.connection.executemany(statement, [(process_id,) for process_id, *_ in old])
    drop_plans(work.connection, {plan_id for _, plan_id, *_ in old})
    return len(old)
