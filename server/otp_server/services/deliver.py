"""Delivery: messages leave the queue right before they are sent, and at most once.

A worker of each channel leases as many messages as its provider has room for, sends each in a task
of its own, and reports what became of it. Messages for a provider that takes many at once share a
task, and reports that wait share a call of the store. What decides:

- a message is tried again only where the sender says that the provider certainly has it not;
- a lease that ran out, and a send that was cut off, are uncertain and never sent again (77);
- nothing is begun after the code's end, and no send outlasts it (78);
- while the provider's breaker keeps messages back, they wait in the queue and are not touched: no
  lease, no try, no line in the audit trail. After ``hold_s`` those of processes that have a route
  over another provider, one that can be tried, go there; the others wait on;
- what waits for a channel without a provider fails (``services/unprovided.py``).

Nothing of this is on the request path: whoever stored a message calls ``notify``, or brings it
leased already (``services/first_messages.py``). None is leased so while others wait in the queue.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

import trio

from otp_server.domain.budget import OUTBOX_MARGIN_MS
from otp_server.domain.challenge_type import Channel
from otp_server.errors import StoreError
from otp_server.services.delivery_reports import DeliveryReports, count_crash
from otp_server.services.first_messages import FirstMessages
from otp_server.services.ports.delivery import BatchSender, NotSent, SendProblem, Sent, Uncertain
from otp_server.services.ports.outbox import DeliveryReport, MessageState
from otp_server.services.unprovided import UnprovidedChannel
from otp_server.telemetry import get_logger

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from otp_server.clock import Clock
    from otp_server.services.compose import MessageComposer
    from otp_server.services.delivery_watch import DeliveryWatch
    from otp_server.services.ports.delivery import Message, Provider, SendOutcome
    from otp_server.services.ports.outbox import LeasedMessage, OutboxStore
    from otp_server.telemetry import Metrics

_STORE_PATIENCE_S = 1.0
_TURN_MIN_S = 0.02
"""Between two looks into the queue that found nothing: a bound on what a wrong store may cost."""
_LAST_WORD_S = 1.0
"""How long a cancelled worker still tries to write down what it knows."""
_COMPOSED_AT_ONCE = 32
"""Messages put into words before the event loop has its turn: half a millisecond at most."""
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
        reports = DeliveryReports(
            parts.store,
            parts.metrics,
            patience_s=parts.options.lease_margin_s,
            failed=self.notify,
        )
        self._workers = {
            channel: DeliveryWorker(channel, provider, parts, self, reports)
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

    def first_messages(self) -> FirstMessages:
        """Those of a batch of starts, which may come leased."""
        return FirstMessages(self._workers)

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
        reports: DeliveryReports,
    ) -> None:
        self._channel = channel
        self._sender = provider.sender
        self._batches = provider.sender if isinstance(provider.sender, BatchSender) else None
        self._breaker = provider.breaker
        self._parts = parts
        self._seconds = parts.metrics.delivery_seconds.labels(channel=channel.value)
        self._service = service
        self._in_flight = 0
        self._lent = 0  # of those in flight, what ``lend`` gave and ``take`` did not bring back
        self._is_asked = False
        self._is_behind = True  # until a look finds that nobody waits
        self._nursery: trio.Nursery | None = None  # while it runs
        self._lacks_room = False
        self._draining = False
        self._wake = trio.Event()
        self._reports = reports

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

    def lend(self) -> bool:
        """See :class:`otp_server.services.first_messages.Lender`; so for the next two."""
        self._is_asked = True
        if self._is_behind or self._draining or self._nursery is None:
            return False
        if self._in_flight >= self._sender.concurrency or self._breaker.down_since is not None:
            return False
        self._in_flight += 1
        self._lent += 1
        return True

    def lease_until_ms(self) -> int:
        """A send may begin for ``lease_margin_s``."""
        return self._lease_until_ms(self._parts.clock.now_ms())

    def take(self, messages: Sequence[LeasedMessage], until_ms: int, lent: int) -> None:
        """Those that come too late, while the provider is down or to one who drains, wait again."""
        self._lent -= lent
        self._in_flight -= lent
        if self._lacks_room or self._draining:
            self.notify()
        if not messages or self._nursery is None:
            return
        begin_until_ms = until_ms - int(self._sender.deadline_s * 1000)
        down = self._breaker.down_since is not None
        if self._draining or down or self._parts.clock.now_ms() >= begin_until_ms:
            self._nursery.start_soon(self._give_back, messages)
        else:
            self._begin(messages, self._nursery)

    async def run(self) -> None:
        """Deliver until :meth:`drain`. Survives the store and the sender."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                await self._look(nursery)
                while self._lent:  # what it was lent for is being stored now
                    self._wake = trio.Event()
                    await self._wake.wait()
        finally:
            self._nursery = None

    async def _look(self, nursery: trio.Nursery) -> None:
        """Take what waits in the queue until :meth:`drain`."""
        while not self._draining:
            self._wake = trio.Event()
            wait_s = _STORE_PATIENCE_S
            try:
                wait_s = await self._turn(nursery)
            except StoreError as error:
                log.warning("delivery waits for the store", why=str(error))
            except Exception as error:  # noqa: BLE001 - the worker must outlive a bug
                count_crash(self._parts.metrics, "delivery worker", error)
            if wait_s > 0:
                with trio.move_on_after(min(wait_s, self._parts.options.poll_s)):
                    await self._wake.wait()

    async def _turn(self, nursery: trio.Nursery) -> float:
        """Begin what can be begun; how many seconds to wait for the next turn, unless woken."""
        down = self._breaker.down_since is not None
        self._parts.metrics.delivery_down.labels(channel=self._channel.value).set(down)
        room = min(self._sender.concurrency - self._in_flight, self._breaker.room)
        self._lacks_room = room <= 0
        if self._lacks_room:  # the end of a send wakes
            self._is_behind = True
            is_full = self._in_flight >= self._sender.concurrency
            return math.inf if is_full else await self._hold_back()
        if self._is_asked:  # half of all is left to what comes leased meanwhile
            self._is_asked = False
            room = min(room, -(-self._sender.concurrency // 2))
        self._in_flight += room  # nobody else gets it meanwhile
        try:
            leased = await self._claim(room)
        finally:
            self._in_flight -= room
        if leased:
            self._begin(leased, nursery)
        self._is_behind = len(leased) == room
        if self._is_behind or self._wake.is_set():
            return 0
        due = await self._parts.store.next_message_at(self._channel)
        if due is None:
            return math.inf
        return max(_TURN_MIN_S, (due - self._parts.clock.now_ms()) / 1000)

    def _begin(self, leased: Sequence[LeasedMessage], nursery: trio.Nursery) -> None:
        self._in_flight += len(leased)
        self._breaker.begin(len(leased))
        batches = [[each] for each in leased] if self._batches is None else [leased]
        for batch in batches:  # each is sent in a task of its own
            nursery.start_soon(self._deliver, batch)

    def _lease_until_ms(self, now_ms: int) -> int:
        options = self._parts.options
        return now_ms + int(options.lease_margin_s * 1000) + int(self._sender.deadline_s * 1000)

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
            lease_until_ms=self._lease_until_ms(now_ms),
            limit=limit,
        )
        if not leased or (not self._draining and clock.now_ms() < begin_until_ms):
            return leased
        await self._give_back(leased)
        return []

    async def _give_back(self, leased: Sequence[LeasedMessage]) -> None:
        """They wait in the queue again, as not begun."""
        unused = NotSent(SendProblem.UNKNOWN)
        now_ms = self._parts.clock.now_ms()
        reports = [self._report(each, unused, now_ms, 0) for each in leased]
        await self._reports.write(self._channel, reports, self.notify)

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
            problem = SendProblem.PROVIDER_DOWN.value
            self._reports.count(self._channel, MessageState.FAILED, problem, left)
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

    async def _deliver(self, batch: Sequence[LeasedMessage]) -> None:
        """Send them and report them; whatever happens, there is a report of each."""
        outcomes: dict[int, SendOutcome] = {}  # by place
        cut: NotSent | Uncertain = NotSent(SendProblem.UNKNOWN, 0)
        try:
            await trio.lowlevel.checkpoint_if_cancelled()
            messages = await self._compose(batch, outcomes)
            cut = Uncertain(SendProblem.UNKNOWN)
            await self._send(messages, outcomes)
        finally:
            for outcome, alike in groupby(map(outcomes.get, range(len(batch)))):
                self._breaker.end(outcome, len([*alike]))
            self._in_flight -= len(batch)
            if self._lacks_room or self._breaker.down_since is not None:
                self.notify()
            reports = self._judged(batch, outcomes, cut)
            if len(outcomes) < len(batch):
                await self._reports.last_word(reports)
        watch = self._parts.watch
        if watch is not None and watch.count:
            for leased, report in zip(batch, reports, strict=True):
                # Before it is stored, which may take its time: the outcome is known.
                watch.judged(leased, report.state, self._service.usable)
        await self._reports.write(self._channel, reports, self.notify)

    async def _compose(
        self, batch: Sequence[LeasedMessage], outcomes: dict[int, SendOutcome]
    ) -> dict[int, Message]:
        """The messages to send, by place; the others have their outcomes.

        Of many, those that expired meanwhile are found out at the end.
        """
        now_ms, compose = self._parts.clock.now_ms, self._parts.composer.compose
        now = now_ms()
        messages: dict[int, Message] = {}
        for place, leased in enumerate(batch):
            if place and place % _COMPOSED_AT_ONCE == 0:
                await trio.lowlevel.checkpoint()
                now = now_ms()
            if now >= leased.expires_at_ms:
                continue
            try:
                messages[place] = compose(leased, now)
            except Exception as error:  # noqa: BLE001 - such as a key that is gone; nothing was sent
                count_crash(self._parts.metrics, "compose", error)
                outcomes[place] = NotSent(SendProblem.UNKNOWN)
        now = now_ms()
        for place, leased in enumerate(batch):
            if now >= leased.expires_at_ms:
                outcomes[place] = NotSent(SendProblem.EXPIRED)
                messages.pop(place, None)
        return messages

    async def _send(
        self, messages: Mapping[int, Message], outcomes: dict[int, SendOutcome]
    ) -> None:
        if not messages:
            return
        started = trio.current_time()
        try:
            if self._batches is not None:
                told = await self._batches.send_many([*messages.values()])
            else:
                [message] = messages.values()
                told = [await self._sender.send(message)]
            answered = dict(zip(messages, told, strict=True))
        except Exception as error:  # noqa: BLE001 - a sender raises nothing; if it does, who knows
            count_crash(self._parts.metrics, "send", error)
            answered = dict.fromkeys(messages, Uncertain(SendProblem.UNKNOWN))
        finally:
            self._seconds.observe_alike(trio.current_time() - started, len(messages))
        outcomes.update(answered)

    def _judged(
        self,
        batch: Sequence[LeasedMessage],
        outcomes: Mapping[int, SendOutcome],
        cut: NotSent | Uncertain,
    ) -> list[DeliveryReport]:
        """The reports of tries; ``cut`` is the outcome of those that have none."""
        now_ms = self._parts.clock.now_ms()
        sent, provider, usable = MessageState.SENT, self._sender.name, self._service.usable
        reports: list[DeliveryReport] = []
        for place, leased in enumerate(batch):
            outcome = outcomes.get(place, cut)
            if isinstance(outcome, Sent):  # nearly all, and many at once: in few steps
                report = DeliveryReport(
                    message_id=leased.message_id,
                    lease=leased.lease,
                    state=sent,
                    at_ms=now_ms,
                    provider=provider,
                    reference=outcome.reference,
                    usable=usable,
                )
            else:
                again_ms = self._again_ms(leased, outcome, now_ms)
                report = self._report(leased, outcome, now_ms, again_ms)
            reports.append(report)
        return reports

    def _again_ms(
        self, leased: LeasedMessage, outcome: NotSent | Uncertain, now_ms: int
    ) -> int | None:
        """In how long another try is due, after a pause that grows; None: there is none."""
        if isinstance(outcome, Uncertain) or outcome.retry_after_ms is None:
            return None
        options = self._parts.options
        waited_ms = now_ms - leased.created_at_ms
        leaves = waited_ms >= options.hold_s * 1000 and self._leaves(leased)
        works = self._breaker.down_since is None
        if leaves or (works and leased.tries >= options.tries_max):
            return None
        pause_ms = min(options.backoff_ms << min(leased.tries - 1, 16), options.backoff_max_ms)
        return max(outcome.retry_after_ms, pause_ms)

    def _report(
        self,
        leased: LeasedMessage,
        outcome: NotSent | Uncertain,
        now_ms: int,
        again_ms: int | None,
    ) -> DeliveryReport:
        """Of what was not sent; it is not tried again when the code ends before."""
        state, not_before_ms = MessageState.FAILED, 0
        if isinstance(outcome, Uncertain):
            state = MessageState.UNCERTAIN
        elif again_ms is not None:
            due_ms = now_ms + again_ms
            if due_ms + OUTBOX_MARGIN_MS < leased.expires_at_ms:
                state, not_before_ms = MessageState.QUEUED, due_ms
        return DeliveryReport(
            message_id=leased.message_id,
            lease=leased.lease,
            state=state,
            at_ms=now_ms,
            provider=self._sender.name,
            problem=outcome.problem.value,
            not_before_ms=not_before_ms,
            usable=self._service.usable,
        )
