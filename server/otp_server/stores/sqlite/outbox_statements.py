"""The outbox in SQL: messages leased to workers, and what became of them.

What a function promises is the sentence of its namesake in ``services/ports/outbox.py``.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from otp_server.domain.budget import OUTBOX_MARGIN_MS
from otp_server.domain.process import FailureReason, RouteStatus
from otp_server.services.ports.outbox import DeliveryReport, LeasedMessage, MessageState
from otp_server.stores import process_rules as rules
from otp_server.stores.bounds import SWEEP_ROWS_MAX
from otp_server.stores.sqlite import process_statements

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otp_server.domain.challenge_type import Channel
    from otp_server.stores.sqlite.process_rows import ProcessWork

_RAN_OUT = (
    "SELECT id, lease FROM messages"
    " WHERE channel = ? AND state = 'leased' AND lease_until_ms <= ?"
    " ORDER BY lease_until_ms, id LIMIT ?"
)
_TENANTS = (
    "WITH RECURSIVE tenants (name) AS ("
    " SELECT * FROM (SELECT tenant FROM messages"
    " WHERE channel = ?1 AND state = 'queued' {first} ORDER BY tenant LIMIT 1)"
    " UNION ALL SELECT (SELECT tenant FROM messages"
    " WHERE channel = ?1 AND state = 'queued' AND tenant > name {next} ORDER BY tenant LIMIT 1)"
    " FROM tenants WHERE name IS NOT NULL)"
)
"""Whose messages are queued, in order: a step in the index for each tenant, not each message."""
_FIRST_DUE = (
    "(SELECT due_at_ms FROM messages WHERE channel = ?1 AND tenant = name AND state = 'queued'"
    " ORDER BY due_at_ms LIMIT 1)"
)
_TENANTS_DUE = "{tenants} SELECT name FROM tenants WHERE {first_due} <= ?3 LIMIT ?4"
_LATER_TENANTS = _TENANTS_DUE.format(
    tenants=_TENANTS.format(first="AND tenant > ?2", next=""), first_due=_FIRST_DUE
)
_EARLIER_TENANTS = _TENANTS_DUE.format(
    tenants=_TENANTS.format(first="AND tenant <= ?2", next="AND tenant <= ?2"),
    first_due=_FIRST_DUE,
)
_DUE = (
    "SELECT m.id, m.process_id, m.tries, m.generation = p.generation"
    " AND p.status IN ('new', 'sent') AND p.expires_at_ms - ?3 > ?4"
    " FROM messages AS m CROSS JOIN processes AS p ON p.id = m.process_id"
    " WHERE m.channel = ?1 AND m.tenant = ?2 AND m.state = 'queued' AND m.due_at_ms <= ?3"
    " ORDER BY m.due_at_ms, m.id LIMIT ?5"
)
_VOID = "UPDATE messages SET state = 'void', updated_at_ms = ? WHERE id = ?"
_LEASE = (
    "UPDATE messages SET state = 'leased', lease = ?, lease_until_ms = ?, tries = tries + 1,"
    " updated_at_ms = ? WHERE id = ?"
)
_HELD = (
    "SELECT process_id, generation FROM messages WHERE id = ? AND lease = ? AND state = 'leased'"
)
_REPORT = (
    "UPDATE messages SET state = ?, lease = NULL, lease_until_ms = NULL, provider = ?,"
    " problem = ?, reference = ?, due_at_ms = max(due_at_ms, ?), updated_at_ms = ? WHERE id = ?"
)
_SENT = "UPDATE processes SET status = 'sent', route_status = ?, updated_at_ms = ? WHERE id = ?"
_NEXT_DUE = f"{_TENANTS.format(first='', next='')} SELECT min({_FIRST_DUE}) FROM tenants"  # noqa: S608 - our own words
_NEXT_LEASE_END = "SELECT min(lease_until_ms) FROM messages WHERE channel = ? AND state = 'leased'"


def claim_messages(
    work: ProcessWork,
    channel: Channel,
    *,
    now_ms: int,
    lease_until_ms: int,
    limit: int,
    turns: dict[Channel, str],
) -> list[LeasedMessage]:
    """Voids about ``SWEEP_ROWS_MAX`` messages at most. ``turns``: whose turn was the last."""
    _close_leases(work, channel, now_ms)
    leased: list[LeasedMessage] = []
    spare = SWEEP_ROWS_MAX
    while len(leased) < limit and spare > 0:
        room = limit - len(leased)
        tenants = _tenants_in_turn(work, channel, now_ms, turns.get(channel, ""), room)
        if not tenants:
            break
        share = max(1, room // len(tenants))
        for tenant in tenants:
            turns[channel] = tenant
            good, void = _due(work, (channel.value, tenant, now_ms), share, max(spare, 0))
            spare -= len(void)
            work.connection.executemany(_VOID, [(now_ms, message_id) for message_id in void])
            leased += [_lease(work, each, now_ms, lease_until_ms) for each in good]
    return leased


def _tenants_in_turn(
    work: ProcessWork, channel: Channel, now_ms: int, after: str, limit: int
) -> list[str]:
    """The tenants that have messages due, those past ``after`` first."""
    found: list[str] = []
    for statement in (_LATER_TENANTS, _EARLIER_TENANTS):
        bindings = (channel.value, after, now_ms, limit - len(found))
        found += [name for (name,) in work.connection.execute(statement, bindings)]
    return found


def _due(
    work: ProcessWork, which: tuple[str, str, int], share: int, spare: int
) -> tuple[list[tuple[int, int, int]], list[int]]:
    """Due messages of a channel and tenant: those to send, and those nobody needs any more.

    ``share`` of the first at most, each as id, process and tries; ``spare`` of the others.
    """
    good: list[tuple[int, int, int]] = []
    void: list[int] = []
    rows: Any = work.connection.execute(_DUE, (*which, OUTBOX_MARGIN_MS, share + spare))
    for message_id, process_id, tries, is_good in rows:
        if is_good:
            good.append((message_id, process_id, tries))
        else:
            void.append(message_id)
        if len(good) == share:
            break
    rows.close()
    return good, void


def _lease(
    work: ProcessWork, message: tuple[int, int, int], now_ms: int, lease_until_ms: int
) -> LeasedMessage:
    message_id, process_id, tries = message
    lease = secrets.token_bytes(16)
    work.connection.execute(_LEASE, (lease, lease_until_ms, now_ms, message_id))
    process = work.by_id(process_id)
    if process is None:
        raise AssertionError(f"message {message_id} is of no process")
    return rules.leased(process, message_id, lease, tries + 1)


def _close_leases(work: ProcessWork, channel: Channel, now_ms: int) -> None:
    """The workers that held them are gone; whether they had sent nobody knows."""
    ran_out: list[tuple[Any, ...]] = work.connection.execute(
        _RAN_OUT, (channel.value, now_ms, SWEEP_ROWS_MAX)
    ).fetchall()
    for message_id, lease in ran_out:
        _report(work, rules.lost(message_id, lease, now_ms))


def report_deliveries(work: ProcessWork, batch: Sequence[DeliveryReport]) -> list[bool]:
    """In order."""
    for report in batch:
        rules.require_reportable(report)
    return [_report(work, report) for report in batch]


def _report(work: ProcessWork, report: DeliveryReport) -> bool:
    held = work.connection.execute(_HELD, (report.message_id, report.lease)).fetchone()
    process = None if held is None else work.by_id(held[0])
    if held is None or process is None:
        return False
    current = process.generation == held[1] and rules.is_open_at(process, report.at_ms)
    again = report.state is MessageState.QUEUED
    state = MessageState.VOID if again and not current else report.state
    work.connection.execute(
        _REPORT,
        (
            state.value,
            report.provider,
            report.problem,
            report.reference,
            report.not_before_ms if again else 0,
            report.at_ms,
            report.message_id,
        ),
    )
    work.trail.append(rules.delivery_line((process.tenant, process.uuid), report))
    if not current:
        return True
    if report.state in (MessageState.SENT, MessageState.UNCERTAIN):
        route_status = RouteStatus(report.state.value)
        work.connection.execute(_SENT, (route_status.value, report.at_ms, process.id))
    elif report.state is MessageState.FAILED:
        moved = process_statements.take_next_route(
            work, process, rules.SERVER, report.at_ms, report.usable
        )
        if moved is None:
            reason = FailureReason.UNDELIVERABLE
            process_statements.fail(work, process, reason, rules.SERVER, report.at_ms)
    return True


def next_message_at(work: ProcessWork, channel: Channel) -> int | None:
    """The ends of two indexes."""
    ends = [
        work.connection.execute(statement, (channel.value,)).get
        for statement in (_NEXT_DUE, _NEXT_LEASE_END)
    ]
    return min((end for end in ends if end is not None), default=None)
