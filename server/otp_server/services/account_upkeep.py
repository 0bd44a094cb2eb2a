"""The periodic work for accounts: forget sessions that are over.

Correctness never waits for it: a session past its time is not found.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from otp_server.errors import StoreUnavailable
from otp_server.telemetry import get_logger

if TYPE_CHECKING:
    from otp_server.clock import Clock
    from otp_server.services.ports import SessionStore
    from otp_server.telemetry import Metrics

INTERVAL_S = 60.0
STEPS_MAX = 1000
"""Steps of one sweep; what they leave waits for the next."""

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class AccountUpkeep:
    """One instance a server; ``run`` until cancelled."""

    store: SessionStore
    clock: Clock
    metrics: Metrics

    async def run(self) -> None:
        """Every minute. Survives the store."""
        while True:
            try:
                await self.sweep()
            except StoreUnavailable as error:
                log.warning("account upkeep skipped", why=str(error))
            except Exception:
                self.metrics.crashes.labels(where="account_upkeep").inc()
                log.exception("account upkeep failed")
            await trio.sleep(INTERVAL_S)

    async def sweep(self) -> None:
        """Forget what is over, in bounded steps. Raises StoreUnavailable."""
        now_ms = self.clock.now_ms()
        for _ in range(STEPS_MAX):
            if not await self.store.sweep_sessions(now_ms):
                return
            await trio.lowlevel.checkpoint()
