"""Accounts: made, found, shown."""

from __future__ import annotations

from dataclasses import replace

import pytest

from otp_server.domain.account import tenant_of
from otp_server.domain.account_outcome import UserView
from otp_server.domain.challenge_type import Channel
from otp_server.domain.password_rules import ABOUT_YOU, BREACHED, TOO_LONG, TOO_SHORT
from otp_server.errors import AlreadyExists, InvalidFields
from otp_server.services import accounts as module
from otp_server.services.accounts import AccountRow, NewAccount
from otp_server.services.ports import Store
from otp_server.services.ports.accounts import UserKey
from tests.support.account_world import EMAIL, PASSWORD, AccountWorld
from tests.support.world import KEY


async def test_an_account_is_found_by_its_email_and_its_uid(store: Store) -> None:
    world = AccountWorld(store=store)
    before_ms = world.clock.now_ms()
    user = await world.add("Jane.Doe@EXAMPLE.com")
    keys = [
        world.accounts.key_by_email("main", " jane.doe@example.COM "),
        world.accounts.key_by_name("main", "jane.doe@example.com"),
        world.accounts.key_by_name("main", user.uid),
    ]
    assert await world.accounts.find_many(keys) == [user, user, user]
    assert world.accounts.view(user) == UserView(user.uid, "main", EMAIL, "Jane", "Doe")
    assert before_ms <= user.created_at_ms <= world.clock.now_ms()
    assert user.password_version == 1
    assert EMAIL.encode() not in user.email.sealed
    shown = repr(user) + repr(world.accounts.view(user))
    assert not [secret for secret in (EMAIL, "Jane", "Doe", "sealed") if secret in shown]


async def test_nobody_is_found_by_what_is_no_email(store: Store) -> None:
    world = AccountWorld(store=store)
    user = await world.add()
    wrong = ["", "jane", user.uid.upper(), user.uid[:-1], "\ud800@example.com", "x" * 10_000]
    keys = [world.accounts.key_by_name("main", name) for name in wrong]
    keys += [world.accounts.key_by_email("main", user.uid)]
    keys += [world.accounts.key_by_name("acme", name) for name in (EMAIL, user.uid)]
    assert await world.accounts.find_many(keys) == [None] * len(keys)
    assert all(len(key.email_index or b"") == 32 for key in keys[:-1])


async def test_organisations_are_strangers(store: Store) -> None:
    world = AccountWorld(store=store)
    main, acme = await world.add(), await world.add(organisation="acme")
    keys = [world.accounts.key_by_email(name, EMAIL) for name in ("main", "acme", "other")]
    assert await world.accounts.find_many(keys) == [main, acme, None]
    assert main.email.index != acme.email.index
    opened = world.vault.unseal(tenant_of("acme"), Channel.EMAIL, acme.email.sealed)
    assert opened == EMAIL
    assert world.accounts.view(replace(acme, organisation="main")) is None


async def test_an_email_has_one_account(store: Store) -> None:
    world = AccountWorld(store=store)
    user = await world.add()
    with pytest.raises(AlreadyExists) as raised:
        await world.add("JANE.DOE@example.com", password="another violet tractor")
    assert raised.value.what == "email"
    assert EMAIL not in str(raised.value)
    assert [row.uid for row in await world.accounts.list_all()] == [user.uid]


async def test_the_password_is_stored_as_a_hash(store: Store) -> None:
    world = AccountWorld(store=store)
    user = await world.add()
    stored = await store.find_password(user.uid)
    assert stored is not None
    assert stored.startswith("$argon2id$")
    key = world.accounts.key_by_email("main", EMAIL)
    assert await world.accounts.judge_password(key, PASSWORD) == (user, True)
    assert await world.accounts.judge_password(key, PASSWORD + "!") == (user, False)


