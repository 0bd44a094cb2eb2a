"""The port's sentences about API clients."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from otp_server.domain.audit import AuditEntry
from otp_server.domain.client import Scope
from otp_server.errors import AlreadyExists
from tests.contracts.setting_samples import TENANT, client
from tests.support.changed_values import replace

if TYPE_CHECKING:
    from otp_server.services.ports import Store


async def test_a_client_keeps_every_field(store: Store) -> None:
    both = replace(client(1, at=5), scopes=frozenset(Scope), revoked_at_ms=9)
    none = replace(client(2, tenant="other", at=6), scopes=frozenset(), name="")
    await store.add_client(both)
    await store.add_client(none)
    assert await store.list_clients() == [both, none]


async def test_clients_are_listed_oldest_first_with_revoked_ones(store: Store) -> None:
    for n, at in ((0, 30), (1, 10), (2, 20), (3, 10)):
        await store.add_client(client(n, at=at))
    await store.revoke_client("client-2", 99)
    listed = await store.list_clients()
    assert [c.client_id for c in listed] == ["client-1", "client-3", "client-2", "client-0"]
    assert [c.revoked_at_ms for c in listed] == [None, None, 99, None]


async def test_a_taken_id_is_refused_and_changes_nothing(store: Store) -> None:
    await store.add_client(client(1))
    version = await store.clients_version()
    with pytest.raises(AlreadyExists, match="client_id 'client-1'"):
        await store.add_client(replace(client(2, tenant="other"), client_id="client-1"))
    assert await store.list_clients() == [client(1)]
    assert await store.clients_version() == version


async def test_of_many_that_add_one_client_one_wins(store: Store) -> None:
    won: list[int] = []

    async def add(n: int) -> None:
        try:
            await store.add_client(replace(client(n), client_id="same"))
        except AlreadyExists:
            return
        won.append(n)

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            for n in range(50):
                nursery.start_soon(add, n)
    [winner] = won
    assert await store.list_clients() == [replace(client(winner), client_id="same")]


async def test_revoking_an_unknown_client_is_false(store: Store) -> None:
    await store.add_client(client(1))
    version = await store.clients_version()
    assert await store.revoke_client("nobody", 1) is False
    assert await store.clients_version() == version


async def test_a_second_revocation_is_true_and_changes_nothing(store: Store) -> None:
    await store.add_client(client(1))
    assert await store.revoke_client("client-1", 5) is True
    version = await store.clients_version()
    assert await store.revoke_client("client-1", 8) is True
    assert await store.list_clients() == [replace(client(1), revoked_at_ms=5)]
    assert await store.clients_version() == version


async def test_each_change_is_in_the_trail_once(store: Store) -> None:
    await store.add_client(client(1, at=5))
    await store.revoke_client("client-1", 7)
    await store.revoke_client("client-1", 9)
    await store.revoke_client("nobody", 9)
    with pytest.raises(AlreadyExists):
        await store.add_client(client(1, at=9))
    assert [entry for _, entry, _, _ in await store.audit_after(0, 9)] == [
        AuditEntry(5, TENANT, "operator", "", "client.add", "client:client-1", "done"),
        AuditEntry(7, TENANT, "operator", "", "client.revoke", "client:client-1", "done"),
    ]


async def test_the_version_grows_with_each_client_and_revocation(store: Store) -> None:
    seen = [await store.clients_version()]
    await store.add_client(client(1))
    seen.append(await store.clients_version())
    await store.add_client(client(2))
    seen.append(await store.clients_version())
    await store.revoke_client("client-1", 5)
    seen.append(await store.clients_version())
    assert seen == sorted(set(seen))
