"""First messages of new processes, leased to their worker from the start where it has room.

Who starts processes asks for a lease for each, has the store keep the messages with it, and brings
those that were stored: the worker sends them without a look into the queue. What has no lease is
queued as ever. Room that was lent counts as in flight until it is brought back, with or without a
message. A crash in between leaves the leases to their end, as any crash of a worker does.
"""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING, Protocol, Self

from otp_server.services.ports.outbox import FirstLease

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from otp_server.domain.challenge_type import Channel
    from otp_server.services.ports.outbox import LeasedMessage

_LEASE_BYTES = 16


class Lender(Protocol):
    """The worker of a channel."""

    def lend(self) -> bool:
        """Room for one message; False: it has none, or others wait."""

    def lease_until_ms(self) -> int:
        """The end of a lease given now."""

    def take(self, messages: Sequence[LeasedMessage], until_ms: int, lent: int) -> None:
        """Send these; ``lent`` rooms came back with them. Does not block."""


class FirstMessages:
    """Those of one batch of starts. Use it as a context: its end brings back what is left."""

    def __init__(self, lenders: Mapping[Channel, Lender] | None = None) -> None:
        self._lenders = {} if lenders is None else lenders
        self._leases: dict[Channel, FirstLease] = {}
        self._lent: Counter[Channel] = Counter()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.bring(())

    def lease(self, channel: Channel) -> FirstLease | None:
        """For one message over the channel; None: it is to be queued."""
        lender = self._lenders.get(channel)
        if lender is None or not lender.lend():
            return None
        self._lent[channel] += 1
        lease = self._leases.get(channel)
        if lease is None:  # all have the first one's: with the message's number it is of one
            lease = FirstLease(os.urandom(_LEASE_BYTES), lender.lease_until_ms())
            self._leases[channel] = lease
        return lease

    def bring(self, messages: Sequence[LeasedMessage]) -> None:
        """Those that were stored leased; the room of the others is free again."""
        if not self._lent:
            return
        stored: dict[Channel, list[LeasedMessage]] = {channel: [] for channel in self._lent}
        for message in messages:
            stored[message.plan.routes[message.route].channel].append(message)
        lent, self._lent = self._lent, Counter()
        for channel, these in stored.items():
            until_ms = self._leases[channel].until_ms
            self._lenders[channel].take(these, until_ms, lent[channel])
