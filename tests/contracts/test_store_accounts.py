"""The port's sentences about accounts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from msgspec import structs

from otp_server.domain.process import SealedContact
from otp_server.errors import AlreadyExists
from otp_server.services.ports.accounts import UserKey
from tests.contracts.account_samples import (
    MAIN,
    SVC,
    VISITOR,
    add_user,
    by_email,
    by_uid,
    lines,
    reset,
    uid,
    user,
)
from tests.contracts.rest_samples import EMAIL, T0, TTL, contact
from tests.support.changed_values import replace

if TYPE_CHECKING:
    from otp_server.services.ports import Store


async def test_a_user_is_found_by_uid_and_by_email_in_the_order_asked(store: Store) -> None:
    for n in (1, 2):
        await store.add_user(user(n), None, VISITOR)
    keys = [by_email(2), by_uid(9), by_uid(1), by_email(9), by_uid(1), by_email(1)]
    assert await store.find_users(keys) == [user(2), None, user(1), None, user(1), user(1)]
    assert await store.find_users([]) == []
    assert await store.find_users([UserKey(MAIN)]) == [None]


async def test_an_account_is_its_organisations(store: Store) -> None:
    await store.add_user(user(1), None, VISITOR)
    theirs = user(2, organisation="other", mail=1)
    await store.add_user(theirs, None, VISITOR)
    asked = [by_email(1), by_email(1, "other"), by_uid(1, "other"), by_uid(2), by_uid(2, "other")]
    assert await store.find_users(asked) == [user(1), theirs, None, None, theirs]
    assert await store.find_users([by_email(1, "a"), by_email(1, "z")]) == [None, None]


async def test_the_version_is_one_with_a_password_and_none_without(store: Store) -> None:
    await store.add_user(replace(user(1), password_version=7), "hash", VISITOR)
    await store.add_user(replace(user(2), password_version=7), None, VISITOR)
    found = await store.find_users([by_uid(1), by_uid(2)])
    assert [each and each.password_version for each in found] == [1, 0]
    assert [await store.find_password(uid(n)) for n in (1, 2, 3)] == ["hash", None, None]


@pytest.mark.parametrize(
    ("second", "what"),
    [
        (user(2, mail=1), "email"),
        (user(1, mail=2), "uid"),
        (user(1, organisation="other", mail=2), "uid"),
    ],
    ids=["email", "uid", "uid-elsewhere"],
)
async def test_an_email_or_uid_that_is_taken_changes_nothing(
    store: Store, second: object, what: str
) -> None:
    await add_user(store)
    before = await lines(store)
    with pytest.raises(AlreadyExists) as caught:
        await store.add_user(second, "theirs", VISITOR)  # type: ignore[arg-type]  # a user
    assert caught.value.what == what
    assert len(await store.list_users()) == 1
    assert await store.find_password(uid(1)) == "hash 0"
    assert await lines(store) == before


async def test_of_many_that_add_the_same_email_one_does(store: Store) -> None:
    added: list[int] = []

    async def add(n: int) -> None:
        try:
            await store.add_user(user(n, mail=1), f"hash {n}", VISITOR)
        except AlreadyExists:
            return
        added.append(n)

    async with trio.open_nursery() as nursery:
        for n in range(1, 51):
            nursery.start_soon(add, n)
    [winner] = added
    assert await store.find_users([by_email(1)]) == [
        replace(user(winner, mail=1), password_version=1)
    ]
    assert await store.find_password(uid(winner)) == f"hash {winner}"


async def test_accounts_are_listed_by_uid_page_by_page(store: Store) -> None:
    for n in (3, 1, 4, 2):
        await store.add_user(user(n, organisation="other" if n == 4 else MAIN), None, VISITOR)
    seen = [each.uid for each in await store.list_users()]
    assert seen == [uid(n) for n in (1, 2, 3, 4)]
    first = await store.list_users(limit=3)
    rest = await store.list_users(after_uid=first[-1].uid, limit=3)
    assert [each.uid for each in [*first, *rest]] == seen
    assert await store.list_users(after_uid=uid(4)) == []


async def test_the_trail_names_a_new_account_by_its_uid(store: Store) -> None:
    await store.add_user(user(1), "hash", VISITOR)
    [(_, entry, _, _)] = await store.audit_after(0, 10)
    assert (entry.tenant, entry.actor, entry.address) == (SVC, VISITOR.name, VISITOR.address)
    assert (entry.action, entry.subject, entry.outcome) == ("user.add", f"user:{uid(1)}", "done")
    assert entry.at_ms == T0


# Keys.


def sealed_under(key_id: str, n: int) -> SealedContact:
    return SealedContact(contact(EMAIL, n).index, bytes([len(key_id)]) + key_id.encode() + b"..")


async def test_the_keys_of_accounts_are_in_use_for_ever(store: Store) -> None:
    assert await store.sealing_key_ids_in_use(T0) == set()
    for n, key_id in enumerate(("k1", "k3", "k1", "k2", "k3")):
        await store.add_user(replace(user(n), email=sealed_under(key_id, n)), None, VISITOR)
    open_one = reset(1, of=1)
    sealed = sealed_under("k9", 1)
    address = open_one.process.email
    assert address is not None
    open_one = replace(
        open_one,
        process=replace(
            open_one.process, email=structs.replace(sealed, index=address.index), key_id="codes"
        ),
    )
    await store.start_resets([open_one])
    assert await store.sealing_key_ids_in_use(T0) == {"k1", "k2", "k3", "k9"}
    assert await store.key_ids_in_use(T0) == {"codes"}
    assert await store.sealing_key_ids_in_use(T0 + TTL) == {"k1", "k2", "k3"}
    assert await store.key_ids_in_use(T0 + TTL) == set()
