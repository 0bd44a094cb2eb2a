"""Messages that are taken out of a channel's queue unsent, and leases taken back, in SQL.

What a function promises is the sentence of its namesake in ``services/ports/outbox.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from otp_server.domain.budget import OUTBOX_MARGIN_MS
from otp_server.stores import process_rules as rules
from otp_server.stores.sqlite import process_statements

if TYPE_CHECKING:
    from collections.abc import Sequence

    import apsw

    from otp_server.domain.challenge_type import Channel
    from otp_server.services.ports.outbox import LeasedMessage
    from otp_server.stores.sqlite.process_rows import ProcessWork

_LEAVING = (
    "SELECT m.id, m.process_id FROM messages AS m INDEXED BY messages_leaving"
    " CROSS JOIN processes AS p ON p.id = m.process_id"
    " WHERE m.channel = ? AND m.leaves = 1 AND m.state = 'queued'"
    " AND p.status IN ('new', 'sent') AND p.expires_at_ms - ? > ?"
    " ORDER BY m.due_at_ms, m.id LIMIT ?"
)
_FAIL = (
    "UPDATE messages SET state = 'failed', provider = ?, problem = ?, updated_at_ms = ?"
    " WHERE id = ?"
)
_GIVE_BACK = (
    "UPDATE messages SET state = 'queued', lease = NULL, lease_until_ms = NULL, tries = tries - 1"
    " WHERE id = ? AND lease = ?"
)


def leave_channel(
    work: ProcessWork,
    channel: Channel,
    *,
    to: frozenset[Channel],
    provider: str,
    now_ms: int,
    limit: int,
) -> int:
    """The index holds only those that have another channel to go to."""
    rows: list[tuple[Any, ...]] = work.connection.execute(
        _LEAVING, (channel.value, now_ms, OUTBOX_MARGIN_MS, limit)
    ).fetchall()
    left = 0
    for message_id, process_id in rows:
        process = work.by_id(process_id)
        if process is None or rules.next_route(process, now_ms, to) is None:
            continue
        report = rules.left(message_id, provider, now_ms)
        work.connection.execute(_FAIL, (provider, report.problem, now_ms, message_id))
        work.trail.append(rules.delivery_line((process.tenant, process.uuid), report))
        process_statements.take_next_route(work, process, rules.SERVER, now_ms, to)
        left += 1
    return left


def give_back(connection: apsw.Connection, leased: Sequence[LeasedMessage]) -> None:
    """A claim whose caller had gone: its messages wait again, as if it had never been made."""
    held = [(message.message_id, message.lease) for message in leased]
    connection.executemany(_GIVE_BACK, held)
