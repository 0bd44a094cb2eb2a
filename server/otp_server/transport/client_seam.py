"""The seam between the client WebSocket and its face: an object a connection, nothing shared.

::

    transport                         face (api.svc)
        admit(upgrade)         ──▶    an admission, or why not
    a session, for each connection let in
        run(link)              ──▶    a task of the connection; cancelled at its end
        received(text)         ──▶    one message at a time, awaited before the next is read
        closed()               ──▶    once, however the connection ended
    a link
        send(text)             ◀──    never blocks: queued, bounded
        close(kind)            ◀──    after what is queued was sent

What a session raises ends its own connection, as ``internal``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otp_server.errors import ErrorKind


@dataclass(frozen=True, slots=True)
class ClientUpgrade:
    """A WebSocket upgrade that asks to come in. Header names are lower case.

    ``address`` is the client's, what trusted proxies say of it considered. The query and the
    headers may hold secrets, so ``repr`` does not show them.
    """

    path: str
    query: str = field(repr=False)
    headers: Sequence[tuple[bytes, bytes]] = field(repr=False)
    address: str

    def header(self, name: bytes) -> list[str]:
        """Every value of a header, in order."""
        return [value.decode("latin-1") for key, value in self.headers if key == name]

    def listed(self, name: bytes) -> list[str]:
        """The items of a header that is a list, over all its lines."""
        items = (item.strip() for value in self.header(name) for item in value.split(","))
        return [item for item in items if item]


class ClientLink(Protocol):
    """One open connection, as its session sees it. Once it is gone, calls do nothing."""

    def send(self, text: str) -> None:
        """Queue a message; a full queue closes the connection as a slow reader."""

    def close(self, kind: ErrorKind) -> None:
        """Close with the kind's close code, after what is queued."""


class ClientSession(Protocol):
    """What the face keeps for one connection."""

    async def run(self, link: ClientLink) -> None:
        """Called once the connection is open, and cancelled at its end; it may return before."""

    async def received(self, text: str) -> None:
        """A message. The next one is read when it returns."""

    def closed(self) -> None:
        """The connection is gone, or never opened after all."""


@dataclass(frozen=True, slots=True)
class Admission:
    """Lets a connection in; ``subprotocol`` is one of those it asked for, or None."""

    session: ClientSession
    subprotocol: str | None


class ClientSocketFace(Protocol):
    """What the transport calls."""

    async def admit(self, upgrade: ClientUpgrade) -> Admission | ErrorKind:
        """Let it in, or refuse it with that kind's HTTP status. ``closed`` is owed from then on.

        Cancellation: nothing may be left of it.
        """
