"""How device connections are kept, whatever moves their bytes."""

from __future__ import annotations

from dataclasses import dataclass, field

from otp_server.transport.guard import GuardLimits

OUTBOX_BYTES_MAX = 65_536


@dataclass(frozen=True, slots=True)
class LinkOptions:
    """How connections are kept. Times in seconds."""

    path: str
    frame_bytes_max: int
    connections_max: int
    ping_interval_s: float
    ping_misses: int
    upgrade_s: float = 5.0
    frame_s: float = 10.0
    close_s: float = 2.0
    guard: GuardLimits = field(default_factory=GuardLimits)
