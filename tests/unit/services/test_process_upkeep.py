"""The periodic work for processes: ends, forgets, survives."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from otp_server.domain.budget import CLAIM_PATIENCE_MS
from otp_server.domain.challenge_type import EVERY_CHANNEL, Channel
from otp_server.domain.process import ProcessStatus
from otp_server.domain.process_id import parse_uuid
from otp_server.domain.process_outcome import Found
from otp_server.errors import StoreUnavailable
from otp_server.services.ports.processes import NewAttempt
from otp_server.services.process_upkeep import STEPS_MAX
from otp_server.services.search import SearchQuery
from otp_server.stores.memory import MemoryStore
from tests.support.process_world import (
    EMAIL,
    MAIL,
    OPERATOR,
    OTHER_PHONE,
    PHONE,
    SMS,
    TENANT,
    ProcessWorld,
    init,
)

DAY_S = 86_400


async def found(world: ProcessWorld) -> list[str]:
    [page] = await world.search.search_many([SearchQuery(TENANT, "login")])
    assert isinstance(page, Found)
    return [process.uuid for process in page.processes]


async def test_what_is_over_is_ended_and_what_is_old_forgotten(mock_clock: MockClock) -> None:
    world = ProcessWorld()
    await world.add_type(ttl=60)
    old = await world.start()
    mock_clock.jump(60)
    await world.upkeep.sweep()
    assert (await world.process(old.uuid)).status is ProcessStatus.EXPIRED
    mock_clock.jump(30 * DAY_S - 60)
    await world.upkeep.sweep()
    young = await world.start(init(phone=OTHER_PHONE))
    assert await found(world) == [young.uuid, old.uuid]
    mock_clock.jump(1)
    await world.upkeep.sweep()
    assert await found(world) == [young.uuid]


class Busy(MemoryStore):
    """Something to sweep at every step, or a bug."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = 0
        self.raises: Exception | None = None

    async def sweep_processes(
        self,
        now_ms: int,
        *,
        forget_before_ms: int,
        usable: frozenset[Channel] = EVERY_CHANNEL,
    ) -> int:
        await trio.lowlevel.checkpoint()
        self.steps += 1
        if self.raises is not None:
            raise self.raises
        return 1


async def test_a_sweep_has_an_end_and_lets_others_run() -> None:
    store = Busy()
    world = ProcessWorld(store=store)
    await world.upkeep.sweep()
    assert store.steps == STEPS_MAX


async def test_it_runs_every_ten_seconds(autojump_clock: MockClock) -> None:
    world = ProcessWorld()
    await world.add_type(ttl=12)
    expired = (await world.start()).uuid
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.upkeep.run)
        await trio.sleep(19)
        assert (await world.process(expired)).status is ProcessStatus.NEW
        await trio.sleep(2)
        assert (await world.process(expired)).status is ProcessStatus.EXPIRED
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("raises", [StoreUnavailable("away"), ZeroDivisionError("a bug")])
async def test_it_goes_on_after_failures(autojump_clock: MockClock, raises: Exception) -> None:
    store = Busy()
    store.raises = raises
    world = ProcessWorld(store=store)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.upkeep.run)
        await trio.sleep(35)
        nursery.cancel_scope.cancel()
    assert store.steps == 4
    bugs = 'otp_handler_crashes_total{where="process_upkeep"} 4.0'
    assert (bugs in world.metrics.render().decode()) is isinstance(raises, ZeroDivisionError)


async def test_a_process_that_a_crash_left_moves_to_a_route_that_has_a_provider(
    mock_clock: MockClock,
) -> None:
    world = ProcessWorld(provided=frozenset({MAIL}))
    await world.add_type(routes=[(MAIL, 1), (SMS, 1), (MAIL, 1)])
    uuid = (await world.start(init(phone=PHONE, email=EMAIL))).uuid
    raw = parse_uuid(uuid)
    assert raw is not None
    counted = NewAttempt(raw, TENANT, world.clock.now_ms(), OPERATOR)
    await world.store.count_attempts([counted])  # and the server dies
    mock_clock.jump(CLAIM_PATIENCE_MS / 1000 + 1)
    await world.upkeep.sweep()
    assert (await world.process(uuid)).route == 2
