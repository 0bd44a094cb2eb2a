"""What every part of a server is built over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from otp_server.clock import Clock
    from otp_server.config import InstallationKeys
    from otp_server.services.ports import Store
    from otp_server.telemetry import Metrics


@dataclass(frozen=True, slots=True)
class Base:
    """The installation's keys and store, the clock and the metrics of one server."""

    keys: InstallationKeys
    store: Store
    clock: Clock
    metrics: Metrics
