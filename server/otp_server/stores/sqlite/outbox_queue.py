"""Messages put into the outbox's queue, and taken out again because nobody needs them."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any

import apsw

from otp_server.stores import process_rules as rules
from otp_server.stores.sqlite.bulk_insert import BulkInsert, next_number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otp_server.domain.challenge_type import Channel
    from otp_server.services.ports.outbox import FirstLease, LeasedMessage
    from otp_server.services.ports.processes import NewProcess

_ENQUEUE = (
    "INSERT INTO messages (process_id, tenant, generation, route, channel, leaves, state, tries,"
    " due_at_ms, updated_at_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'queued', 0, ?7, ?7)"
)
_FIRST = BulkInsert(
    "messages",
    "id, process_id, tenant, generation, route, channel, leaves, state, tries, due_at_ms,"
    " updated_at_ms, lease, lease_until_ms",
)
_VOID_QUEUED = (
    "UPDATE messages SET state = 'void', updated_at_ms = ?"
    " WHERE process_id = ? AND state = 'queued'"
)
_VOID_ALL_QUEUED = (
    "UPDATE messages SET state = 'void', updated_at_ms = ?2"
    " WHERE process_id IN (SELECT value FROM carray(?1)) AND state = 'queued'"
)


def enqueue(
    connection: apsw.Connection,
    process: tuple[int, str, int],
    route: tuple[int, Channel],
    *,
    leaves: bool,
    at_ms: int,
) -> None:
    """A message, due at once, of the process of an id and tenant in a new generation, over a route.

    ``leaves``: whether it has a later route over another channel.
    """
    position, channel = route
    connection.execute(_ENQUEUE, (*process, position, channel.value, leaves, at_ms))


def enqueue_first(
    connection: apsw.Connection,
    items: Sequence[NewProcess],
    leases: Sequence[FirstLease | None],
    first_id: int,
) -> list[LeasedMessage]:
    """The messages of new processes, numbered from ``first_id`` on, over their first routes.

    Those with a lease are leased; they are given back.
    """
    values: list[Any] = []
    leased: list[LeasedMessage] = []
    ways: dict[tuple[int, int, bool, bool], tuple[int, str, bool]] = {}
    number = next_number(connection, "messages")
    for item, lease in zip(items, leases, strict=True):
        key = id(item.plan), item.route, item.phone is None, item.email is None
        way = ways.get(key)
        if way is None:
            leaves = rules.leaves(item.plan, item.route, rules.channels_of(item))
            way = ways[key] = item.route, item.plan.routes[item.route].channel.value, leaves
        at_ms = item.created_at_ms
        values += (number, first_id, item.tenant, 1, *way)
        if lease is None:
            values += ("queued", 0, at_ms, at_ms, None, None)
        else:
            values += ("leased", 1, at_ms, at_ms, lease.lease, lease.until_ms)
            leased.append(rules.leased_first(item, number, lease))
        number += 1
        first_id += 1
    _FIRST.insert(connection, values)
    return leased


def void_queued(connection: apsw.Connection, process_id: int, at_ms: int) -> None:
    """The messages of a process that no worker has taken will not be sent."""
    connection.execute(_VOID_QUEUED, (at_ms, process_id))


def void_all_queued(connection: apsw.Connection, process_ids: Sequence[int], at_ms: int) -> None:
    """So for several processes at once."""
    connection.execute(_VOID_ALL_QUEUED, (apsw.carray(array("q", process_ids)), at_ms))
