"""The outbox in SQL: messages leased to workers, and what became of them.

What a function promises is the sentence of its namesake in ``services/ports/outbox.py``. What a
batch needs is read by one statement, and what it changes written by a few, whatever its size: each
statement ends in a fight for the GIL.
"""

from __future__ import annotations

import os
from array import array
from typing import TYPE_CHECKING, Any

import apsw

from otp_server.domain.budget import OUTBOX_MARGIN_MS
from otp_server.domain.process import FailureReason, RouteStatus
from otp_server.services.ports.outbox import DeliveryReport, LeasedMessage, MessageState
from otp_server.stores import process_rules as rules
from otp_server.stores.bounds import SWEEP_ROWS_MAX
from otp_server.stores.sqlite import process_statements
from otp_server.stores.sqlite.process_rows import PROCESS_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from otp_server.domain.challenge_type import Channel
    from otp_server.stores.sqlite.process_rows import ProcessWork

_REPORTS_AT_ONCE = 128
"""Messages written by one statement: some tenths of a millisecond of work."""

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
    "SELECT m.id, m.generation = p.generation"
    " AND p.status IN ('new', 'sent') AND p.expires_at_ms - ?3 > ?4"
    " FROM messages AS m CROSS JOIN processes AS p ON p.id = m.process_id"
    " WHERE m.channel = ?1 AND m.tenant = ?2 AND m.state = 'queued' AND m.due_at_ms <= ?3"
    " ORDER BY m.due_at_ms, m.id LIMIT ?5"
)
_VOID = (
    "UPDATE messages SET state = 'void', updated_at_ms = ?2"
    " WHERE id IN (SELECT value FROM carray(?1))"
)
_LEASE = (
    "UPDATE messages SET state = 'leased', lease = randomblob(16), lease_until_ms = ?2,"
    " tries = tries + 1, updated_at_ms = ?3 WHERE id IN (SELECT value FROM carray(?1))"
)
_LEASED = (
    f"SELECT {PROCESS_COLUMNS}, m.id, m.lease, m.tries FROM carray(?) AS given"  # noqa: S608 - our own words
    " CROSS JOIN messages AS m ON m.id = given.value"
    " CROSS JOIN processes AS p ON p.id = m.process_id"
    " CROSS JOIN plans ON plans.id = p.plan_id"
)
_HELD = (
    "SELECT m.id, m.lease, m.generation = p.generation AND p.status IN ('new', 'sent'),"
    " p.expires_at_ms, p.id, p.tenant, p.uuid FROM carray(?) AS given"
    " CROSS JOIN messages AS m ON m.id = given.value AND m.state = 'leased'"
    " CROSS JOIN processes AS p ON p.id = m.process_id"
)
_REPORT = (
    "UPDATE messages SET state = ?2, lease = NULL, lease_until_ms = NULL, provider = ?3,"
    " problem = ?4, reference = ?5, due_at_ms = max(due_at_ms, ?6), updated_at_ms = ?7"
    " WHERE id IN (SELECT value FROM carray(?1))"
)
_SENT = (
    "UPDATE processes SET status = 'sent', route_status = ?2, updated_at_ms = ?3"
    " WHERE id IN (SELECT value FROM carray(?1))"
)
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
            if void:
                work.connection.execute(_VOID, (_numbers(void), now_ms))
            if good:
                leased += _lease(work, good, now_ms, lease_until_ms)
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
) -> tuple[list[int], list[int]]:
    """Due messages of a channel and tenant: those to send, and those nobody needs any more.

    ``share`` of the first at most, ``spare`` of the others.
    """
    good: list[int] = []
    void: list[int] = []
    rows: Any = work.connection.execute(_DUE, (*which, OUTBOX_MARGIN_MS, share + spare))
    for message_id, is_good in rows:
        (good if is_good else void).append(message_id)
        if len(good) == share:
            break
    rows.close()
    return good, void


def _lease(
    work: ProcessWork, message_ids: Sequence[int], now_ms: int, lease_until_ms: int
) -> list[LeasedMessage]:
    which = _numbers(message_ids)
    work.connection.execute(_LEASE, (which, lease_until_ms, now_ms))
    os.sched_yield()
    rows: list[tuple[Any, ...]] = work.connection.execute(_LEASED, (which,)).fetchall()
    return [rules.leased(work.process_of(row[:-3]), *row[-3:]) for row in rows]


def _close_leases(work: ProcessWork, channel: Channel, now_ms: int) -> None:
    """The workers that held them are gone; whether they had sent nobody knows."""
    ran_out: list[tuple[Any, ...]] = work.connection.execute(
        _RAN_OUT, (channel.value, now_ms, SWEEP_ROWS_MAX)
    ).fetchall()
    report_deliveries(
        work, [rules.lost(message_id, lease, now_ms) for message_id, lease in ran_out]
    )


