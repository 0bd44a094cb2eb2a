"""What the use cases of OTP processes answer: values, one per item of a batch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import msgspec

from otp_server.domain.outcome import Refused

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from otp_server.domain.challenge_type import Channel
    from otp_server.domain.process import (
        Delivery,
        Entity,
        FailureReason,
        ProcessStatus,
        RouteStatus,
    )


class Quota(Protocol):
    """One window of one limit, as a caller may know it: an item of the ``RateLimit`` field."""

    @property
    def policy(self) -> str:
        """A word such as ``contact-60``, of a bounded set; it holds no contact (39)."""

    @property
    def limit(self) -> int:
        """How many charges the window takes."""

    @property
    def window_ms(self) -> int:
        """How long it is."""

    @property
    def remaining(self) -> int:
        """How many more it takes now."""

    @property
    def reset_ms(self) -> int:
        """Until ``remaining`` grows; 0 when nothing is used."""


class Quotas(Protocol):
    """What is left of limits, equal by value; the core makes it.

    Its texts are empty when nothing is told.
    """

    @property
    def policies(self) -> str:
        """The text of ``RateLimit-Policy``."""

    @property
    def left(self) -> str:
        """The text of ``RateLimit``."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Quota]: ...


@dataclass(frozen=True, slots=True)
class ProcessRefused(Refused):
    """No. ``fields`` says what is wrong with each field, in words that quote no value.

    ``violated`` are the policies that refused, all of them; ``retry_after_ms`` is the wait of the
    slowest. ``quotas`` are the windows a caller may be told, the violated ones among them.
    """

    fields: Mapping[str, Sequence[str]] = field(default_factory=dict)
    violated: tuple[str, ...] = ()
    quotas: Quotas | None = None


class HandshakeAnswer(msgspec.Struct, frozen=True, gc=False):
    """What an init would do now; nothing was made."""

    type: str
    channel: Channel
    available_in_s: int
    quotas: Quotas | None = None


class StartAnswer(msgspec.Struct, frozen=True, gc=False):
    """The process ``uuid`` exists and its code is on its way over ``channel``.

    ``replayed``: an earlier call with the same Idempotency-Key had started it.
    """

    uuid: str
    channel: Channel
    replayed: bool = False
    quotas: Quotas | None = None


class Accepted(msgspec.Struct, frozen=True, gc=False):
    """The one acceptance of a process. ``replayed``: an earlier call with the same key had it."""

    replayed: bool = False
    quotas: Quotas | None = None


class Wrong(msgspec.Struct, frozen=True, gc=False):
    """A counted wrong code."""

    replayed: bool = False
    quotas: Quotas | None = None


@dataclass(frozen=True, slots=True)
class RouteView:
    """The route a process is on."""

    status: RouteStatus
    channel: Channel
    template_id: int
    attempts: int


@dataclass(frozen=True, slots=True)
class ProcessView:
    """A process as search shows it, its repr without contacts.

    A contact that no configured key opens any more is None.
    """

    id: int
    uuid: str
    type: str
    status: ProcessStatus
    failure: FailureReason | None
    phone: str | None = field(repr=False)
    email: str | None = field(repr=False)
    address: str | None
    entities: tuple[Entity, ...]
    attempts: int
    created_at_ms: int
    updated_at_ms: int
    expires_at_ms: int
    route: RouteView
    deliveries: tuple[Delivery, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """A page of processes, the newest first."""

    processes: tuple[ProcessView, ...]


HandshakeOutcome = HandshakeAnswer | ProcessRefused
StartingOutcome = StartAnswer | ProcessRefused
AttemptOutcome = Accepted | Wrong | ProcessRefused
SearchOutcome = Found | ProcessRefused
