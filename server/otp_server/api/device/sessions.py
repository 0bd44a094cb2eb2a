"""One device connection as the face knows it.

::

    anonymous ──Auth frame──▶ checking ──right token──▶ known
        │ (5 s)                  │ wrong token, 5 s        │ revoked, replaced, flooded
        └──────────▶ closing ◀───┴─────────────────────────┘

Neither message of an OTP exchange carries an id, so a device pairs requests and answers by order
(contracts A1). Each request takes a slot; answers leave from the front only, however they arrive.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto

SLOTS_MAX = 64
"""Unanswered requests one connection may have; a device's own limit is far below."""


class Standing(Enum):
    """Whether a connection's device is known."""

    ANONYMOUS = auto()
    CHECKING = auto()
    KNOWN = auto()
    CLOSING = auto()


@dataclass(slots=True)
class Slot:
    """A request, and the place of its answer. ``arrived_at`` on Trio's clock."""

    connection: int
    device_id: str
    arrived_at: float
    frame: bytes | None = None


@dataclass(slots=True)
class Session:
    """A connection: whose it is, and the answers it is owed.

    Kept while the device is not known or answers are owed; an idle connection has none.
    """

    connection: int
    address_key: str
    standing: Standing = Standing.ANONYMOUS
    device_id: str = ""
    held: list[bytes] = field(default_factory=list)
    """Payloads of OTP requests that came while the token is being checked."""
    slots: list[Slot] = field(default_factory=list)
    challenge_id: bytes | None = None
    """The last code sent here, where codes end with their connection."""

    @property
    def is_idle(self) -> bool:
        """Whether the presence service knows all there is to know."""
        return self.standing is Standing.KNOWN and not self.slots and self.challenge_id is None

    def take_slot(self, now: float) -> Slot | None:
        """The next answer's place; None when too many are owed."""
        if len(self.slots) >= SLOTS_MAX:
            return None
        slot = Slot(self.connection, self.device_id, now)
        self.slots.append(slot)
        return slot

    def ready_frames(self) -> list[bytes]:
        """Take the answers that may leave now, in order."""
        ready: list[bytes] = []
        while self.slots and (frame := self.slots[0].frame) is not None:
            ready.append(frame)
            del self.slots[0]
        return ready
