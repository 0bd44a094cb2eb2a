"""What the configured numbers mean together, in the units of the core and the domain."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otp_server.domain.policy import CodePolicy, failures_in

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otp_server.config.schema import Config

_MS = 1000


def windows_ms(pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """``(count, seconds)`` pairs as ``(count, milliseconds)``."""
    return [(count, seconds * _MS) for count, seconds in pairs]


def code_policy(config: Config) -> CodePolicy:
    """The length rule with this configuration's numbers."""
    device = config.device
    ttl_ms = device.code_ttl_s * _MS
    return CodePolicy(
        length_min=device.code_length,
        length_max=device.code_length_max,
        ttl_ms=ttl_ms,
        guess_risk=device.guess_risk,
        failures_allowed=failures_in(windows_ms(config.confirm.in_all), ttl_ms),
    )
