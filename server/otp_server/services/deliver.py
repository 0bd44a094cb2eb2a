"""Delivery: messages leave the queue right before they are sent, and at most once.

A worker of each channel leases as many messages as its provider has room for, sends each in a task
of its own, and reports what became of it. What decides:

- a message is tried again only where the sender says that the provider certainly has it not;
- a lease that ran out, and a send that was cut off, are uncertain and never sent again (77);
- nothing is begun after the code's end, and no send outlasts it (78);
- while the provider's breaker keeps messages back, they wait in the queue and are not touched: no
  lease, no try, no line in the audit trail. After ``hold_s`` those of processes that have a route
  over another provider, one that can be tried, go there; the others wait on;
- what waits for a channel without a provider fails (``services/unprovided.py``).

Nothing of this is on the request path: whoever stored a message calls ``notify``.
"""

from __future__ import annotations

import math
import traceback
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import trio

from otp_server.domain.budget import OUTBOX_MARGIN_MS
from otp_server.domain.challenge_type import Channel
from otp_server.errors import StoreError
from otp_server.services.ports.delivery import NotSent, SendProblem, Sent, Uncertain
from otp_server.services.ports.outbox import DeliveryReport, MessageState
from otp_server.services.unprovided import UnprovidedChannel
from otp_server.telemetry import get_logger

if TYPE_CHECKING:
    from collections.abc import Mapping

    from otp_server.clock import Clock
    from otp_server.services.compose import MessageComposer
    from otp_server.services.delivery_watch import DeliveryWatch
    from otp_server.services.ports.delivery import Provider, SendOutcome
    from otp_server.services.ports.outbox import LeasedMessage, OutboxStore
    from otp_server.telemetry import Metrics

_STORE_PATIENCE_S = 1.0
_TURN_MIN_S = 0.02
"""Between two looks into the queue that found nothing: a bound on what a wrong store may cost."""
_LAST_WORD_S = 1.0
"""How long a cancelled worker still tries to write down what it knows."""
_LEAVING_MAX = 100
"""How many messages leave a provider that is down at once."""

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class DeliveryOptions:
    """How messages are tried.

    ``tries_max`` bounds the tries of one message while its provider works: an outage ends none. The
    pauses between them grow from ``backoff_ms`` to ``backoff_max_ms``. A message whose process has
    a route over another provider is tried for ``hold_s`` only. A lease is ``lease_margin_s`` longer
    than a send may take.
    """

    tries_max: int = 50
    backoff_ms: int = 1000
    backoff_max_ms: int = 30_000
    lease_margin_s: float = 15.0
    hold_s: float = 3.0
    poll_s: float = 5.0


@dataclass(frozen=True, slots=True)
class DeliveryParts:
    """What every worker works with. ``watch``: who is told what became of a process's message."""

    store: OutboxStore
    composer: MessageComposer
    clock: Clock
    metrics: Metrics
    options: DeliveryOptions
    watch: DeliveryWatch | None = None


class DeliveryService:
    """A worker for each channel: it delivers, or says that there is no provider."""

    def __init__(self, providers: Mapping[Channel, Provider], parts: DeliveryParts) -> None:
        self._workers = {
            channel: DeliveryWorker(channel, provider, parts, self)
            for channel, provider in providers.items()
        }
        self.usable = frozenset(providers)
        """The channels that have a provider."""
        self._all: list[DeliveryWorker | UnprovidedChannel] = [
            *self._workers.values(),
            *(
                UnprovidedChannel(channel, parts, self.usable, self.notify)
                for channel in Channel
                if channel not in providers
            ),
        ]
        self._providers = providers

    def can_try(self, channel: Channel) -> bool:
        """Whether the channel has a provider, and its breaker lets messages try now."""
        worker = self._workers.get(channel)
        return worker is not None and worker.can_try

    def others(self, channel: Channel) -> frozenset[Channel]:
        """The other channels that can be tried now."""
        return frozenset(
            each for each in self._workers if each is not channel and self.can_try(each)
        )

    def notify(self) -> None:
        """Messages were stored: look now. Cheap; from the Trio thread."""
        for worker in self._all:
            worker.notify()

    def drain(self) -> None:
        """Take no more messages; ``run`` returns when those in flight have ended. Idempotent."""
        for worker in self._all:
            worker.drain()

    async def run(self) -> None:
        """Deliver until :meth:`drain`, then close the senders.

        Cancellation: sends in flight end as uncertain.
        """
        try:
            async with trio.open_nursery() as nursery:
                for worker in self._all:
                    nursery.start_soon(worker.run)
        finally:
            with trio.CancelScope(shield=True), trio.move_on_after(_LAST_WORD_S):
                for provider in self._providers.values():
                    await provider.sender.aclose()


