"""The port's sentences about guesses and acceptance (requirements 11, 13, 15, 49, 52)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from otp_server.services.ports import AcceptRefusal
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
from tests.support.changed_values import replace

if TYPE_CHECKING:
    from otp_server.domain.device import Device
    from otp_server.services.ports import Store

NOT_LIVE = AcceptRefusal.NOT_LIVE


async def test_a_guess_of_nothing_is_counted(store: Store) -> None:
    one, two = guess(1, at=5), guess(2, at=6, org_id=3)
    assert await store.count_guesses([(one, [digest(1)]), (two, [digest(2), digest(3)])]) == [
        None,
        None,
    ]
    assert await store.guesses_since(4) == [one, two]


async def test_a_guess_counts_once(store: Store) -> None:
    await store.count_guesses([(guess(1, at=5), [digest(1)])])
    await store.count_guesses([(guess(1, at=5), [digest(1)])])
    assert await store.guesses_since(0) == [guess(1, at=5)]


async def test_guesses_come_oldest_first_and_strictly_after(store: Store) -> None:
    times = [(1, 30), (2, 10), (3, 20), (4, 10), (5, 40)]
    await store.count_guesses([(guess(n, at=at), [digest(0)]) for n, at in times])
    assert [g.guess_id for g in await store.guesses_since(10)] == [challenge(n) for n in (3, 1, 5)]
    assert [g.at_ms for g in await store.guesses_since(9)] == [10, 10, 20, 30, 40]
    assert await store.guesses_since(40) == []


async def test_each_guess_of_a_batch_finds_its_own(store: Store) -> None:
    await add_devices(store, 2)
    await store.issue_device_codes([new_code(1, 0, [[1]]), new_code(2, 1, [[2]])])
    found = await store.count_guesses(
        [(guess(n), [digest(d)]) for n, d in ((1, 2), (2, 9), (3, 1), (4, 2))]
    )
    assert [None if c is None else c.device_id for c in found] == [
        "device-1",
        None,
        "device-0",
        "device-1",
    ]


async def test_a_live_code_is_preferred_to_a_newer_ended_one(store: Store) -> None:
    await add_devices(store, 2)
    await store.issue_device_codes([new_code(1, 0, [[1]])])
    await store.issue_device_codes([new_code(2, 1, [[2]])])
    await store.accept_device_codes([accept(2)])
    found = await find(store, 2, 1)
    assert found is not None
    assert found.challenge_id == challenge(1)


async def test_of_ended_codes_the_newest_is_found(store: Store) -> None:
    await add_devices(store, 3)
    await store.issue_device_codes([new_code(1, 0, [[1]])])
    await store.accept_device_codes([accept(1)])
    await store.issue_device_codes([new_code(2, 1, [[1]])])
    await store.revoke_device("device-1", 1)
    assert await state_of(store, 1) == "revoked"
    await store.issue_device_codes([new_code(3, 2, [[2]])])
    await store.void_device_codes([challenge(3)], 1)
    found = await find(store, 1, 2)
    assert found is not None
    assert found.challenge_id == challenge(3)


async def test_an_expired_code_not_ended_yet_is_found_as_issued(store: Store) -> None:
    """The store decides nothing: ``DeviceCode.is_live`` does."""
    await add_devices(store, 1)
    await store.issue_device_codes([new_code(1, 0, [[1]])])
    [found] = await store.count_guesses([(guess(1, at=TTL * 5), [digest(1)])])
    assert found is not None
    assert found.state.value == "issued"


async def test_of_500_confirmations_one_wins(store: Store) -> None:
    await add_devices(store, 1)
    await store.issue_device_codes([new_code(1, 0, [[1]])])
    outcomes: list[Device | AcceptRefusal] = []

    async def confirm(n: int) -> None:
        await store.count_guesses([(guess(n), [digest(1)])])
        outcomes.extend(await store.accept_device_codes([accept(1, guess_n=n)]))

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            for n in range(500):
                nursery.start_soon(confirm, n)
    assert outcomes.count(device(0)) == 1
    assert outcomes.count(NOT_LIVE) == 499
    assert len(await store.guesses_since(-1)) == 499


async def test_of_two_in_one_batch_the_first_wins(store: Store) -> None:
    await add_devices(store, 1)
    await store.issue_device_codes([new_code(1, 0, [[1]])])
    both = [accept(1, guess_n=1), accept(1, guess_n=2)]
    assert await store.accept_device_codes(both) == [device(0), NOT_LIVE]
    assert await store.accept_device_codes([]) == []


@pytest.mark.parametrize(("at", "wins"), [(0, True), (TTL - 1, True), (TTL, False)])
async def test_a_code_is_accepted_until_it_expires(store: Store, at: int, *, wins: bool) -> None:
    await add_devices(store, 1)
    await store.issue_device_codes([new_code(1, 0, [[1]])])
    answer = await store.accept_device_codes([accept(1, at=at)])
    assert answer == [device(0) if wins else NOT_LIVE]
    assert await state_of(store, 1) == ("confirmed" if wins else "issued")


async def test_an_unknown_code_is_not_live(store: Store) -> None:
    assert await store.accept_device_codes([accept(1)]) == [NOT_LIVE]


async def test_a_refused_guess_stays_and_an_accepted_one_is_forgotten(store: Store) -> None:
    await add_devices(store, 1)
    await store.issue_device_codes([new_code(1, 0, [[1]])])
    await store.count_guesses([(guess(n, at=n), [digest(1)]) for n in (1, 2, 3)])
    await store.accept_device_codes([accept(1, guess_n=2), accept(1, guess_n=3)])
    assert await store.guesses_since(0) == [guess(1, at=1), guess(3, at=3)]


async def test_a_confirmed_code_frees_its_digest_and_its_device(store: Store) -> None:
    await add_devices(store, 2)
    await store.issue_device_codes([new_code(1, 0, [[1]])])
    await store.accept_device_codes([accept(1)])
    batch = [new_code(2, 1, [[1]]), new_code(3, 0, [[2]])]
    assert await store.issue_device_codes(batch) == [0, 0]
    assert await store.accept_device_codes([accept(1)]) == [NOT_LIVE]


async def test_an_organisation_links_the_device_it_confirms(store: Store) -> None:
    await add_devices(store, 1)
    org_id = await store.add_organisation("acme", key_of("acme"), 0)
    for n in (1, 2):
        await store.issue_device_codes([new_code(n, 0, [[n]])])
        linked = replace(device(0), org_id=org_id)
        assert await store.accept_device_codes([accept(n, org_id=org_id)]) == [linked]
        assert await store.get_devices(["device-0"]) == [linked]
    await store.issue_device_codes([new_code(3, 0, [[3]])])
    assert await store.accept_device_codes([accept(3)]) == [linked]  # no organisation asks: stays


async def test_a_device_linked_elsewhere_keeps_its_code_and_its_link(store: Store) -> None:
    await add_devices(store, 1)
    mine = await store.add_organisation("mine", key_of("mine"), 0)
    other = await store.add_organisation("other", key_of("other"), 0)
    await store.issue_device_codes([new_code(1, 0, [[1]])])
    await store.accept_device_codes([accept(1, org_id=mine)])
    await store.issue_device_codes([new_code(2, 0, [[2]])])
    await store.count_guesses([(guess(5), [digest(2)])])
    refused = await store.accept_device_codes([accept(2, guess_n=5, org_id=other)])
    assert refused == [AcceptRefusal.LINKED_ELSEWHERE]
    assert await state_of(store, 2) == "issued"
    assert await store.guesses_since(-1) == [guess(5)]
    linked = replace(device(0), org_id=mine)
    assert await store.accept_device_codes([accept(2, guess_n=5, org_id=mine)]) == [linked]


async def test_a_dead_code_of_a_device_linked_elsewhere_is_not_live(store: Store) -> None:
    await add_devices(store, 1)
    mine = await store.add_organisation("mine", key_of("mine"), 0)
    other = await store.add_organisation("other", key_of("other"), 0)
    await store.issue_device_codes([new_code(1, 0, [[1]])])
    await store.accept_device_codes([accept(1, org_id=mine)])
    assert await store.accept_device_codes([accept(1, org_id=other)]) == [NOT_LIVE]
