"""Messages of a channel that has no provider: they fail, so that their processes go on or end.

They are left from before a provider was taken out of the configuration, or are codes of accounts,
which are stored without one too: whoever waits for such a code is told at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from otp_server.errors import StoreError
from otp_server.services.ports.delivery import SendProblem
from otp_server.services.ports.outbox import DeliveryReport, MessageState
from otp_server.telemetry import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from otp_server.domain.challenge_type import Channel
    from otp_server.services.deliver import DeliveryParts

_BATCH_MAX = 100
_LEASE_MS = 60_000
_LOOK_S = 5.0

log = get_logger(__name__)


class UnprovidedChannel:
    """Fails the messages of one channel as ``provider_down``. ``run`` once."""

    def __init__(
        self,
        channel: Channel,
        parts: DeliveryParts,
        usable: frozenset[Channel],
        failed: Callable[[], None],
    ) -> None:
        """``usable`` are the channels with a provider; ``failed`` wakes who delivers over them."""
        self._channel = channel
        self._store = parts.store
        self._clock = parts.clock
        self._metrics = parts.metrics
        self._watch = parts.watch
        self._usable = usable
        self._failed = failed
        self._draining = False
        self._wake = trio.Event()

    def notify(self) -> None:
        """Something changed: look now."""
        self._wake.set()

    def drain(self) -> None:
        """Take no more messages. Idempotent."""
        self._draining = True
        self.notify()

    async def run(self) -> None:
        """Fail what is due until :meth:`drain`. Survives the store."""
        while not self._draining:
            self._wake = trio.Event()
            more = False
            try:
                more = await self._turn()
            except StoreError as error:
                log.warning("messages without a provider wait for the store", why=str(error))
            except Exception as error:  # noqa: BLE001 - the worker must outlive a bug
                self._metrics.crashes.labels(where="unprovided channel").inc()
                log.error("unprovided channel crashed", error=type(error).__name__)  # noqa: TRY400 - its text may hold a contact
            if not more:
                with trio.move_on_after(_LOOK_S):
                    await self._wake.wait()

    async def _turn(self) -> bool:
        """Whether there may be more to do at once."""
        due_ms = await self._store.next_message_at(self._channel)
        now_ms = self._clock.now_ms()
        if due_ms is None or due_ms > now_ms:
            return False
        leased = await self._store.claim_messages(
            self._channel, now_ms=now_ms, lease_until_ms=now_ms + _LEASE_MS, limit=_BATCH_MAX
        )
        if not leased:
            return False
        log.warning(
            "messages fail: their channel has no provider",
            channel=self._channel.value,
            count=len(leased),
        )
        if self._watch is not None:  # before the report, which may take its time
            for each in leased:
                self._watch.judged(each, MessageState.FAILED, self._usable)
        problem = SendProblem.PROVIDER_DOWN.value
        await self._store.report_deliveries(
            [
                DeliveryReport(
                    message_id=each.message_id,
                    lease=each.lease,
                    state=MessageState.FAILED,
                    at_ms=now_ms,
                    provider="",
                    problem=problem,
                    usable=self._usable,
                )
                for each in leased
            ]
        )
        self._metrics.deliveries.labels(
            channel=self._channel.value, outcome=MessageState.FAILED.value, problem=problem
        ).inc(len(leased))
        self._failed()
        return len(leased) == _BATCH_MAX
