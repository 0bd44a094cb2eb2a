"""The port's sentences about devices and organisations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from otp_server.domain.device import Organisation
from otp_server.errors import AlreadyExists
from otp_server.services.ports import AcceptRefusal, IssueRefusal
from tests.contracts.samples import accept, add_devices, device, key_of, new_code, state_of
from tests.support.changed_values import replace

if TYPE_CHECKING:
    from otp_server.services.ports import Store


async def test_devices_come_in_the_order_asked(store: Store) -> None:
    await add_devices(store, 3)
    asked = ["device-2", "nobody", "device-0", "device-2"]
    assert await store.get_devices(asked) == [device(2), None, device(0), device(2)]
    assert await store.get_devices([]) == []


async def test_a_device_keeps_every_field(store: Store) -> None:
    org_id = await store.add_organisation("acme", key_of("acme"), 1)
    stored = replace(device(7, at=5, org_id=org_id), revoked_at_ms=9)
    await store.add_device(stored)
    assert await store.get_devices(["device-7"]) == [stored]


async def test_devices_are_listed_oldest_first_with_revoked_ones(store: Store) -> None:
    for n, at in ((0, 30), (1, 10), (2, 20), (3, 10)):
        await store.add_device(device(n, at=at))
    await store.revoke_device("device-2", 99)
    listed = await store.list_devices()
    assert [d.device_id for d in listed] == ["device-1", "device-3", "device-2", "device-0"]
    assert [d.revoked for d in listed] == [False, False, True, False]


@pytest.mark.parametrize("taken", ["device_id", "device_key"])
async def test_a_taken_id_or_key_is_named(store: Store, taken: str) -> None:
    await store.add_device(device(0))
    twin = replace(device(1), **{taken: getattr(device(0), taken)})
    with pytest.raises(AlreadyExists, match=taken):
        await store.add_device(twin)
    assert await store.list_devices() == [device(0)]


async def test_of_many_that_add_one_device_one_wins(store: Store) -> None:
    outcomes: list[bool] = []

    async def add(n: int) -> None:
        try:
            await store.add_device(replace(device(n), device_id="same"))
        except AlreadyExists:
            outcomes.append(False)
        else:
            outcomes.append(True)

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            for n in range(50):
                nursery.start_soon(add, n)
    assert outcomes.count(True) == 1
    assert len(await store.list_devices()) == 1


async def test_revoking_an_unknown_device_is_false(store: Store) -> None:
    assert await store.revoke_device("nobody", 1) is False
    assert await store.revocations_since(0) == (0, [])


async def test_revoking_ends_the_live_code_and_new_requests(store: Store) -> None:
    await add_devices(store, 1)
    await store.issue_device_codes([new_code(1, 0, [[1]])])
    assert await store.revoke_device("device-0", 5) is True
    assert await state_of(store, 1) == "revoked"
    assert await store.accept_device_codes([accept(1, at=6)]) == [AcceptRefusal.NOT_LIVE]
    refused = await store.issue_device_codes([new_code(2, 0, [[2]], at=6)])
    assert refused == [IssueRefusal.DEVICE_REVOKED]
    assert await store.live_device_codes(6) == {}


async def test_a_second_revocation_changes_nothing(store: Store) -> None:
    await add_devices(store, 1)
    assert await store.revoke_device("device-0", 5) is True
    cursor, _ = await store.revocations_since(0)
    assert await store.revoke_device("device-0", 8) is True
    assert await store.get_devices(["device-0"]) == [replace(device(0), revoked_at_ms=5)]
    assert await store.revocations_since(cursor) == (cursor, [])


async def test_the_feed_gives_each_revocation_once_to_each_follower(store: Store) -> None:
    await add_devices(store, 4)
    start, none = await store.revocations_since(0)
    assert none == []
    await store.revoke_device("device-2", 1)
    first, seen = await store.revocations_since(start)
    assert seen == ["device-2"]
    await store.revoke_device("device-0", 1)
    await store.revoke_device("device-3", 1)
    second, seen = await store.revocations_since(first)
    assert seen == ["device-0", "device-3"]
    assert await store.revocations_since(second) == (second, [])
    late, seen = await store.revocations_since(0)
    assert (late, seen) == (second, ["device-2", "device-0", "device-3"])


async def test_an_organisation_is_found_by_its_key(store: Store) -> None:
    org_id = await store.add_organisation("acme", key_of("acme"), 3)
    assert await store.find_organisation(key_of("acme")) == Organisation(
        org_id, "acme", key_of("acme"), 3
    )
    assert await store.find_organisation(key_of("nobody")) is None


async def test_organisations_have_their_own_names_and_ids(store: Store) -> None:
    first = await store.add_organisation("acme", key_of("acme"), 1)
    with pytest.raises(AlreadyExists, match="acme"):
        await store.add_organisation("acme", key_of("acme"), 2)
    assert await store.add_organisation("other", key_of("other"), 2) != first