class DeliveryWorker:
    """Delivers one channel's messages over its provider. ``run`` once."""

    def __init__(
        self,
        channel: Channel,
        provider: Provider,
        parts: DeliveryParts,
        service: DeliveryService,
    ) -> None:
        self._channel = channel
        self._sender = provider.sender
        self._breaker = provider.breaker
        self._parts = parts
        self._service = service
        self._in_flight = 0
        self._draining = False
        self._wake = trio.Event()

    @property
    def can_try(self) -> bool:
        """Whether the breaker lets messages try now."""
        return self._breaker.wait_s == 0

    def notify(self) -> None:
        """Something changed: look now."""
        self._wake.set()

    def drain(self) -> None:
        """Take no more messages. Idempotent."""
        self._draining = True
        self.notify()

    async def run(self) -> None:
        """Deliver until :meth:`drain`. Survives the store and the sender."""
        async with trio.open_nursery() as nursery:
            while not self._draining:
                self._wake = trio.Event()
                wait_s = _STORE_PATIENCE_S
                try:
                    wait_s = await self._turn(nursery)
                except StoreError as error:
                    log.warning("delivery waits for the store", why=str(error))
                except Exception as error:  # noqa: BLE001 - the worker must outlive a bug
                    self._crashed("delivery worker", error)
                if wait_s > 0:
                    with trio.move_on_after(min(wait_s, self._parts.options.poll_s)):
                        await self._wake.wait()

    async def _turn(self, nursery: trio.Nursery) -> float:
        """Begin what can be begun; how many seconds to wait for the next turn, unless woken."""
        down = self._breaker.down_since is not None
        self._parts.metrics.delivery_down.labels(channel=self._channel.value).set(down)
        free = self._sender.concurrency - self._in_flight
        if free <= 0:
            return math.inf  # the end of a send wakes
        room = min(free, self._breaker.room)
        if room <= 0:
            return await self._hold_back()
        leased = await self._claim(room)
        for message in leased:
            self._in_flight += 1
            self._breaker.begin()
            nursery.start_soon(self._deliver, message)
        if len(leased) == room:
            return 0
        due = await self._parts.store.next_message_at(self._channel)
        if due is None:
            return math.inf
        return max(_TURN_MIN_S, (due - self._parts.clock.now_ms()) / 1000)

    async def _claim(self, limit: int) -> list[LeasedMessage]:
        """Lease messages, however long the store takes.

        They go back when the leases do not cover a send any more, or a drain came meanwhile.
        Cancellation: the store gives back what it leased.
        """
        clock, options = self._parts.clock, self._parts.options
        now_ms = clock.now_ms()
        begin_until_ms = now_ms + int(options.lease_margin_s * 1000)
        leased = await self._parts.store.claim_messages(
            self._channel,
            now_ms=now_ms,
            lease_until_ms=begin_until_ms + int(self._sender.deadline_s * 1000),
            limit=limit,
        )
        if not leased or (not self._draining and clock.now_ms() < begin_until_ms):
            return leased
        unused = NotSent(SendProblem.UNKNOWN)
        async with trio.open_nursery() as nursery:
            for each in leased:
                nursery.start_soon(self._conclude, self._report(each, unused, again_ms=0))
        return []

    async def _hold_back(self) -> float:
        """The provider is down, or being probed: let go who can go elsewhere."""
        hold_s = self._parts.options.hold_s
        down_since = self._breaker.down_since
        down_s = 0.0 if down_since is None else trio.current_time() - down_since
        again_s = max(self._breaker.wait_s, _STORE_PATIENCE_S)
        if down_s < hold_s:
            return min(hold_s - down_s, again_s)
        others = self._service.others(self._channel)
        if not others:
            return again_s
        left = await self._parts.store.leave_channel(
            self._channel,
            to=others,
            provider=self._sender.name,
            now_ms=self._parts.clock.now_ms(),
            limit=_LEAVING_MAX,
        )
        if left:
            self._count(MessageState.FAILED, SendProblem.PROVIDER_DOWN.value, left)
            self._service.notify()  # the next routes' messages are other workers'
        return 0 if left == _LEAVING_MAX else again_s

    def _leaves(self, leased: LeasedMessage) -> bool:
        """Whether its process has another route, over a provider that can be tried."""
        return any(
            route.channel is not self._channel
            and route.channel in leased.channels
            and self._service.can_try(route.channel)
            for route in leased.plan.routes[leased.route + 1 :]
        )

    async def _deliver(self, leased: LeasedMessage) -> None:
        """Send one and report it; whatever happens, there is a report."""
        outcome: SendOutcome | None = None
        cut: SendOutcome = NotSent(SendProblem.UNKNOWN, 0)
        try:
            await trio.lowlevel.checkpoint_if_cancelled()
            cut = Uncertain(SendProblem.UNKNOWN)
            outcome = await self._send(leased)
        finally:
            self._breaker.end(outcome)
            self._in_flight -= 1
            self.notify()
            if outcome is None:
                await self._last_word(self._judged(leased, cut))
        report = self._judged(leased, outcome)
        self._tell_watch(leased, report.state)
        await self._conclude(report)

    def _tell_watch(self, leased: LeasedMessage, state: MessageState) -> None:
        """Before the report is stored, which may take its time: the outcome is known."""
        if self._parts.watch is not None:
            self._parts.watch.judged(leased, state, self._service.usable)

    async def _send(self, leased: LeasedMessage) -> SendOutcome:
        now_ms = self._parts.clock.now_ms()
        if now_ms >= leased.expires_at_ms:
            return NotSent(SendProblem.EXPIRED)
        try:
            message = self._parts.composer.compose(leased, now_ms)
        except Exception as error:  # noqa: BLE001 - such as a key that is gone; nothing was sent
            self._crashed("compose", error)
            return NotSent(SendProblem.UNKNOWN)
        started = trio.current_time()
        try:
            return await self._sender.send(message)
        except Exception as error:  # noqa: BLE001 - a sender raises nothing; if it does, who knows
            self._crashed("send", error)
            return Uncertain(SendProblem.UNKNOWN)
        finally:
            seconds = self._parts.metrics.delivery_seconds.labels(channel=self._channel.value)
            seconds.observe(trio.current_time() - started)

    def _judged(self, leased: LeasedMessage, outcome: SendOutcome) -> DeliveryReport:
        """The report of a try; where another one is due, after a pause that grows."""
        if not isinstance(outcome, NotSent) or outcome.retry_after_ms is None:
            return self._report(leased, outcome, again_ms=None)
        options = self._parts.options
        waited_ms = self._parts.clock.now_ms() - leased.created_at_ms
        leaves = waited_ms >= options.hold_s * 1000 and self._leaves(leased)
        works = self._breaker.down_since is None
        if leaves or (works and leased.tries >= options.tries_max):
            return self._report(leased, outcome, again_ms=None)
        pause_ms = min(options.backoff_ms << min(leased.tries - 1, 16), options.backoff_max_ms)
        return self._report(leased, outcome, again_ms=max(outcome.retry_after_ms, pause_ms))

    def _report(
        self, leased: LeasedMessage, outcome: SendOutcome, *, again_ms: int | None
    ) -> DeliveryReport:
        """``again_ms``: in how long another try is due; it is none when the code ends before."""
        now_ms = self._parts.clock.now_ms()
        report = DeliveryReport(
            message_id=leased.message_id,
            lease=leased.lease,
            state=MessageState.FAILED,
            at_ms=now_ms,
            provider=self._sender.name,
            usable=self._service.usable,
        )
        match outcome:
            case Sent(reference):
                return replace(report, state=MessageState.SENT, reference=reference)
            case Uncertain(problem):
                return replace(report, state=MessageState.UNCERTAIN, problem=problem.value)
            case NotSent(problem):
                report = replace(report, problem=problem.value)
        if again_ms is None or now_ms + again_ms + OUTBOX_MARGIN_MS >= leased.expires_at_ms:
            return report
        return replace(report, state=MessageState.QUEUED, not_before_ms=now_ms + again_ms)

    async def _conclude(self, report: DeliveryReport) -> None:
        """Write it down; try for as long as the lease lasts. A bug costs this report only."""
        self._count(report.state, report.problem)
        written: list[bool] | None = None
        try:
            with trio.move_on_after(self._parts.options.lease_margin_s):
                while written is None:
                    try:
                        written = await self._parts.store.report_deliveries([report])
                    except StoreError as error:
                        log.warning("a delivery's report waits for the store", why=str(error))
                        await trio.sleep(_STORE_PATIENCE_S)
        except trio.Cancelled:
            await self._last_word(report)
            raise
        except Exception as error:  # noqa: BLE001 - the other messages must outlive a bug
            self._crashed("report", error)
            return
        if written is None or not all(written):
            log.warning("a delivery's report came too late", channel=self._channel.value)
        if report.state is MessageState.FAILED:
            self._service.notify()  # the next route's message may be another worker's

    async def _last_word(self, report: DeliveryReport) -> None:
        """Write down what is known, although cancelled; the lease's end says ``uncertain`` too."""
        with trio.CancelScope(shield=True), trio.move_on_after(_LAST_WORD_S):
            try:
                await self._parts.store.report_deliveries([report])
            except StoreError as error:
                log.warning("a delivery's last report is lost", why=str(error))
            except Exception as error:  # noqa: BLE001 - the other messages must outlive a bug
                self._crashed("report", error)

    def _count(self, state: MessageState, problem: str | None, count: int = 1) -> None:
        self._parts.metrics.deliveries.labels(
            channel=self._channel.value, outcome=state.value, problem=problem or "none"
        ).inc(count)

    def _crashed(self, where: str, error: Exception) -> None:
        """Count and log a bug by its type and place: its text may hold a code or a contact."""
        self._parts.metrics.crashes.labels(where=where).inc()
        place = traceback.extract_tb(error.__traceback__)[-1:]
        log.error(
            "delivery crashed",
            where=where,
            error=type(error).__name__,
            path=[f"{frame.filename}:{frame.lineno}" for frame in place],
        )
