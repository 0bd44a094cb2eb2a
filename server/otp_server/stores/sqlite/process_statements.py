"""Processes in SQL: moved to another route, ended, forgotten; ``start_statements`` starts them.

What a function promises is the sentence of its namesake in ``services/ports/processes.py``.
Writers are serial, so looking and then changing is one step.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any

import apsw

from otp_server.domain.budget import CLAIM_PATIENCE_MS, FAILURES_KEPT_MS, WAIT_FROM
from otp_server.domain.process import FailureReason, ProcessStatus, RouteStatus
from otp_server.stores import process_rules as rules
from otp_server.stores.bounds import SWEEP_ROWS_MAX
from otp_server.stores.sqlite import claim_statements as claims
from otp_server.stores.sqlite import outbox_queue
from otp_server.stores.sqlite.plan_statements import drop_plans
from otp_server.stores.sqlite.process_rows import entities_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otp_server.domain.audit import Actor
    from otp_server.domain.challenge_type import Channel
    from otp_server.domain.process import Process
    from otp_server.stores.sqlite.process_rows import ProcessWork

_END = (
    "UPDATE processes SET status = ?2, open = 0, failure = ?3, updated_at_ms = ?4"
    " WHERE id IN (SELECT value FROM carray(?1))"
)
_FAIL_ROUTE = "UPDATE processes SET route_status = ? WHERE id = ?"
_TAKE_ROUTE = (
    "UPDATE processes SET generation = generation + 1, route = ?, route_status = 'new',"
    " route_attempts = 0, updated_at_ms = ? WHERE id = ?"
)
_HAS_OPEN_ATTEMPTS = "SELECT 1 FROM open_attempts WHERE process_id = ? LIMIT 1"
_OVER = (
    "SELECT id FROM processes INDEXED BY processes_open_end"
    " WHERE open = 1 AND expires_at_ms <= ? ORDER BY expires_at_ms LIMIT ?"
)
_LEFT = (
    "SELECT process_id, attempt FROM open_attempts WHERE at_ms <= ?"
    " ORDER BY at_ms, process_id, attempt LIMIT ?"
)
_CLOSE_ATTEMPT = "DELETE FROM open_attempts WHERE process_id = ? AND attempt = ?"
_OLD = (
    "SELECT id, uuid, phone_index, email_index, plan_id, type_id, entities FROM processes"
    " WHERE created_at_ms < ?"
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


# Ends and routes.


def end_all(
    work: ProcessWork,
    process_ids: Sequence[int],
    status: ProcessStatus,
    failure: FailureReason | None,
    at_ms: int,
) -> None:
    """End open processes; their messages not taken yet are void."""
    word = None if failure is None else failure.value
    which = apsw.carray(array("q", process_ids))
    work.connection.execute(_END, (which, status.value, word, at_ms))
    outbox_queue.void_all_queued(work.connection, process_ids, at_ms)


def supersede(
    work: ProcessWork, process_id: int, told: tuple[str, bytes], actor: Actor, at_ms: int
) -> None:
    """Fail an open process, of a tenant and uuid, for a newer one."""
    superseded = FailureReason.SUPERSEDED
    end_all(work, [process_id], ProcessStatus.FAILED, superseded, at_ms)
    work.tell(told, "otp.end", superseded.value, actor, at_ms)


def fail(
    work: ProcessWork, process: Process, reason: FailureReason, actor: Actor, at_ms: int
) -> None:
    """End an open process for a reason of its own route."""
    exhausted = reason is FailureReason.EXHAUSTED
    route_status = RouteStatus.EXHAUSTED if exhausted else RouteStatus.FAILED
    work.connection.execute(_FAIL_ROUTE, (route_status.value, process.id))
    end_all(work, [process.id], ProcessStatus.FAILED, reason, at_ms)
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
    if process is None or not rules.is_to_go_on(process, at_ms, usable):
        return
    if has_open_attempts(work, process_id):
        return
    if rules.are_attempts_used_up(process):
        fail(work, process, FailureReason.EXHAUSTED, actor, at_ms)
    else:
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
    if over:
        process_ids = [process_id for (process_id,) in over]
        end_all(work, process_ids, ProcessStatus.EXPIRED, None, now_ms)
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
        for process_id, *_, type_id, text in old
        for each in entities_of(text)
    ]
    work.connection.executemany(_FORGET_ENTITY, entities)
    for statement in _FORGET:
        work.connection.executemany(statement, [(process_id,) for process_id, *_ in old])
    work.keys.forget(work.connection, [(row[0], row[1], row[2], row[3]) for row in old])
    drop_plans(work.connection, {plan_id for *_, plan_id, _, _ in old})
    return len(old)
