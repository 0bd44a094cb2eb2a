"""A process as attempts see it: what they need, which is less than half of what is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from otp_server.domain.challenge_type import Channel

if TYPE_CHECKING:
    from otp_server.domain.challenge_type import Plan


class Tried(msgspec.Struct, gc=False):
    """A process being tried, kept up to date while a batch of attempts is judged.

    ``status`` and ``failure`` are the stored words; ``phone`` and ``email`` are the keyed indexes
    of its contacts. ``given_back``: how many attempts were counted and given back.
    """

    id: int
    uuid: bytes
    tenant: str
    plan: Plan
    status: str
    failure: str | None
    phone: bytes | None
    email: bytes | None
    attempts: int
    key_id: str
    generation: int
    route: int
    route_attempts: int
    created_at_ms: int
    expires_at_ms: int
    given_back: int

    def __repr__(self) -> str:
        """Without anything of its contacts."""
        return f"<Tried process {self.id}>"

    def contact(self) -> tuple[Channel, bytes]:
        """The channel of the current route and the index of its contact.

        There is one, or the route was never taken.
        """
        channel = self.plan.routes[self.route].channel
        index = self.phone if channel is Channel.SMS else self.email
        if index is None:
            raise AssertionError(f"process {self.id} has no contact for its route")
        return channel, index
