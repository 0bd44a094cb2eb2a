"""Who delivers is woken later than who asked is answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from otp_server.services.quiet_wake import FIRST_S, LAST_S, QuietWake

if TYPE_CHECKING:
    from trio.testing import MockClock


async def test_it_wakes_once_for_all_that_asked_meanwhile(autojump_clock: MockClock) -> None:
    woken: list[float] = []
    wake = QuietWake(lambda: woken.append(trio.current_time()))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wake.run)
        await trio.sleep(10)
        assert woken == []
        begun = trio.current_time()
        for _ in range(3):
            wake()
        assert woken == []
        await trio.sleep(FIRST_S * 0.99)
        wake()
        assert woken == []
        await trio.sleep(10)
        assert [begun + FIRST_S <= at <= begun + LAST_S for at in woken] == [True]
        wake()
        await trio.sleep(10)
        assert len(woken) == 2
        nursery.cancel_scope.cancel()


async def test_the_wait_is_drawn(autojump_clock: MockClock) -> None:
    woken: list[float] = []
    wake = QuietWake(lambda: woken.append(trio.current_time() % 1))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wake.run)
        for _ in range(5):
            wake()
            await trio.sleep(1)
        nursery.cancel_scope.cancel()
    assert len(set(woken)) > 1
