"""An OTP process: one code for one contact, from its start to its one end.

::

    new ──handed over──▶ sent ──right code──▶ accepted     (exactly one caller wins)
     │                    ├──too many wrong──▶ failed (exhausted)
     │                    ├──a newer process─▶ failed (superseded)
     ├──no route left─────┴──────────────────▶ failed (undeliverable)
     └──time──────────────┴──────────────────▶ expired

The three ends are terminal and stay readable. On a wrong code that uses up the route's attempts,
or when its delivery fails, a process moves to the next route it has a contact for: the generation
grows by one, so the code is new and the old one void. What a code is, is derived from the process
(``core``: HMAC over domain, tenant, uuid and generation); it is stored nowhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from otp_server.domain.challenge_type import Channel, Plan


CLOCK_SKEW_MS = 2_000
"""How far before its start a process may be tried."""


class ProcessStatus(StrEnum):
    """Where a process stands; the stored words (contracts C3)."""

    NEW = "new"
    SENT = "sent"
    ACCEPTED = "accepted"
    FAILED = "failed"
    EXPIRED = "expired"

    @property
    def is_open(self) -> bool:
        """Whether a code may still be accepted."""
        return self in (ProcessStatus.NEW, ProcessStatus.SENT)


class FailureReason(StrEnum):
    """Why a process failed; the stored words."""

    EXHAUSTED = "exhausted"
    SUPERSEDED = "superseded"
    UNDELIVERABLE = "undeliverable"


class RouteStatus(StrEnum):
    """Where the delivery over the current route stands; the stored words."""

    NEW = "new"
    SENT = "sent"
    UNCERTAIN = "uncertain"
    """Handed over, or not: the provider's answer was lost. The code stays good."""
    FAILED = "failed"
    EXHAUSTED = "exhausted"


class Entity(msgspec.Struct, frozen=True, gc=False):
    """Something of the caller's that a process belongs to, such as client 338."""

    type: str
    id: str


class SealedContact(msgspec.Struct, frozen=True, gc=False):
    """A contact as stored: encrypted, and the keyed index it is found and counted by."""

    index: bytes
    sealed: bytes

    @property
    def key_id(self) -> str:
        """The key it is sealed under: the length of its id in one byte, and the id, come first."""
        return self.sealed[1 : 1 + self.sealed[0]].decode(errors="replace") if self.sealed else ""


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of one message of a process, for search."""

    position: int
    channel: Channel
    state: str
    problem: str | None
    at_ms: int


class Process(msgspec.Struct, frozen=True, gc=False):
    """A process as a store remembers it. ``route`` is a position in the plan's routes."""

    id: int
    uuid: bytes
    tenant: str
    plan: Plan
    status: ProcessStatus
    failure: FailureReason | None
    phone: SealedContact | None
    email: SealedContact | None
    address: str | None
    entities: tuple[Entity, ...]
    attempts: int
    key_id: str
    generation: int
    route: int
    route_status: RouteStatus
    route_attempts: int
    created_at_ms: int
    updated_at_ms: int
    expires_at_ms: int

    def status_at(self, now_ms: int) -> ProcessStatus:
        """Its status now, whether or not the sweep has been here."""
        if self.status.is_open and now_ms >= self.expires_at_ms:
            return ProcessStatus.EXPIRED
        return self.status
