"""What a store must do for messages on their way.

A message's life::

    queued ──claim──▶ leased ──handed over────▶ sent
      ▲                 ├──not, may be tried──▶ queued (not before a given time)
      │                 ├──not, and never─────▶ failed ──▶ the process's next route, or its end
      │                 ├──nobody knows───────▶ uncertain
      └─(never again)   └──lease ran out──────▶ uncertain   (the worker died)
    queued ──process over, or too late──▶ void

The first message of a process may be leased from the start, to a worker that has room for it.

A message holds no code and no contact, only where to find them: the code is derived and the
contact unsealed when it is sent.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

import msgspec

from otp_server.domain.challenge_type import EVERY_CHANNEL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otp_server.domain.challenge_type import Channel, Plan
    from otp_server.domain.process import SealedContact


class MessageState(StrEnum):
    """Where a message stands; the stored words."""

    QUEUED = "queued"
    LEASED = "leased"
    SENT = "sent"
    FAILED = "failed"
    UNCERTAIN = "uncertain"
    VOID = "void"


class FirstLease(msgspec.Struct, frozen=True, gc=False):
    """What the first message of a new process is stored with when its worker has room for it."""

    lease: bytes
    until_ms: int

    def __repr__(self) -> str:
        """Without the lease."""
        return f"<FirstLease until {self.until_ms}>"


class LeasedMessage(msgspec.Struct, frozen=True, gc=False):
    """A message this worker alone may send until its lease ends. ``tries`` counts this one."""

    message_id: int
    lease: bytes
    tries: int
    uuid: bytes
    tenant: str
    plan: Plan
    route: int
    generation: int
    key_id: str
    contact: SealedContact
    created_at_ms: int
    expires_at_ms: int
    channels: frozenset[Channel] = frozenset()
    """Those the process has a contact for: with the plan they say whether it has another route."""

    def __repr__(self) -> str:
        """Without its lease and contact."""
        return f"<LeasedMessage {self.message_id}, try {self.tries}>"


class DeliveryReport(msgspec.Struct, frozen=True, gc=False):
    """What became of a leased message: SENT, FAILED, UNCERTAIN, or QUEUED for another try.

    ``problem`` is a word of ``SendProblem``; ``reference`` the provider's name for it; ``usable``
    are the channels that have a provider: a next route is over one of them.
    """

    message_id: int
    lease: bytes
    state: MessageState
    at_ms: int
    provider: str
    problem: str | None = None
    reference: str = ""
    not_before_ms: int = 0
    usable: frozenset[Channel] = EVERY_CHANNEL


class OutboxStore(Protocol):
    """The queue of messages."""

    async def claim_messages(
        self, channel: Channel, *, now_ms: int, lease_until_ms: int, limit: int
    ) -> list[LeasedMessage]:
        """Lease up to ``limit`` queued messages that are due: of each tenant the first due first.

        Tenants take turns, from one call to the next too, so the queue of one holds up no other.

        Only those of open processes, of their current generation, and with more than
        ``OUTBOX_MARGIN_MS`` (``domain/budget.py``) left; others that are due become void. A lease
        that ended by ``now_ms`` makes its message uncertain, as a report would, and is never
        given again.

        Cancellation: nothing is leased, or the leases are undone before the next claim; only a
        crash of the process leaves them to their end.
        """

    async def leave_channel(
        self,
        channel: Channel,
        *,
        to: frozenset[Channel],
        provider: str,
        now_ms: int,
        limit: int,
    ) -> int:
        """Let up to ``limit`` queued messages go that ``channel``'s provider, being down, keeps.

        Only those whose process has a later route over a channel of ``to``, and time for it: they
        fail as ``provider_down``, as a report would say, and their processes move to that route.
        No other is touched. Gives how many went.
        """

    async def report_deliveries(self, batch: Sequence[DeliveryReport]) -> list[bool]:
        """Write down what became of each; False where the lease was not held any more.

        Of the process's current generation: sent or uncertain makes a new process sent and sets
        its route's status; failed moves it to its next route, with a new generation and a message
        of its own, or, when there is none or no time for it, fails it as undeliverable. QUEUED of
        another generation or an ended process is void. ValueError for a state that no report has.
        """

    async def next_message_at(self, channel: Channel) -> int | None:
        """When the next queued message is due or the next lease ends; None: there is none."""
