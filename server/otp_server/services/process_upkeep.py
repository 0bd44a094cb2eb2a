"""The periodic work for processes: end what is over, forget what is old, write limit hits down.

Correctness never waits for it: expiry is judged when a code is compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from otp_server.domain.challenge_type import EVERY_CHANNEL
from otp_server.errors import StoreUnavailable
from otp_server.telemetry import get_logger

if TYPE_CHECKING:
    from otp_server.clock import Clock
    from otp_server.domain.challenge_type import Channel
    from otp_server.services.limit_hits import LimitHits
    from otp_server.services.ports import Store
    from otp_server.telemetry import Metrics

INTERVAL_S = 10.0
STEPS_MAX = 1000
"""Steps of one sweep; what they leave waits for the next."""
DAY_MS = 24 * 3600 * 1000

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ProcessUpkeep:
    """One instance a server; ``run`` until cancelled. ``channels``: those with a provider."""

    store: Store
    clock: Clock
    hits: LimitHits
    metrics: Metrics
    keep_days: int
    channels: frozenset[Channel] = EVERY_CHANNEL

    async def run(self) -> None:
        """Every ten seconds; what is gathered last is for ``flush_hits``. Survives the store."""
        while True:
            for work in (self.flush_hits, self.sweep):
                try:
                    await work()
                except StoreUnavailable as error:
                    log.warning("process upkeep skipped", why=str(error))
                except Exception:
                    self.metrics.crashes.labels(where="process_upkeep").inc()
                    log.exception("process upkeep failed")
            await trio.sleep(INTERVAL_S)

    async def flush_hits(self) -> None:
        """Append what limits and guards refused to the audit trail. Raises StoreUnavailable.

        What could not be appended is kept for the next time; a cancelled flush may lose it, or
        have it appended.
        """
        entries = self.hits.take()
        if not entries:
            return
        try:
            await self.store.append_audit(entries)
        except StoreUnavailable:
            self.hits.put_back(entries)
            raise

    async def sweep(self) -> None:
        """End and forget, in bounded steps. Raises StoreUnavailable."""
        now_ms = self.clock.now_ms()
        for _ in range(STEPS_MAX):
            touched = await self.store.sweep_processes(
                now_ms,
                forget_before_ms=now_ms - self.keep_days * DAY_MS,
                usable=self.channels,
            )
            if not touched:
                return
            await trio.lowlevel.checkpoint()