async def test_an_account_without_a_password_lets_nobody_in(store: Store) -> None:
    world = AccountWorld(store=store)
    user = await world.add(password=None)
    assert (user.password_version, world.hasher.hashed) == (0, 0)
    key = world.accounts.key_by_email("main", EMAIL)
    for password in (PASSWORD, "", "None"):
        assert await world.accounts.judge_password(key, password) == (user, False)
    assert [row.has_password for row in await world.accounts.list_all()] == [False]


@pytest.mark.parametrize(
    ("changed", "fields"),
    [
        ({"email": "jane"}, {"email"}),
        ({"email": "jane@example.com\r\nBcc: x@example.com"}, {"email"}),
        ({"organisation": "A B"}, {"organisation"}),
        ({"organisation": "svc/main"}, {"organisation"}),
        ({"firstname": "x" * 201}, {"firstname"}),
        ({"lastname": "line\nbreak"}, {"lastname"}),
        ({"lastname": "\ud800"}, {"lastname"}),
        ({"password": "short"}, {"password"}),
        (
            {"email": "", "password": "password1", "lastname": "\0"},
            {"email", "password", "lastname"},
        ),
    ],
)
async def test_what_cannot_be_an_account_is_not_stored(
    store: Store, changed: dict[str, str], fields: set[str]
) -> None:
    world = AccountWorld(store=store)
    with pytest.raises(InvalidFields) as raised:
        await world.accounts.add(
            NewAccount(**{"email": EMAIL, "password": PASSWORD, "lastname": "Doe", **changed})
        )
    assert set(raised.value.fields) == fields
    for name, value in changed.items():
        assert all(why for why in raised.value.fields.get(name, ()))
        assert not value or value not in str(raised.value)
    assert await world.accounts.list_all() == []
    assert world.hasher.hashed == 0


@pytest.mark.parametrize(
    ("password", "problem"),
    [
        ("1234567", TOO_SHORT),
        ("x" * 129, TOO_LONG),
        ("password1", BREACHED),
        ("Doe, Jane", ABOUT_YOU),
        ("jane.doe@example.com", ABOUT_YOU),
    ],
)
async def test_the_operator_keeps_the_password_rules_too(password: str, problem: str) -> None:
    world = AccountWorld()
    with pytest.raises(InvalidFields) as raised:
        await world.add("Jane.Doe@example.com", password=password)
    assert raised.value.fields == {"password": [problem]}


async def test_all_accounts_are_listed_by_uid(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PAGE", 2)
    world = AccountWorld(store=store)
    users = [await world.add(f"person{i}@example.com", password=None) for i in range(5)]
    users.append(await world.add("person@example.com", organisation="acme"))
    rows = await world.accounts.list_all()
    assert [row.uid for row in rows] == sorted(user.uid for user in users)
    assert {row.uid: row for row in rows}[users[-1].uid] == AccountRow(
        users[-1].uid, "acme", "person@example.com", "Jane", "Doe", has_password=True
    )
    assert "person" not in repr(rows)


async def test_an_email_whose_key_is_gone_is_listed_as_unknown(store: Store) -> None:
    await AccountWorld(store=store, contact_keys=[("c0", KEY)]).add()
    world = AccountWorld(store=store, contact_keys=[("c1", KEY[::-1])])
    assert [row.email for row in await world.accounts.list_all()] == [None]
    [user] = await store.list_users()
    assert world.accounts.view(user) is None


async def test_the_user_is_read_before_the_password() -> None:
    asked: list[str] = []
    world = AccountWorld()
    find_users, find_password = world.store.find_users, world.store.find_password

    async def users(keys: list[UserKey]) -> object:
        asked.append("user")
        return await find_users(keys)

    async def password(uid: str) -> str | None:
        asked.append("password")
        return await find_password(uid)

    world.store.find_users = users  # type: ignore[assignment, method-assign] # watched
    world.store.find_password = password  # type: ignore[method-assign] # watched
    await world.add()
    for email in (EMAIL, "nobody@example.com"):
        await world.accounts.judge_password(world.accounts.key_by_email("main", email), PASSWORD)
    assert asked == ["user", "password"] * 2
