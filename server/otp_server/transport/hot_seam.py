"""The seam between the hot listener and the operations it has: batches, and nothing that blocks.

::

    transport                         face (api.hot)
        received(requests)     ──▶    never blocks: requests are queued, or answered at once
    link
        send_many(answers)     ◀──    never blocks: bytes are queued

A request is answered once. One that nobody answers costs its connection, after a while.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otp_server.core import HttpRequest

    Answer = tuple[HttpRequest, int, str, Sequence[tuple[str, str]], bytes]
    """Request, status, content type, headers, body."""


@dataclass(frozen=True, slots=True)
class HotOptions:
    """``routes`` as the core's ``HttpReactorOptions`` takes them; ``body_bytes_max`` in bytes."""

    routes: Sequence[tuple[str | None, str]]
    body_bytes_max: int


class HotSide(Protocol):
    """What the transport calls."""

    def received(self, requests: Sequence[HttpRequest]) -> None:
        """Requests for the routes, well framed; a body that is None was too large."""


class AnswerSide(Protocol):
    """What a face calls."""

    def send_many(self, answers: Sequence[Answer]) -> None:
        """Send whole answers. Connections that are gone are passed over in silence."""
