"""OTP processes whose codes are really delivered: a store, the delivery service, real providers."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from otp_server.clock import SteadyClock
from otp_server.core import Keyring
from otp_server.delivery import BreakerOptions, SenderOptions, open_senders
from otp_server.domain.audit import Actor
from otp_server.domain.challenge_type import Channel
from otp_server.services.compose import MessageComposer
from otp_server.services.contacts import ContactVault
from otp_server.services.deliver import DeliveryOptions, DeliveryParts, DeliveryService
from otp_server.services.ports.processes import NewProcess, ProcessQuery, Started
from otp_server.telemetry import Metrics
from tests.support.queued_messages import plan_of
from tests.support.world import KEY

if TYPE_CHECKING:
    from otp_server.clock import Clock
    from otp_server.domain.challenge_type import PlanRoute
    from otp_server.domain.process import Delivery, Process
    from otp_server.services.ports import Store

VAULT = ContactVault([("c1", KEY)])
CONTACTS = {Channel.SMS: "+420600000001", Channel.EMAIL: "jana@example.org"}
TENANT = "default"


class LaterClock:
    """The wall's time, moved on by hand."""

    def __init__(self, shift_ms: int = 0) -> None:
        self._steady = SteadyClock()
        self.shift_ms = shift_ms

    def now_ms(self) -> int:
        return self._steady.now_ms() + self.shift_ms


@dataclass
class SentProcesses:
    store: Store
    senders: dict[Channel, SenderOptions]
    clock: Clock = field(default_factory=LaterClock)
    options: DeliveryOptions = field(default_factory=DeliveryOptions)
    breaker: BreakerOptions = field(default_factory=BreakerOptions)

    def __post_init__(self) -> None:
        self.keyring = Keyring([("k1", KEY)])
        self.metrics = Metrics()
        composer = MessageComposer(self.keyring, VAULT)
        parts = DeliveryParts(self.store, composer, self.clock, self.metrics, self.options)
        self.service = DeliveryService(open_senders(self.senders, self.clock, self.breaker), parts)

    async def start(self, n: int, *routes: PlanRoute, ttl_ms: int = 300_000) -> bytes:
        """Start process ``n``, for contacts of its own, with all channels known."""
        uuid = hashlib.sha256(f"process {n}".encode()).digest()[:16]
        phone = VAULT.seal(TENANT, Channel.SMS, CONTACTS[Channel.SMS][:-4] + f"{n:04}")
        email = VAULT.seal(TENANT, Channel.EMAIL, f"{n}-{CONTACTS[Channel.EMAIL]}")
        plan = plan_of(*routes)
        channels = {route.channel for route in routes}
        now_ms = self.clock.now_ms()
        new = NewProcess(
            uuid=uuid,
            tenant=TENANT,
            plan=plan,
            settings_version=0,
            phone=phone if Channel.SMS in channels else None,
            email=email if Channel.EMAIL in channels else None,
            counted_indexes=(),
            entities=(),
            route=0,
            key_id="k1",
            created_at_ms=now_ms,
            expires_at_ms=now_ms + ttl_ms,
            actor=Actor("client:test"),
        )
        [outcome] = await self.store.start_processes([new])
        assert isinstance(outcome, Started), outcome
        self.service.notify()
        return uuid

    def code(self, uuid: bytes, generation: int) -> str:
        return self.keyring.derive(
            "k1",
            domain="rest",
            tenant=TENANT,
            challenge=uuid,
            generation=generation,
            alphabet="numeric",
            length=6,
        ).reveal()

    async def shown(self, uuid: bytes) -> tuple[Process, list[Delivery]]:
        """What search shows of it."""
        found = await self.store.search_processes(ProcessQuery(TENANT, 1, limit=1000))
        [(process, deliveries)] = [each for each in found if each[0].uuid == uuid]
        return process, deliveries

    async def settled(self, uuid: bytes, within_s: float = 20) -> tuple[Process, list[Delivery]]:
        """The same, once no message of it is on its way any more."""
        with trio.fail_after(within_s):
            while True:
                process, deliveries = await self.shown(uuid)
                if all(each.state not in ("queued", "leased") for each in deliveries):
                    return process, deliveries
                await trio.sleep(0.01)
