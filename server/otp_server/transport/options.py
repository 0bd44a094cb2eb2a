"""How device connections are kept, whatever moves their bytes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from otp_server.errors import ErrorKind
from otp_server.transport.guard import GuardLimits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otp_server.domain.address import Network

OUTBOX_BYTES_MAX = 65_536
SEND_BUFFER_BYTES = 16_384
"""SO_SNDBUF of device connections: hundreds of answers. The kernel takes it twice, with its own
overhead, where it would keep megabytes for a peer that does not read."""

_ENTRANCE_MIN = 64
_ENTRANCE_MAX = 16_384


def entrance_size(connections_max: int) -> int:
    """How many connections may be open beside those let in: a tenth, 64 to 16 384.

    A device is there for a round trip: a tenth is enough for all of them to come back in seconds.
    """
    return max(_ENTRANCE_MIN, min(connections_max // 10, _ENTRANCE_MAX))


@dataclass(frozen=True, slots=True)
class LinkOptions:
    """How connections are kept. Times in seconds.

    ``connections_max`` bounds those that are let in; those of ``trusted`` networks, which are
    proxies, may all come from one address.
    """

    path: str
    frame_bytes_max: int
    connections_max: int
    ping_interval_s: float
    ping_misses: int
    trusted: Sequence[Network] = ()
    upgrade_s: float = 5.0
    frame_s: float = 10.0
    close_s: float = 2.0
    revoked_close_s: float = 0.5
    guard: GuardLimits = field(default_factory=GuardLimits)

    @property
    def entrance_max(self) -> int:
        """Connections that are not let in, or not yet."""
        return entrance_size(self.connections_max)

    @property
    def entrance_per_address(self) -> int:
        """Those an address has a claim to: a quarter, so that it takes several to fill it."""
        return self.entrance_max // 4

    def close_within_s(self, kind: ErrorKind) -> float:
        """From a close of ours to the end of the connection, what is queued included."""
        return self.revoked_close_s if kind is ErrorKind.UNAUTHORIZED else self.close_s
