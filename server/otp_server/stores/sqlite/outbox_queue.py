"""Messages put into the outbox's queue, and taken out again because nobody needs them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import apsw

    from otp_server.domain.challenge_type import Channel

_ENQUEUE = (
    "INSERT INTO messages (process_id, tenant, generation, route, channel, leaves, state, tries,"
    " due_at_ms, updated_at_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?8, 0, ?7, ?7)"
)
_VOID_QUEUED = (
    "UPDATE messages SET state = 'void', updated_at_ms = ?"
    " WHERE process_id = ? AND state = 'queued'"
)


def enqueue(
    connection: apsw.Connection,
    process: tuple[int, str, int],
    route: tuple[int, Channel],
    *,
    leaves: bool,
    at_ms: int,
    void: bool = False,
) -> None:
    """A message, due at once, of the process of an id and tenant in a new generation, over a route.

    ``leaves``: whether it has a later route over another channel. ``void``: it is never sent.
    """
    position, channel = route
    state = "void" if void else "queued"
    connection.execute(_ENQUEUE, (*process, position, channel.value, leaves, at_ms, state))


def void_queued(connection: apsw.Connection, process_id: int, at_ms: int) -> None:
    """The messages of a process that no worker has taken will not be sent."""
    connection.execute(_VOID_QUEUED, (at_ms, process_id))
