"""The live count is never too low: requirement 50."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from otp_server.domain.outcome import Issued
from otp_server.services.live_codes import LiveCodes
from otp_server.services.upkeep import Upkeep
from otp_server.stores.memory import MemoryStore
from tests.support.world import PLENTY, World

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trio.testing import MockClock


class SlowCount(MemoryStore):
    def __init__(self) -> None:
        super().__init__()
        self.asked = trio.Event()
        self.go_on = trio.Event()

    async def live_device_codes(self, now_ms: int) -> Mapping[int, int]:
        counted = await super().live_device_codes(now_ms)
        self.asked.set()
        await self.go_on.wait()
        return counted


async def test_codes_issued_while_counting_stay_added() -> None:
    live, store = LiveCodes(), SlowCount()
    with live.issuing(6, 3):
        assert live.by_length() == {6: 3}
    with live.issuing(
        6, 10
    ):  # begun before the count, ended after it: the count may have missed it
        async with trio.open_nursery() as nursery:
            nursery.start_soon(live.refresh, store, 0)
            await store.asked.wait()
            with live.issuing(6, 2):
                pass
            store.go_on.set()
        assert live.by_length() == {6: 12}  # the store counted 0, forgetting the 3
    assert live.by_length() == {6: 12}


async def test_concurrent_requests_keep_the_bound() -> None:
    """Each sees the others before its own transaction: 1 000 at once, room for 200 of 6 digits."""
    world = World(requests=PLENTY)
    ids = [(await world.devices.add(None, ""))[0].device_id for _ in range(1000)]
    lengths: list[int] = []

    async def issue(device_id: str) -> None:
        [outcome] = await world.issue.issue_many([device_id])
        assert isinstance(outcome, Issued)
        lengths.append(len(outcome.passcode))

    async with trio.open_nursery() as nursery:
        for device_id in ids:
            nursery.start_soon(issue, device_id)
    assert lengths.count(6) == 200
    assert lengths.count(7) == 800


async def test_upkeep_counts_sweeps_and_survives_the_store(autojump_clock: MockClock) -> None:
    world = World(requests=PLENTY)
    upkeep = Upkeep(world.store, world.clock, world.live, world.metrics, guesses_kept_ms=60_000)
    device, _ = await world.devices.add(None, "")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(upkeep.run)
        await world.issue.issue_many([device.device_id])
        await trio.sleep(2)
        assert world.live.by_length() == {6: 1}
        assert 'otp_device_live_codes{length="6"} 1.0' in world.metrics.render().decode()
        await trio.sleep(302)
        assert "otp_device_live_codes{" not in world.metrics.render().decode()
        assert world.live.by_length().get(6, 0) == 0
        await world.store.aclose()  # every call now fails
        await trio.sleep(60)
        nursery.cancel_scope.cancel()
