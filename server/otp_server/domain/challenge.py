"""A device code's life: issued, then ended once, for one reason.

::

    issued ──confirm──▶ confirmed        (exactly one caller wins)
       ├───new request▶ superseded
       ├───time───────▶ expired
       ├───device gone▶ revoked
       └───late answer▶ void             (the device heard `timeout`)

All but ``issued`` are terminal. A code is stored as its keyed digest only.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class CodeState(StrEnum):
    """Where a device code stands; the stored words."""

    ISSUED = "issued"
    CONFIRMED = "confirmed"
    SUPERSEDED = "superseded"
    EXPIRED = "expired"
    REVOKED = "revoked"
    VOID = "void"


class Route(StrEnum):
    """Which of the three HTTP routes confirmed a code; the stored words."""

    V1 = "v1"
    V2 = "v2"
    QUICK = "quick"


@dataclass(frozen=True, slots=True)
class DeviceCode:
    """A device code as a store remembers it."""

    challenge_id: bytes
    device_id: str
    digest: bytes
    length: int
    state: CodeState
    issued_at_ms: int
    expires_at_ms: int

    def is_live(self, now_ms: int, *, skew_ms: int) -> bool:
        """Whether it may be confirmed now.

        A code issued in the future says the clock went back across a restart: its age cannot be
        judged, so beyond ``skew_ms`` it is dead (requirement 17).
        """
        return (
            self.state is CodeState.ISSUED
            and self.issued_at_ms - skew_ms <= now_ms < self.expires_at_ms
        )
