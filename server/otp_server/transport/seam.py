"""The seam between a device transport and the device face: batches, and nothing that blocks.

::

    transport                         face (api.device)
        admit(upgrades)        ──▶    may these come in?
        received(frames)       ──▶    never blocks: frames are queued
        closed(connections)    ──▶    once for each connection that was let in
    links
        send_many(frames)      ◀──    never blocks: bytes are queued, bounded
        close_many(kinds)      ◀──    after what is queued was sent

A connection is a number, unique for the life of the process. A transport that reads thousands of
sockets in one call hands over one batch; a task per connection hands over batches of one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from otp_server.core import Frame
    from otp_server.errors import ErrorKind


@dataclass(frozen=True, slots=True)
class Upgrade:
    """A WebSocket upgrade that asks to come in. Header names are lower case."""

    connection: int
    peer: str
    headers: Sequence[tuple[bytes, bytes]]

    def header(self, name: bytes) -> list[str]:
        """Every value of a header, in order."""
        return [value.decode("latin-1") for key, value in self.headers if key == name]


class FaceSide(Protocol):
    """What a transport calls."""

    async def admit(self, upgrades: Sequence[Upgrade]) -> list[ErrorKind | None]:
        """None lets the connection in; an error kind refuses it with that HTTP status."""

    def received(self, frames: Iterable[tuple[int, Frame]]) -> None:
        """Frames, in the order they came on each connection; to be gone through once.

        If it raises, the connection of the frame it took last pays; the transport calls again
        with the rest.
        """

    def closed(self, connections: Iterable[int]) -> None:
        """These connections are gone; to be gone through once, as above."""


class LinkSide(Protocol):
    """What a face calls. Connections already gone are passed over in silence."""

    def send_many(self, frames: Sequence[tuple[int, bytes]]) -> None:
        """Queue whole frames; a connection whose queue is full is closed as a slow reader."""

    def close_many(self, connections: Sequence[tuple[int, ErrorKind]]) -> None:
        """Close with the kind's close code, after what is queued."""


class DeviceTransport(LinkSide, Protocol):
    """What the composition root calls, beside starting it."""

    def stop_accepting(self) -> None:
        """Close the listener; connections stay."""

    def close_all(self, kind: ErrorKind) -> None:
        """Close every connection."""