def report_deliveries(work: ProcessWork, batch: Sequence[DeliveryReport]) -> list[bool]:
    """In order."""
    for report in batch:
        rules.require_reportable(report)
    return [was_held for part in _parts(batch) for was_held in _report(work, part)]


def _parts(batch: Sequence[DeliveryReport]) -> Iterator[list[DeliveryReport]]:
    """The batch in order, in parts whose reports do not change what is said to each other.

    A message is in a part once, and one that failed, whose process may move on, is its last.
    """
    part: dict[int, DeliveryReport] = {}
    for report in batch:
        if report.message_id in part or len(part) == _REPORTS_AT_ONCE:
            yield [*part.values()]
            part = {}
        part[report.message_id] = report
        if report.state is MessageState.FAILED:
            yield [*part.values()]
            part = {}
    if part:
        yield [*part.values()]


def _report(work: ProcessWork, part: Sequence[DeliveryReport]) -> list[bool]:
    which = _numbers([report.message_id for report in part])
    rows: list[tuple[Any, ...]] = work.connection.execute(_HELD, (which,)).fetchall()
    found = {row[0]: row for row in rows}
    alike: dict[tuple[object, ...], _Alike] = {}
    failed: list[tuple[DeliveryReport, int]] = []
    answers: list[bool] = []
    for report in part:
        row = found.get(report.message_id)
        held = row is not None and row[1] == report.lease
        answers.append(held)
        if row is None or not held:
            continue
        _, _, is_current, expires_at_ms, process_id, tenant, uuid = row
        state, at_ms = report.state, report.at_ms
        current = is_current and at_ms < expires_at_ms
        what = (
            *(state, report.provider, report.problem, report.reference),
            *(report.not_before_ms, at_ms, current),
        )
        said = alike.get(what)
        if said is None:
            said = alike[what] = _Alike(report, current=current)
        said.messages.append(report.message_id)
        work.tell((tenant, uuid), "otp.deliver", said.outcome, said.actor, at_ms)
        if said.sent:
            said.processes.append(process_id)
        elif current and state is MessageState.FAILED:
            failed.append((report, process_id))
    for said in alike.values():
        said.write(work.connection)
        os.sched_yield()
    for report, process_id in failed:
        _fail(work, report, process_id)
    return answers


class _Alike:
    """Reports of which all is the same but the message: what they write."""

    __slots__ = ("_at_ms", "_columns", "_route_status", "actor", "messages", "outcome", "processes")

    def __init__(self, report: DeliveryReport, *, current: bool) -> None:
        """``current``: their processes are open, and of the messages' generation."""
        state = report.state
        again = state is MessageState.QUEUED
        self.messages: list[int] = []
        self.processes: list[int] = []
        """Those that are sent by it."""
        self.outcome, self.actor = rules.delivery_words(report)
        self._columns = (
            (MessageState.VOID if again and not current else state).value,
            report.provider,
            report.problem,
            report.reference,
            report.not_before_ms if again else 0,
            report.at_ms,
        )
        arrives = state is MessageState.SENT or state is MessageState.UNCERTAIN
        self._route_status = RouteStatus(state.value).value if current and arrives else None
        self._at_ms = report.at_ms

    @property
    def sent(self) -> bool:
        """Whether their processes are sent by it."""
        return self._route_status is not None

    def write(self, connection: apsw.Connection) -> None:
        """Messages, and then processes."""
        connection.execute(_REPORT, (_numbers(self.messages), *self._columns))
        if self._route_status is not None:
            which = _numbers(self.processes)
            connection.execute(_SENT, (which, self._route_status, self._at_ms))


def _fail(work: ProcessWork, report: DeliveryReport, process_id: int) -> None:
    """The open process of a message that failed moves on, or ends."""
    process = work.by_id(process_id)
    if process is None:
        raise AssertionError(f"message {report.message_id} is of no process")
    at_ms, usable = report.at_ms, report.usable
    if process_statements.take_next_route(work, process, rules.SERVER, at_ms, usable) is None:
        reason = FailureReason.UNDELIVERABLE
        process_statements.fail(work, process, reason, rules.SERVER, at_ms)


def _numbers(numbers: Iterable[int]) -> apsw.CArrayBinding:
    return apsw.carray(array("q", numbers))


def next_message_at(work: ProcessWork, channel: Channel) -> int | None:
    """The ends of two indexes."""
    ends = [
        work.connection.execute(statement, (channel.value,)).get
        for statement in (_NEXT_DUE, _NEXT_LEASE_END)
    ]
    return min((end for end in ends if end is not None), default=None)
