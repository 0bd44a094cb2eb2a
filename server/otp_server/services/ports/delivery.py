"""What hands a message over to a provider, and how it answers."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otp_server.domain.challenge_type import Channel


class Message(msgspec.Struct, frozen=True, gc=False):
    """One message with its code in it: never stored, never logged. Its repr shows neither."""

    id: str
    """Unique for each message and the same on each try: providers that know one may use it."""
    process: str
    channel: Channel
    to: str
    subject: str
    text: str
    html: str | None
    expires_at_ms: int

    def __repr__(self) -> str:
        return f"Message(id={self.id!r}, channel={self.channel.value!r})"


class SendProblem(StrEnum):
    """Why a message was not handed over; the stored words (requirement 80)."""

    INVALID_RECIPIENT = "invalid_recipient"
    OPTED_OUT = "opted_out"
    RATE_LIMITED = "rate_limited"
    AUTH = "auth"
    REJECTED = "rejected"
    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    PROVIDER_DOWN = "provider_down"
    EXPIRED = "expired"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Sent:
    """The provider took it; ``reference`` is its name for the message, for search."""

    reference: str = ""


@dataclass(frozen=True, slots=True)
class NotSent:
    """The provider has it not. ``retry_after_ms`` None: another try would not help."""

    problem: SendProblem
    retry_after_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Uncertain:
    """It may have it: never try again by yourself (requirement 77)."""

    problem: SendProblem


SendOutcome = Sent | NotSent | Uncertain


class Sender(Protocol):
    """One provider of one channel."""

    @property
    def name(self) -> str:
        """The provider's name, for metrics and the breaker."""

    @property
    def concurrency(self) -> int:
        """How many messages it takes at once (its bulkhead)."""

    @property
    def deadline_s(self) -> float:
        """The longest that ``send`` takes."""

    async def send(self, message: Message) -> SendOutcome:
        """Hand it over, within the sender's own deadline. Raises nothing.

        Cancellation: the message may or may not be with the provider.
        """

    async def aclose(self) -> None:
        """Close what is kept open. Idempotent."""


@runtime_checkable
class BatchSender(Sender, Protocol):
    """A provider that takes many messages as one thing to do, as soon as one of them.

    ``concurrency`` bounds how many are with it, in whatever batches.
    """

    async def send_many(self, messages: Sequence[Message]) -> Sequence[SendOutcome]:
        """As ``send`` for each, in order; an outcome for each. Raises nothing.

        Cancellation: each of them may or may not be with the provider.
        """


class Breaker(Protocol):
    """Keeps messages from a provider that is down, and probes whether it is back.

    Only faults of the provider count: a number that does not exist is none. Each message that
    began ends once.
    """

    @property
    def down_since(self) -> float | None:
        """Since when it is not closed, on Trio's clock; None while the provider works."""

    @property
    def wait_s(self) -> float:
        """How long no message may be tried; 0: one may be tried now, or is being tried."""

    @property
    def room(self) -> int:
        """How many more messages may begin now, over all those in flight."""

    def begin(self, count: int = 1) -> None:
        """So many messages go to the provider now."""

    def end(self, outcome: SendOutcome | None, count: int = 1) -> None:
        """What became of so many in a row; None: they were cut off, which says nothing of it."""


@dataclass(frozen=True, slots=True)
class Provider:
    """A channel's sender with its breaker."""

    sender: Sender
    breaker: Breaker
