"""Search shows an operator its tenant's processes, and no code (requirements 10, 65, 66, 79)."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import MockClock

from otp_server.domain.process import Entity, FailureReason, ProcessStatus, RouteStatus
from otp_server.domain.process_outcome import Found, ProcessRefused, ProcessView, RouteView
from otp_server.errors import ErrorKind
from otp_server.services.ports.outbox import MessageState
from otp_server.services.search import SearchQuery
from otp_server.stores.memory import MemoryStore
from tests.support.process_world import (
    EMAIL,
    MAIL,
    OTHER_PHONE,
    PHONE,
    SMS,
    TENANT,
    ProcessWorld,
    init,
)

if TYPE_CHECKING:
    from otp_server.domain.process import Delivery, Process
    from otp_server.domain.process_outcome import SearchOutcome
    from otp_server.services.ports import Store
    from otp_server.services.ports.processes import ProcessQuery

ALL = SearchQuery(TENANT, "login")


async def find(world: ProcessWorld, query: SearchQuery = ALL) -> list[ProcessView]:
    [page] = await world.search.search_many([query])
    assert isinstance(page, Found), page
    return list(page.processes)


async def uuids(world: ProcessWorld, query: SearchQuery) -> list[str]:
    return [process.uuid for process in await find(world, query)]


async def test_a_process_as_it_is_seen(mock_clock: MockClock, store: Store) -> None:
    world = ProcessWorld(store=store)
    kind = await world.add_type(routes=[(MAIL, 1), (SMS, 3)])
    entities = (Entity("client", "338"), Entity("process", "13513451345-sdnfsfgnsfgn-13135"))
    answer = await world.start(init(phone=PHONE, email=EMAIL.upper(), entities=entities))
    started_ms = world.clock.now_ms()
    await world.hand_over(MAIL, MessageState.SENT)
    mock_clock.jump(1)
    await world.try_wrong(answer.uuid)
    code = await world.code_of(answer.uuid)
    [seen] = await find(world)
    templates = [route.template_id for route in (await world.process(answer.uuid)).plan.routes]
    assert replace(seen, id=0, deliveries=()) == ProcessView(
        id=0,
        uuid=answer.uuid,
        type="login",
        status=ProcessStatus.SENT,
        failure=None,
        phone=PHONE,
        email=EMAIL,
        address="192.0.2.1",
        entities=entities,
        attempts=1,
        created_at_ms=started_ms,
        updated_at_ms=started_ms + 1000,
        expires_at_ms=started_ms + kind.ttl * 1000,
        route=RouteView(RouteStatus.NEW, SMS, templates[1], 0),
        deliveries=(),
    )
    told = [(delivery.position, delivery.channel, delivery.state) for delivery in seen.deliveries]
    assert told == [(0, MAIL, "sent"), (1, SMS, "queued")]
    assert code not in repr(asdict(seen))


async def test_its_status_is_that_of_now(mock_clock: MockClock) -> None:
    world = ProcessWorld()
    await world.add_type(ttl=60)
    await world.start()
    mock_clock.jump(60)
    assert [seen.status for seen in await find(world)] == [ProcessStatus.EXPIRED]


async def test_why_it_failed() -> None:
    world = ProcessWorld()
    await world.add_type()
    await world.start()
    await world.hand_over(SMS, MessageState.FAILED)
    [seen] = await find(world)
    assert (seen.status, seen.failure) == (ProcessStatus.FAILED, FailureReason.UNDELIVERABLE)
    assert [(each.state, each.problem) for each in seen.deliveries] == [("failed", "unknown")]


async def test_conditions_hold_at_once_and_pages_are_newest_first(store: Store) -> None:
    world = ProcessWorld(store=store)
    await world.add_type(routes=[(SMS, 1), (MAIL, 1)])
    await world.add_type("other")
    client, lead = Entity("client", "1"), Entity("lead", "1")
    starts = [
        init(phone=PHONE, entities=(client,)),
        init(phone=OTHER_PHONE, email=EMAIL, entities=(client, lead)),
        init(phone=PHONE, email=EMAIL, entities=(lead,)),
    ]
    made = [(await world.start(start)).uuid for start in starts]
    await world.start(init("other"))
    for query, expected in [
        (ALL, [2, 1, 0]),
        (replace(ALL, phone="0049 170 1234567"), [2, 0]),
        (replace(ALL, email=" Person@example.com"), [2, 1]),
        (replace(ALL, phone=PHONE, email=EMAIL), [2]),
        (replace(ALL, entities=(client,)), [1, 0]),
        (replace(ALL, entities=(lead, client, lead)), [1]),
        (replace(ALL, phone=PHONE, entities=(client,)), [0]),
        (replace(ALL, limit=2), [2, 1]),
        (replace(ALL, limit=1, offset=1), [1]),
        (replace(ALL, offset=3), []),
        (replace(ALL, entities=(Entity("client", "2"),)), []),
    ]:
        assert await uuids(world, query) == [made[n] for n in expected], query


async def test_another_tenant_sees_nothing() -> None:
    world = ProcessWorld()
    await world.add_type()
    await world.add_type(tenant="other")
    await world.start()
    assert await find(world, replace(ALL, tenant="other")) == []
    [refused] = await world.search.search_many([replace(ALL, tenant="third")])
    assert isinstance(refused, ProcessRefused)
    assert refused.kind is ErrorKind.TYPE_NOT_FOUND


async def test_contacts_are_masked_where_the_installation_says_so() -> None:
    world = ProcessWorld(masked=True)
    await world.add_type(routes=[(SMS, 1), (MAIL, 1)])
    await world.start(init(phone=PHONE, email=EMAIL))
    [seen] = await find(world, replace(ALL, phone=PHONE, email=EMAIL))
    assert seen.phone is not None
    assert PHONE[3:-2] not in seen.phone
    assert seen.email == "p***@example.com"


async def test_a_contact_of_a_lost_key_is_left_out() -> None:
    store = MemoryStore()
    world = ProcessWorld(store=store)
    await world.add_type()
    answer = await world.start()
    other = ProcessWorld(store=store, contact_keys=[("c2", bytes(range(32, 64)))])
    [seen] = await find(other)
    assert (seen.uuid, seen.phone) == (answer.uuid, None)


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"phone": "x"}, "mobilePhone"),
        ({"email": "x"}, "email"),
        ({"entities": (Entity("", "1"),)}, "entities"),
        ({"limit": 0}, "limit"),
        ({"limit": 1001}, "limit"),
        ({"offset": -1}, "offset"),
        ({"offset": 1_000_001}, "offset"),
    ],
)
async def test_wrong_fields_are_named(changed: dict[str, object], field: str) -> None:
    world = ProcessWorld()
    await world.add_type()
    [refused] = await world.search.search_many([replace(ALL, **changed)])
    assert isinstance(refused, ProcessRefused)
    assert refused.kind is ErrorKind.INVALID_FIELDS
    assert list(refused.fields) == [field]


async def test_a_store_that_is_away_answers_unavailable() -> None:
    world = ProcessWorld()
    await world.store.aclose()
    [refused] = await world.search.search_many([ALL])
    assert isinstance(refused, ProcessRefused)
    assert refused.kind is ErrorKind.UNAVAILABLE


class Slow(MemoryStore):
    """Says how many searches run, and lets them go on when it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.running = self.most = 0
        self.go_on = trio.Event()

    async def search_processes(self, query: ProcessQuery) -> list[tuple[Process, list[Delivery]]]:
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await self.go_on.wait()
        finally:
            self.running -= 1
        return await super().search_processes(query)


async def test_few_searches_run_at_once_and_who_waits_can_leave(
    autojump_clock: MockClock,
) -> None:
    store = Slow()
    world = ProcessWorld(store=store)
    await world.add_type()
    found: list[SearchOutcome] = []

    async def search() -> None:
        found.extend(await world.search.search_many([SearchQuery(TENANT, "login")]))

    async with trio.open_nursery() as nursery:
        for _ in range(6):
            nursery.start_soon(search)
        await trio.testing.wait_all_tasks_blocked()
        with trio.move_on_after(1) as late:
            await search()
        assert late.cancelled_caught
        assert store.running == 2
        store.go_on.set()
    assert [type(each) for each in found] == [Found] * 6
    assert store.most == 2


async def test_a_long_page_lets_others_run() -> None:
    world = ProcessWorld()
    await world.add_type()
    phones = [f"+4917012{n:05}" for n in range(500)]
    await world.starts.start_many([init(phone=phone) for phone in phones])
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async def turns_in(limit: int) -> int:
        before = turns
        page = await find(world, replace(ALL, limit=limit))
        assert len(page) == limit
        return turns - before

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        await trio.lowlevel.checkpoint()
        assert await turns_in(500) - await turns_in(1) >= 7
        nursery.cancel_scope.cancel()
