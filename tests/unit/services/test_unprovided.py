"""Messages left for a channel whose provider was taken out of the configuration."""

from __future__ import annotations

from uuid import UUID

import pytest
import trio
from trio.testing import MockClock

from otp_server.delivery.breaker import CircuitBreaker
from otp_server.domain.challenge_type import Channel
from otp_server.domain.process import FailureReason, ProcessStatus
from otp_server.errors import StoreUnavailable
from otp_server.services.compose import MessageComposer
from otp_server.services.deliver import DeliveryOptions, DeliveryParts, DeliveryService
from otp_server.services.delivery_watch import DeliveryWatch
from otp_server.services.ports.delivery import Provider
from tests.support.process_world import EMAIL, MAIL, PHONE, SMS, ProcessWorld, init
from tests.support.queued_messages import ToldSender


def deliver(
    world: ProcessWorld, mail: ToldSender, watch: DeliveryWatch | None = None
) -> DeliveryService:
    parts = DeliveryParts(
        world.store,
        MessageComposer(world.keyring, world.vault),
        world.clock,
        world.metrics,
        DeliveryOptions(),
        watch,
    )
    return DeliveryService({MAIL: Provider(mail, CircuitBreaker())}, parts)


async def test_a_process_with_another_route_goes_on_at_once(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    world, mail = ProcessWorld(), ToldSender()
    await world.add_type(routes=((SMS, 5), (MAIL, 5)))
    answer = await world.start(init(phone=PHONE, email=EMAIL))
    begun = trio.current_time()
    nursery.start_soon(deliver(world, mail).run)
    await trio.testing.wait_all_tasks_blocked()
    assert trio.current_time() == begun
    process = await world.process(answer.uuid)
    assert (process.route, process.status) == (1, ProcessStatus.SENT)
    assert [message.to for _, message in mail.got] == [EMAIL]
    assert ("server", "failed:provider_down") in [
        (actor, outcome) for actor, _, outcome in await world.trail("otp.deliver")
    ]


async def test_a_process_without_another_ends(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    world, mail = ProcessWorld(), ToldSender()
    await world.add_type(routes=((SMS, 5), (SMS, 5)))
    uuids = [(await world.start(init(phone=f"+49170123{n:04}"))).uuid for n in range(250)]
    nursery.start_soon(deliver(world, mail).run)
    await trio.sleep(1)
    processes = [await world.process(uuid) for uuid in uuids]
    assert {process.failure for process in processes} == {FailureReason.UNDELIVERABLE}
    assert mail.got == []


@pytest.mark.parametrize(
    ("routes", "sent"), [(((SMS, 5), (SMS, 5)), False), (((SMS, 5), (MAIL, 5)), True)]
)
async def test_who_waits_for_the_message_is_told(
    nursery: trio.Nursery,
    autojump_clock: MockClock,
    routes: tuple[tuple[Channel, int], ...],
    sent: bool,
) -> None:
    """At once that it was not sent; or, where it has another route, what became of it there."""
    world, watch = ProcessWorld(), DeliveryWatch()
    await world.add_type(routes=routes)
    answer = await world.start(init(phone=PHONE, email=EMAIL))
    begun = trio.current_time()
    with watch.watch(UUID(answer.uuid).bytes) as watched:
        nursery.start_soon(deliver(world, ToldSender(), watch).run)
        assert await watched.wait(60) is sent
    assert trio.current_time() == begun


async def test_the_worker_outlives_the_store_and_drains(
    nursery: trio.Nursery, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = ProcessWorld()
    await world.add_type()
    answer = await world.start()
    claim, faults = world.store.claim_messages, [StoreUnavailable("down"), RuntimeError("a bug")]

    async def faulty_claim(*args: object, **kwargs: object) -> object:
        if faults:
            raise faults.pop(0)
        return await claim(*args, **kwargs)  # type: ignore[arg-type] - passed on as they are

    monkeypatch.setattr(world.store, "claim_messages", faulty_claim)
    service = deliver(world, ToldSender())
    async with trio.open_nursery() as running:
        running.start_soon(service.run)
        await trio.sleep(30)
        assert faults == []
        assert (await world.process(answer.uuid)).failure is FailureReason.UNDELIVERABLE
        service.drain()
