"""The periodic work for accounts: sessions that are over are forgotten."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from otp_server.errors import StoreUnavailable
from otp_server.stores.memory import MemoryStore
from tests.support.account_world import AccountWorld

if TYPE_CHECKING:
    from trio.testing import MockClock

DAY_S = 86_400


class Counting(MemoryStore):
    """Counts sweeps, and may raise at each."""

    sweeps = 0
    forgotten = 0
    raises: Exception | None = None
    endless = False

    async def sweep_sessions(self, now_ms: int) -> int:
        self.sweeps += 1
        if self.raises is not None:
            await trio.lowlevel.checkpoint()
            raise self.raises
        count = await super().sweep_sessions(now_ms)
        self.forgotten += count
        return 1 if self.endless else count


async def test_sessions_that_are_over_are_forgotten(autojump_clock: MockClock) -> None:
    store = Counting()
    world = AccountWorld(store=store)
    await world.begin()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.upkeep.run)
        await trio.sleep(DAY_S - 1)
        assert store.forgotten == 0
        await trio.sleep(61)
        assert store.forgotten == 1
        nursery.cancel_scope.cancel()


async def test_a_sweep_has_an_end() -> None:
    store = Counting()
    store.endless = True
    world = AccountWorld(store=store)
    await world.upkeep.sweep()
    assert store.sweeps == 1000


@pytest.mark.parametrize("raises", [StoreUnavailable("away"), ZeroDivisionError("a bug")])
async def test_the_sweep_goes_on_after_failures(
    autojump_clock: MockClock, raises: Exception
) -> None:
    store = Counting()
    store.raises = raises
    world = AccountWorld(store=store)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.upkeep.run)
        await trio.sleep(150)
        nursery.cancel_scope.cancel()
    assert store.sweeps == 3
    bugs = 'otp_handler_crashes_total{where="account_upkeep"} 3.0'
    assert (bugs in world.metrics.render().decode()) is isinstance(raises, ZeroDivisionError)
