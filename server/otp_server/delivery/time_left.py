"""How long a message may still be handed over: not past its code's end (requirement 78)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from otp_server.clock import Clock
    from otp_server.services.ports.delivery import Message


def remaining_s(message: Message, clock: Clock) -> float:
    """How long the message is still good; not positive: it is not."""
    return (message.expires_at_ms - clock.now_ms()) / 1000
