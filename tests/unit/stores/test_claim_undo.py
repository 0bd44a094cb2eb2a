"""A claim whose caller has gone: its messages wait again, as if it had never been made (77)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from otp_server.services.ports.outbox import FirstLease
from tests.contracts.rest_samples import BOTH, LEASE, T0, lease, new_process, start, states, uuid
from tests.support.changed_values import replace
from tests.unit.stores.gates import Gate, at_commits

if TYPE_CHECKING:
    from otp_server.services.ports.outbox import LeasedMessage
    from otp_server.stores.sqlite import SqliteStore


@pytest.mark.parametrize("refuse", [False, True])
async def test_a_claim_cancelled_in_its_commit_leases_nothing(
    store: SqliteStore, refuse: bool
) -> None:
    await start(store, new_process(1), new_process(2, to=2))
    gate = Gate(refuse=refuse)
    await at_commits(store, gate)
    got: list[LeasedMessage] = []
    scope = trio.CancelScope()

    async def claim() -> None:
        with scope:
            got.extend(await lease(store, at=10))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(claim)
        await gate.reached()
        scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        gate.open()
    assert scope.cancelled_caught
    assert got == []
    again = await lease(store, at=11)
    assert [(each.uuid, each.tries) for each in again] == [(uuid(1), 1), (uuid(2), 1)]


@pytest.mark.parametrize("refuse", [False, True])
async def test_a_start_cancelled_in_its_commit_leases_nothing(
    store: SqliteStore, refuse: bool
) -> None:
    """The first messages of what was stored wait, as those that had no lease."""
    gate = Gate(refuse=refuse)
    await at_commits(store, gate)
    scope = trio.CancelScope()
    given = FirstLease(bytes(16), T0 + LEASE)

    async def begin() -> None:
        with scope:
            await start(store, *(replace(new_process(n, to=n), lease=given) for n in (1, 2)))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(begin)
        await gate.reached()
        scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        gate.open()
    assert scope.cancelled_caught
    again = await lease(store, at=1)
    stored = [] if refuse else [(uuid(1), 1), (uuid(2), 1)]
    assert [(each.uuid, each.tries) for each in again] == stored


async def test_a_message_of_an_ended_process_that_goes_back_is_void(store: SqliteStore) -> None:
    """Its process was superseded between the claim and its undo."""
    await start(store, new_process(1, of=BOTH))
    gate = Gate()
    await at_commits(store, gate)
    scope = trio.CancelScope()

    async def claim() -> None:
        with scope:
            await lease(store, at=10)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(claim)
        await gate.reached()
        nursery.start_soon(start, store, new_process(2, of=BOTH, at=11))
        await trio.testing.wait_all_tasks_blocked()
        scope.cancel()
        gate.open()
    [message] = await lease(store, at=10 + 2 * LEASE)
    assert message.uuid == uuid(2)
    assert await states(store, 1) == ["void"]
