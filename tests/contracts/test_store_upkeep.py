"""The port's sentences about sweeping, cancelling, probing and closing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from otp_server.errors import StoreUnavailable
from otp_server.stores.bounds import SWEEP_ROWS_MAX
from tests.contracts.samples import (
    TTL,
    accept,
    add_devices,
    challenge,
    device,
    digest,
    find,
    guess,
    key_of,
    new_code,
    state_of,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from otp_server.services.ports import Store

CALLS: list[Callable[[Store], Awaitable[object]]] = [
    lambda store: store.add_device(device(1)),
    lambda store: store.get_devices(["device-0"]),
    lambda store: store.list_devices(),
    lambda store: store.revoke_device("device-0", 1),
    lambda store: store.revocations_since(0),
    lambda store: store.add_organisation("acme", key_of("acme"), 0),
    lambda store: store.find_organisation(key_of("acme")),
    lambda store: store.issue_device_codes([new_code(1, 0, [[1]])]),
    lambda store: store.void_device_codes([challenge(0)], 0),
    lambda store: store.live_device_codes(0),
    lambda store: store.count_guesses([(guess(1), [digest(1)])]),
    lambda store: store.accept_device_codes([accept(0)]),
    lambda store: store.guesses_since(-1),
    lambda store: store.sweep(10**9, forget_before_ms=10**9, guesses_before_ms=10**9),
    lambda store: store.probe(),
]


async def test_sweeping_ends_what_expired_and_nothing_else(store: Store) -> None:
    await add_devices(store, 2)
    await store.issue_device_codes([new_code(1, 0, [[1]]), new_code(2, 1, [[2]], at=1)])
    assert await store.sweep(TTL, forget_before_ms=0, guesses_before_ms=0) == 1
    assert [await state_of(store, n) for n in (1, 2)] == ["expired", "issued"]
    assert await store.sweep(TTL, forget_before_ms=0, guesses_before_ms=-(10**7)) == 0


async def test_sweeping_forgets_codes_ended_before(store: Store) -> None:
    await add_devices(store, 2)
    await store.issue_device_codes([new_code(1, 0, [[1]]), new_code(2, 1, [[2]])])
    await store.accept_device_codes([accept(1, at=5), accept(2, at=6)])
    assert await store.sweep(6, forget_before_ms=6, guesses_before_ms=0) == 1
    assert await find(store, 1) is None
    assert await state_of(store, 2) == "confirmed"


async def test_a_code_just_ended_is_not_forgotten_in_the_same_sweep(store: Store) -> None:
    await add_devices(store, 1)
    await store.issue_device_codes([new_code(1, 0, [[1]])])
    assert await store.sweep(TTL, forget_before_ms=TTL + 1, guesses_before_ms=0) == 1
    assert await state_of(store, 1) == "expired"


async def test_sweeping_forgets_guesses_made_before(store: Store) -> None:
    await store.count_guesses([(guess(n, at=n), [digest(0)]) for n in range(1, 5)])
    assert await store.sweep(9, forget_before_ms=0, guesses_before_ms=3) == 2
    assert await store.guesses_since(0) == [guess(3, at=3), guess(4, at=4)]


async def test_a_sweep_is_bounded_and_goes_on(store: Store) -> None:
    count = 2 * SWEEP_ROWS_MAX + 1
    async with trio.open_nursery() as nursery:
        for n in range(count):
            nursery.start_soon(store.add_device, device(n))
    await store.issue_device_codes([new_code(n, n, [[n]]) for n in range(count)])
    ended = []
    while touched := await store.sweep(TTL, forget_before_ms=0, guesses_before_ms=0):
        ended.append(touched)
    assert ended == [SWEEP_ROWS_MAX, SWEEP_ROWS_MAX, 1]
    assert await store.live_device_codes(0) == {}


@pytest.mark.parametrize("call", CALLS)
async def test_a_cancelled_call_is_not_applied(
    store: Store, call: Callable[[Store], Awaitable[object]]
) -> None:
    """Cancelled before it began: the one case in which every store must know."""
    await add_devices(store, 1)
    await store.add_organisation("org", key_of("org"), 0)
    await store.issue_device_codes([new_code(0, 0, [[0]])])

    async def everything() -> list[object]:
        return [
            await store.list_devices(),
            await store.revocations_since(0),
            await store.find_organisation(key_of("org")),
            await store.find_organisation(key_of("acme")),
            await store.live_device_codes(0),
            await store.guesses_since(-1),
            await store.guesses_since(-(10**9)),
        ]

    before = await everything()
    with trio.CancelScope() as scope:
        scope.cancel()
        await call(store)
    assert scope.cancelled_caught
    assert await everything() == before


async def test_a_probe_changes_nothing_to_be_seen(store: Store) -> None:
    await store.probe()
    assert await store.list_devices() == []


@pytest.mark.parametrize("call", CALLS)
async def test_a_closed_store_is_unavailable(
    store: Store, call: Callable[[Store], Awaitable[object]]
) -> None:
    await store.aclose()
    await store.aclose()
    with pytest.raises(StoreUnavailable, match="closed"):
        await call(store)


async def test_a_cancelled_call_is_not_even_refused(store: Store) -> None:
    await store.aclose()
    with trio.CancelScope() as scope:
        scope.cancel()
        await store.probe()
    assert scope.cancelled_caught


async def test_closing_is_not_cut_short_by_cancellation(store: Store) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await store.aclose()
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.probe()
