"""The server starts only with the keys that the store's contacts were made under."""

from __future__ import annotations

import re

import pytest

from otp_server.errors import ConfigError
from otp_server.services.contact_keys import INDEX_PURPOSE, check_contact_keys
from otp_server.services.contacts import ContactVault
from tests.contracts.account_samples import add_user
from tests.support.process_world import ProcessWorld
from tests.support.world import KEY

OLD, NEW, OTHER = ("old", KEY), ("new", KEY[::-1]), ("other", bytes(range(32, 64)))


async def check(world: ProcessWorld, *keys: tuple[str, bytes], accepted: str = "") -> None:
    vault = ContactVault(keys)
    await check_contact_keys(world.store, vault, now_ms=world.clock.now_ms(), accepted=accepted)


async def test_keys_rotate_at_the_front(autojump_clock: object) -> None:
    world = ProcessWorld()
    await check(world, OLD)
    await check(world, OLD)
    await check(world, NEW, OLD)
    await check(world, NEW, OTHER, OLD)


@pytest.mark.parametrize("keys", [(NEW,), (OLD, NEW), (("old", KEY[::-1]),)])
async def test_another_index_key_is_refused_unless_it_is_named(
    autojump_clock: object, keys: tuple[tuple[str, bytes], ...]
) -> None:
    world = ProcessWorld()
    await check(world, OLD)
    with pytest.raises(ConfigError, match="Put the old key back as the last one") as caught:
        await check(world, *keys)
    told = re.search(r'rest\.contact_index = "([0-9a-f]{16})"', str(caught.value))
    assert told is not None
    with pytest.raises(ConfigError):
        await check(world, *keys, accepted=ContactVault([OTHER]).index_fingerprint)
    await check(world, *keys, accepted=told[1])
    await check(world, *keys)
    with pytest.raises(ConfigError):
        await check(world, OLD, accepted=told[1])


async def test_the_index_key_of_accounts_cannot_be_given_up(autojump_clock: object) -> None:
    world = ProcessWorld()
    await check(world, OLD)
    await add_user(world.store)
    with pytest.raises(ConfigError, match="accounts are found by"):
        await check(world, NEW, accepted=ContactVault([NEW]).index_fingerprint)
    assert await world.store.mark_key(INDEX_PURPOSE, "x") == ContactVault([OLD]).index_fingerprint


async def test_the_fingerprint_tells_nothing_of_the_key() -> None:
    vault = ContactVault([OLD])
    assert vault.index_fingerprint == ContactVault([NEW, OLD]).index_fingerprint
    assert vault.index_fingerprint != ContactVault([NEW]).index_fingerprint
    assert vault.index_fingerprint not in KEY.hex()


async def test_a_key_that_opens_contacts_of_open_processes_stays(autojump_clock: object) -> None:
    world = ProcessWorld(contact_keys=(NEW, OLD))
    await world.add_type(ttl=60)
    await check(world, NEW, OLD)
    await world.start()
    with pytest.raises(ConfigError, match=r"keys\.contact has no 'new'"):
        await check(world, OLD)
    await check(world, OTHER, NEW, OLD)
    world.clock.shift_ms = 60_000
    await check(world, OLD)
