"""The port's sentences about issuing: unique, one a device, expiry, void (46, 47, 48)."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
import trio

from otp_server.domain.challenge import CodeState, DeviceCode
from otp_server.errors import AlreadyExists
from otp_server.services.ports import AcceptRefusal, IssueRefusal
from tests.contracts.samples import (
    TTL,
    accept,
    add_devices,
    challenge,
    device,
    digest,
    find,
    new_code,
    state_of,
)

if TYPE_CHECKING:
    from otp_server.services.ports import Store

NO_FREE = IssueRefusal.NO_FREE_CANDIDATE


async def test_an_issued_code_is_remembered_as_it_was(store: Store) -> None:
    await add_devices(store, 1)
    assert await store.issue_device_codes([new_code(1, 0, [[5], [6]], at=7, length=8)]) == [0]
    assert await find(store, 5) == DeviceCode(
        challenge_id=challenge(1),
        device_id="device-0",
        digest=digest(5),
        length=8,
        state=CodeState.ISSUED,
        issued_at_ms=7,
        expires_at_ms=7 + TTL,
    )
    assert await find(store, 6) is None


async def test_an_empty_batch_is_nothing(store: Store) -> None:
    assert await store.issue_device_codes([]) == []


async def test_unknown_and_revoked_devices_spoil_no_batch(store: Store) -> None:
    await add_devices(store, 2)
    await store.revoke_device("device-1", 0)
    batch = [new_code(1, 9, [[1]]), new_code(2, 1, [[2]]), new_code(3, 0, [[3]])]
    assert await store.issue_device_codes(batch) == [
        IssueRefusal.DEVICE_UNKNOWN,
        IssueRefusal.DEVICE_REVOKED,
        0,
    ]
    assert await store.live_device_codes(0) == {6: 1}


async def test_the_first_free_candidate_is_taken(store: Store) -> None:
    await add_devices(store, 2)
    batch = [new_code(1, 0, [[1]]), new_code(2, 1, [[1], [1], [2], [3]])]
    assert await store.issue_device_codes(batch) == [0, 2]
    found = await find(store, 2)
    assert found is not None
    assert found.challenge_id == challenge(2)


async def test_codes_collide_under_every_key(store: Store) -> None:
    """Digest 11 is code 1 under the old key, digest 21 the same code under the new one."""
    await add_devices(store, 4)
    assert await store.issue_device_codes([new_code(1, 0, [[11]])]) == [0]  # before the rotation
    assert await store.issue_device_codes([new_code(2, 1, [[21, 11]])]) == [NO_FREE]
    assert await store.issue_device_codes([new_code(3, 2, [[22, 12]])]) == [0]  # after it
    assert await store.issue_device_codes([new_code(4, 3, [[12, 22]])]) == [NO_FREE]


async def test_a_tiny_universe_never_gives_a_code_twice(store: Store) -> None:
    await add_devices(store, 9)
    batch = [new_code(n, n, [[d] for d in range(8)]) for n in range(9)]
    assert await store.issue_device_codes(batch) == [*range(8), NO_FREE]
    assert await store.live_device_codes(0) == {6: 8}
    await store.accept_device_codes([accept(3)])
    assert await store.issue_device_codes([new_code(20, 8, [[d] for d in range(8)])]) == [3]


async def test_racing_devices_never_share_a_code(store: Store) -> None:
    await add_devices(store, 40)
    taken: list[int | IssueRefusal] = []

    async def ask(n: int) -> None:
        candidates = [[(n + step) % 8] for step in range(8)]
        [index] = await store.issue_device_codes([new_code(n, n, candidates)])
        taken.append((n + index) % 8 if isinstance(index, int) else index)

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            for n in range(40):
                nursery.start_soon(ask, n)
    assert sorted(t for t in taken if isinstance(t, int)) == list(range(8))
    assert taken.count(NO_FREE) == 32


async def test_asking_again_supersedes(store: Store) -> None:
    await add_devices(store, 2)
    await store.issue_device_codes([new_code(1, 0, [[1]])])
    await store.issue_device_codes([new_code(2, 0, [[2]], at=1)])
    assert await state_of(store, 1) == "superseded"
    assert await store.accept_device_codes([accept(1, at=2)]) == [AcceptRefusal.NOT_LIVE]
    assert await store.live_device_codes(1) == {6: 1}
    assert await store.issue_device_codes([new_code(3, 1, [[1]], at=1)]) == [0]


async def test_a_device_may_get_its_own_code_again(store: Store) -> None:
    await add_devices(store, 1)
    await store.issue_device_codes([new_code(1, 0, [[1]])])
    assert await store.issue_device_codes([new_code(2, 0, [[1]])]) == [0]
    assert await store.accept_device_codes([accept(1)]) == [AcceptRefusal.NOT_LIVE]
    assert await store.accept_device_codes([accept(2)]) == [device(0)]


async def test_the_same_device_twice_in_a_batch_keeps_the_last(store: Store) -> None:
    await add_devices(store, 1)
    batch = [new_code(1, 0, [[1]]), new_code(2, 0, [[2]])]
    assert await store.issue_device_codes(batch) == [0, 0]
    assert [await state_of(store, 1), await state_of(store, 2)] == ["superseded", "issued"]


async def test_a_batch_with_everything_in_it_is_issued_in_order(store: Store) -> None:
    """Clear items and others side by side: each meets what those before it have left."""
    await add_devices(store, 12)
    await store.revoke_device("device-11", 0)
    live = [new_code(n, n, [[n]]) for n in range(3)]
    assert await store.issue_device_codes(live) == [0, 0, 0]
    batch = [
        new_code(10, 3, [[0], [10]], at=1),  # code 0 is still device 0's
        new_code(11, 0, [[11]], at=1),
        new_code(12, 4, [[0]], at=1),  # now it is free
        new_code(13, 5, [[11], [0], [13]], at=1),
        new_code(14, 77, [[14]], at=1),
        new_code(15, 11, [[15]], at=1),
        new_code(16, 6, [[16]], at=1),
        new_code(17, 6, [[17]], at=1),
        new_code(18, 7, [[16]], at=1),  # device 6 has another by now
        new_code(19, 8, [[19, 1]], at=1),  # under an older key it is device 1's
        new_code(20, 9, [[20]], at=TTL, length=8),
        new_code(21, 8, [[2], [1]], at=TTL),  # expired: in nobody's way
        new_code(22, 10, [], at=TTL),
    ]
    unknown, revoked = IssueRefusal.DEVICE_UNKNOWN, IssueRefusal.DEVICE_REVOKED
    expected = [1, 0, 0, 2, unknown, revoked, 0, 0, 0, NO_FREE, 0, 0, NO_FREE]
    assert await store.issue_device_codes(batch) == expected
    states = {n: await state_of(store, n) for n in (1, 2, 10, 11, 0, 13, 14, 15, 16, 17, 19, 20)}
    ended = {1: "issued", 2: "issued", 14: None, 15: None, 19: None}
    assert states == dict.fromkeys(states, "issued") | ended
    codes = [await find(store, n) for n in (0, 16, 2)]
    assert [code and code.device_id for code in codes] == ["device-4", "device-7", "device-8"]
    assert await store.live_device_codes(1) == {6: 8, 8: 1}


async def test_without_a_free_candidate_the_old_code_stays(store: Store) -> None:
    await add_devices(store, 2)
    await store.issue_device_codes([new_code(1, 0, [[1]]), new_code(2, 1, [[2]])])
    assert await store.issue_device_codes([new_code(3, 0, [[2]])]) == [NO_FREE]
    assert await state_of(store, 1) == "issued"


@pytest.mark.parametrize(("at", "answer"), [(TTL - 1, NO_FREE), (TTL, 0), (TTL + 1, 0)])
async def test_a_code_is_in_the_way_until_it_expires(
    store: Store, at: int, answer: int | IssueRefusal
) -> None:
    await add_devices(store, 2)
    await store.issue_device_codes([new_code(1, 0, [[1]])])
    assert await store.issue_device_codes([new_code(2, 1, [[1]], at=at)]) == [answer]
    if answer == 0:
        await store.accept_device_codes([accept(2, at=at)])
        assert await store.accept_device_codes([accept(1, at=0)]) == [AcceptRefusal.NOT_LIVE]


async def test_an_expired_code_in_the_way_is_ended_under_every_key(store: Store) -> None:
    await add_devices(store, 3)
    await store.issue_device_codes([new_code(1, 0, [[1]]), new_code(2, 1, [[2]])])
    assert await store.issue_device_codes([new_code(3, 2, [[3, 1, 2]], at=TTL)]) == [0]
    assert [await state_of(store, n) for n in (1, 2, 3)] == ["expired", "expired", "issued"]


async def test_superseding_an_expired_code_says_expired(store: Store) -> None:
    await add_devices(store, 1)
    await store.issue_device_codes([new_code(1, 0, [[1]])])
    await store.issue_device_codes([new_code(2, 0, [[2]], at=TTL)])
    assert await state_of(store, 1) == "expired"


async def test_a_challenge_id_used_before_issues_nothing(store: Store) -> None:
    await add_devices(store, 2)
    await store.issue_device_codes([new_code(1, 0, [[1]])])
    for batch in (
        [new_code(2, 1, [[2]]), new_code(1, 1, [[3]])],
        [new_code(3, 1, [[2]]), new_code(3, 0, [[3]])],
    ):
        with pytest.raises(AlreadyExists, match="challenge_id"):
            await store.issue_device_codes(batch)
    assert [await state_of(store, n) for n in (1, 2, 3)] == ["issued", None, None]


async def test_live_codes_are_counted_by_length_until_they_expire(store: Store) -> None:
    await add_devices(store, 4)
    counter = itertools.count()
    for length, at in ((6, 0), (6, 1), (7, 1), (8, 5)):
        n = next(counter)
        await store.issue_device_codes([new_code(n, n, [[n]], at=at, length=length)])
    assert await store.live_device_codes(TTL - 1) == {6: 2, 7: 1, 8: 1}
    assert await store.live_device_codes(TTL) == {6: 1, 7: 1, 8: 1}
    assert await store.live_device_codes(TTL + 1) == {8: 1}
    assert await store.live_device_codes(TTL + 5) == {}


async def test_voiding_ends_what_is_still_issued(store: Store) -> None:
    await add_devices(store, 3)
    await store.issue_device_codes([new_code(n, n, [[n]]) for n in range(3)])
    await store.accept_device_codes([accept(2)])
    unknown = challenge(77)
    ids = [challenge(0), unknown, challenge(2), challenge(0)]
    assert await store.void_device_codes(ids, 1) == 1
    assert [await state_of(store, n) for n in range(3)] == ["void", "issued", "confirmed"]
    assert await store.accept_device_codes([accept(0, at=1)]) == [AcceptRefusal.NOT_LIVE]
    assert await store.void_device_codes([challenge(0)], 1) == 0
    assert await store.issue_device_codes([new_code(9, 2, [[0]], at=1)]) == [0]
