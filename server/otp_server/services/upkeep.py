"""The periodic work: end what expired, count what lives, forget what is old.

Correctness never waits for it: expiry is judged when a code is compared. It keeps the store small
and the live counts (``services/live_codes.py``) near the truth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from otp_server.errors import StoreUnavailable
from otp_server.telemetry import get_logger

if TYPE_CHECKING:
    from otp_server.clock import Clock
    from otp_server.services.live_codes import LiveCodes
    from otp_server.services.ports import CodeStore
    from otp_server.telemetry import Metrics

COUNT_INTERVAL_S = 1.0
SWEEP_EVERY = 10
"""Sweep once in so many counts."""
CODES_KEPT_MS = 3600 * 1000
"""How long an ended code is remembered, so that a refusal's private reason can be told.

Who types an old code does so within minutes; what is kept longer makes each guess's look-up dearer.
"""

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Upkeep:
    """One instance a server; ``run`` until cancelled."""

    store: CodeStore
    clock: Clock
    live: LiveCodes
    metrics: Metrics
    guesses_kept_ms: int

    async def run(self) -> None:
        """Count every second, sweep every tenth. Survives the store."""
        turn = 0
        while True:
            try:
                if turn % SWEEP_EVERY == 0:
                    await self.sweep()
                await self.count()
            except StoreUnavailable as error:
                log.warning("upkeep skipped", why=str(error))
            except Exception:
                self.metrics.crashes.labels(where="upkeep").inc()
                log.exception("upkeep failed")
            turn += 1
            await trio.sleep(COUNT_INTERVAL_S)

    async def count(self) -> None:
        """Refresh the live counts and their gauge."""
        await self.live.refresh(self.store, self.clock.now_ms())
        self.metrics.live_codes.clear()  # a length nobody has any more must not linger
        for length, count in self.live.by_length().items():
            self.metrics.live_codes.labels(length=str(length)).set(count)

    async def sweep(self) -> None:
        """End and forget, in bounded steps."""
        now_ms = self.clock.now_ms()
        while await self.store.sweep(
            now_ms,
            forget_before_ms=now_ms - CODES_KEPT_MS,
            guesses_before_ms=now_ms - self.guesses_kept_ms,
        ):
            await trio.lowlevel.checkpoint()
