"""An outbox in memory for tests of the delivery worker alone, and senders that do as told."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from otp_server.core import Keyring
from otp_server.delivery.breaker import BreakerOptions, CircuitBreaker
from otp_server.domain.budget import OUTBOX_MARGIN_MS
from otp_server.domain.challenge_type import Channel, CodeType, Plan, PlanRoute
from otp_server.errors import StoreUnavailable
from otp_server.services.compose import MessageComposer
from otp_server.services.contacts import ContactVault
from otp_server.services.deliver import DeliveryOptions, DeliveryParts, DeliveryService
from otp_server.services.ports.delivery import Message, Provider, SendOutcome, Sent
from otp_server.services.ports.outbox import DeliveryReport, LeasedMessage, MessageState
from otp_server.telemetry import Metrics
from tests.support.changed_values import replace
from tests.support.world import KEY, TrioClock

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from otp_server.services.delivery_watch import DeliveryWatch

SMS = PlanRoute(Channel.SMS, 1, 1, "", "Code ${answer}")
EMAIL = PlanRoute(Channel.EMAIL, 2, 1, "Your code", "Code ${answer}, good for ${minutes} min")
VAULT = ContactVault([("c1", KEY)])
CONTACTS = {Channel.SMS: "+420600000001", Channel.EMAIL: "jana@example.org"}


def plan_of(*routes: PlanRoute) -> Plan:
    return Plan(1, "login", CodeType.NUMERIC, 6, 300, 5, routes)


@dataclass
class Row:
    message: LeasedMessage
    state: MessageState = MessageState.QUEUED
    due_ms: int = 0
    lease_ms: int = 0


@dataclass
class QueuedMessages:
    """The rules of ``OutboxStore`` for messages that stand alone.

    ``told``: how many reports each call brought.
    """

    rows: dict[int, Row] = field(default_factory=dict)
    reports: list[DeliveryReport] = field(default_factory=list)
    down: bool = False
    claims: int = 0
    leaves: int = 0
    told: list[int] = field(default_factory=list)
    reported: trio.Event = field(default_factory=trio.Event)

    def add(
        self,
        now_ms: int,
        *,
        plan: Plan | None = None,
        route: int = 0,
        ttl_ms: int = 300_000,
        channels: frozenset[Channel] = frozenset(),
    ) -> LeasedMessage:
        number = len(self.rows) + 1
        plan = plan_of(SMS) if plan is None else plan
        channel = plan.routes[route].channel
        message = LeasedMessage(
            message_id=number,
            lease=b"",
            tries=0,
            uuid=number.to_bytes(16),
            tenant="default",
            plan=plan,
            route=route,
            generation=1,
            key_id="k1",
            contact=VAULT.seal("default", channel, CONTACTS[channel]),
            created_at_ms=now_ms,
            expires_at_ms=now_ms + ttl_ms,
            channels=channels or frozenset({channel}),
        )
        self.rows[number] = Row(message, due_ms=now_ms)
        return message

    def state(self, message: LeasedMessage) -> MessageState:
        return self.rows[message.message_id].state

    async def claim_messages(
        self, channel: Channel, *, now_ms: int, lease_until_ms: int, limit: int
    ) -> list[LeasedMessage]:
        await trio.lowlevel.checkpoint()
        self.claims += 1
        self._check()
        leased: list[LeasedMessage] = []
        for row in self.rows.values():
            message = row.message
            if message.plan.routes[message.route].channel is not channel:
                continue
            if row.state is MessageState.LEASED and row.lease_ms < now_ms:
                row.state = MessageState.UNCERTAIN
            if row.state is not MessageState.QUEUED or row.due_ms > now_ms or len(leased) == limit:
                continue
            if message.expires_at_ms - now_ms <= OUTBOX_MARGIN_MS:
                row.state = MessageState.VOID
                continue
            lease = f"{message.message_id}/{message.tries + 1}".encode()
            row.message = replace(message, lease=lease, tries=message.tries + 1)
            row.state, row.lease_ms = MessageState.LEASED, lease_until_ms
            leased.append(row.message)
        return leased

    async def leave_channel(
        self, channel: Channel, *, to: frozenset[Channel], provider: str, now_ms: int, limit: int
    ) -> int:
        await trio.lowlevel.checkpoint()
        self.leaves += 1
        self._check()
        left = 0
        for row in self.rows.values():
            message = row.message
            here = message.plan.routes[message.route].channel is channel
            later = message.plan.next_route(message.route, message.channels & to)
            if here and row.state is MessageState.QUEUED and later is not None and left < limit:
                row.state = MessageState.FAILED
                left += 1
        self._tell()
        return left

    async def report_deliveries(self, batch: Sequence[DeliveryReport]) -> list[bool]:
        await trio.lowlevel.checkpoint()
        self._check()
        self.told.append(len(batch))
        held = []
        for report in batch:
            row = self.rows[report.message_id]
            is_held = row.state is MessageState.LEASED and row.message.lease == report.lease
            if is_held:
                row.state, row.due_ms = report.state, report.not_before_ms
                self.reports.append(report)
            held.append(is_held)
        self._tell()
        return held

    async def next_message_at(self, channel: Channel) -> int | None:
        await trio.lowlevel.checkpoint()
        times = [
            row.due_ms if row.state is MessageState.QUEUED else row.lease_ms
            for row in self.rows.values()
            if row.message.plan.routes[row.message.route].channel is channel
            and row.state in (MessageState.QUEUED, MessageState.LEASED)
        ]
        return min(times, default=None)

    def _tell(self) -> None:
        self.reported.set()
        self.reported = trio.Event()

    def _check(self) -> None:
        if self.down:
            raise StoreUnavailable("down")

    async def wait_reports(self, count: int) -> list[DeliveryReport]:
        while len(self.reports) < count:
            await self.reported.wait()
        return self.reports


class ToldSender:
    """A sender that answers what it is told, in order, and then always that it took it."""

    name = "told"
    deadline_s = 10.0

    def __init__(self, *outcomes: SendOutcome | Exception, concurrency: int = 4) -> None:
        self.concurrency = concurrency
        self.outcomes = deque(outcomes)
        self.then: SendOutcome = Sent("ref")
        self.got: list[tuple[float, Message]] = []
        self.at_once = 0
        self.at_once_max = 0
        self.closed = 0
        self.work: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint

    async def send(self, message: Message) -> SendOutcome:
        self.at_once += 1
        self.at_once_max = max(self.at_once_max, self.at_once)
        self.got.append((trio.current_time(), message))
        try:
            await self.work()
        finally:
            self.at_once -= 1
        outcome = self.outcomes.popleft() if self.outcomes else self.then
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def aclose(self) -> None:
        self.closed += 1


class ToldBatchSender(ToldSender):
    """One that takes many messages as one thing to do."""

    def __init__(self, *outcomes: SendOutcome | Exception, concurrency: int = 40) -> None:
        super().__init__(*outcomes, concurrency=concurrency)
        self.sizes: list[int] = []

    async def send_many(self, messages: Sequence[Message]) -> Sequence[SendOutcome]:
        self.sizes.append(len(messages))
        self.at_once += len(messages)
        self.at_once_max = max(self.at_once_max, self.at_once)
        self.got += [(trio.current_time(), message) for message in messages]
        try:
            await self.work()
        finally:
            self.at_once -= len(messages)
        outcomes = [self.outcomes.popleft() if self.outcomes else self.then for _ in messages]
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome
        return [outcome for outcome in outcomes if not isinstance(outcome, Exception)]


class DeliveryStage:
    """A delivery service over the outbox above and told senders, on Trio's clock."""

    def __init__(
        self,
        *,
        watch: DeliveryWatch | None = None,
        sms: ToldSender | None = None,
        email: ToldSender | None = None,
        **options: float,
    ) -> None:
        self.clock = TrioClock()
        self.outbox = QueuedMessages()
        self.metrics = Metrics()
        self.sms = ToldSender() if sms is None else sms
        self.email = ToldSender() if email is None else email
        self.keyring = Keyring([("k1", KEY)])
        breaker = BreakerOptions(faults=3, open_s=10, open_max_s=60)
        self.service = DeliveryService(
            {
                Channel.SMS: Provider(self.sms, CircuitBreaker(breaker)),
                Channel.EMAIL: Provider(self.email, CircuitBreaker(breaker)),
            },
            DeliveryParts(
                self.outbox,
                MessageComposer(self.keyring, VAULT),
                self.clock,
                self.metrics,
                DeliveryOptions(**options),
                watch,
            ),
        )

    def crashes(self, where: str) -> float:
        value = self.metrics.registry.get_sample_value(
            "otp_handler_crashes_total", {"where": where}
        )
        return value or 0

    def count(self, channel: str, outcome: str, problem: str = "none") -> float:
        value = self.metrics.registry.get_sample_value(
            "otp_deliveries_total", {"channel": channel, "outcome": outcome, "problem": problem}
        )
        return value or 0
