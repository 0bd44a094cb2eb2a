"""Messages put into the outbox's queue, and taken out again because nobody needs them."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

import apsw

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otp_server.domain.challenge_type import Channel

_ENQUEUE = (
    "INSERT INTO messages (process_id, tenant, generation, route, channel, leaves, state, tries,"
    " due_at_ms, updated_at_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'queued', 0, ?7, ?7)"
)
_ENQUEUE_FIRST = (
    "INSERT INTO messages (process_id, tenant, generation, route, channel, leaves, state, tries,"
    " due_at_ms, updated_at_ms)"
    " SELECT p.id, p.tenant, p.generation, p.route, ?2, ?3, 'queued', 0,"
    " p.created_at_ms, p.created_at_ms"
    " FROM carray(?1) AS given CROSS JOIN processes AS p ON p.uuid = given.value"
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
    uuids: Sequence[bytes],
    channel: Channel,
    *,
    leaves: bool,
) -> None:
    """The messages of new processes, in order, over their first routes, which are of one channel.

    ``leaves`` as above.
    """
    connection.execute(_ENQUEUE_FIRST, (apsw.carray(tuple(uuids)), channel.value, leaves))


def void_queued(connection: apsw.Connection, process_id: int, at_ms: int) -> None:
    """The messages of a process that no worker has taken will not be sent."""
    connection.execute(_VOID_QUEUED, (at_ms, process_id))


def void_all_queued(connection: apsw.Connection, process_ids: Sequence[int], at_ms: int) -> None:
    """So for several processes at once."""
    connection.execute(_VOID_ALL_QUEUED, (apsw.carray(array("q", process_ids)), at_ms))
