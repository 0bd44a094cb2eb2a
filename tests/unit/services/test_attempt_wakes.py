"""Wrong codes wake the delivery when they may have led to the next route's message."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from otp_server.services.ports.outbox import MessageState
from otp_server.stores import open_store
from tests.support.process_world import EMAIL, MAIL, PHONE, SMS, ProcessWorld, init, wrong

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from otp_server.services.ports.processes import Settled, Verdict


@pytest.mark.parametrize("url", ["memory:", "sqlite:otp.db"])
async def test_whichever_attempt_settles_last(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first attempt is held back: when it settles, the route's attempts are over."""
    store = await open_store(url, tmp_path)
    world = ProcessWorld(store=store)
    await world.add_type(routes=[(SMS, 2), (MAIL, 2)], max_attempts=4)
    uuid = (await world.start(init(phone=PHONE, email=EMAIL))).uuid
    await world.hand_over(SMS, MessageState.SENT)
    code = await world.code_of(uuid)
    settle, held, go_on = store.settle_attempts, trio.Event(), trio.Event()

    async def settle_first_later(batch: Sequence[Verdict]) -> list[Settled]:
        if not held.is_set():
            held.set()
            await go_on.wait()
        return await settle(batch)

    monkeypatch.setattr(store, "settle_attempts", settle_first_later)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.try_code, uuid, wrong(code))
        await held.wait()
        await world.try_code(uuid, wrong(code))
        assert (await world.process(uuid)).route == 0
        before = world.wakes
        go_on.set()
    assert (await world.process(uuid)).route == 1
    assert world.wakes > before
    await store.aclose()


async def test_with_one_route_there_is_nothing_to_send() -> None:
    world = ProcessWorld()
    await world.add_type(routes=[(SMS, 3)], max_attempts=3)
    uuid = (await world.start(init(phone=PHONE))).uuid
    await world.hand_over(SMS, MessageState.SENT)
    code, before = await world.code_of(uuid), world.wakes
    for _ in range(3):
        await world.try_code(uuid, wrong(code))
    assert world.wakes == before
