"""Accounts that are not revealed: known and unknown e-mails meet the same (requirement 30).

The times of both are compared over real sockets; here it is what is asked of the store, and what
is answered.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import MockClock

from otp_server.domain.account_outcome import CodeRight, SecretSent, SignedIn, WrongCode
from otp_server.services.reset_calls import Change
from tests.support.process_world import wrong
from tests.support.reset_world import (
    EMAIL,
    NEW,
    OLD,
    UNLIMITED,
    Client,
    ResetWorld,
    StoreCalls,
    change,
    check,
    kind,
    send,
)

if TYPE_CHECKING:
    from otp_server.services.ports import Store
    from otp_server.services.ports.processes import Settled, Verdict

UNKNOWN = "nobody@example.org"
BOTH = [EMAIL, UNKNOWN]


async def hidden(store: Store, **given: object) -> ResetWorld:
    world = ResetWorld(store=store, reveal_accounts=False, **given)
    await world.add_user()
    return world


def watched(world: ResetWorld) -> StoreCalls:
    calls = StoreCalls(world.store)
    world.over(calls)
    return calls


@pytest.mark.parametrize("email", [*BOTH, "no e-mail", "", "a@" + "b" * 9999, "\ud800@x.org"])
async def test_every_send_is_answered_alike(store: Store, email: str) -> None:
    world = await hidden(store)
    client = await world.client()
    calls = watched(world)
    sent = await world.send(client, email)
    assert (sent.sent, sent.user, sent.email) == (True, None, email)
    assert len(sent.secret) == 22
    assert calls.calls == ["find_users", "start_resets"]


async def test_nobody_waits_for_a_delivery(autojump_clock: MockClock) -> None:
    world = ResetWorld(reveal_accounts=False, delivery_wait_s=5)
    await world.add_user(password=None)
    for email in BOTH:
        await world.send(await world.client(), email)
        assert world.watch.count == 0
    assert trio.current_time() == 0
    assert world.wakes == 2


async def test_only_who_has_an_account_gets_mail(store: Store) -> None:
    world = await hidden(store)
    for email in [UNKNOWN, "no e-mail", EMAIL]:
        await world.send(await world.client(), email)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.delivery.run)
        with trio.fail_after(20):
            while not world.mail.got:
                await trio.lowlevel.checkpoint()
        world.delivery.drain()
    assert [mail.to for _, mail in world.mail.got] == [EMAIL]


async def story(world: ResetWorld, client: Client, email: str) -> list[tuple[object, list[str]]]:
    """All a stranger can do, each outcome with what was asked of the store."""
    calls = watched(world)
    told: list[tuple[object, list[str]]] = []

    async def ask(many: object, call: object) -> object:
        calls.calls.clear()
        [outcome] = await many([call])
        told.append((kind(outcome), list(calls.calls)))
        return outcome

    resets = world.resets
    first = await ask(resets.send_many, send(client, email))
    assert isinstance(first, SecretSent)
    second = await ask(resets.send_many, send(client, email))
    assert isinstance(second, SecretSent)
    code = wrong(await world.code_of(second.secret))
    for secret in (first.secret, second.secret, "unknown"):
        await ask(resets.check_many, check(client, secret, code, email=email))
        await ask(resets.change_many, change(client, secret, code, uid=email))
    await ask(resets.change_many, change(client, second.secret, code, uid=email, password="weak"))
    for _ in range(6):  # until it is burnt, and past that
        await ask(resets.check_many, check(client, second.secret, code, email=email))
        await ask(resets.change_many, change(client, second.secret, code, uid=email))
    world.clock.shift_ms += 600_000
    await ask(resets.check_many, check(client, second.secret, code, email=email))
    return told


async def test_whatever_a_stranger_does_known_and_unknown_are_alike(store: Store) -> None:
    world = await hidden(store)
    known, unknown = [await story(world.over(store), await world.client(), email) for email in BOTH]
    assert known == unknown
    assert {word for word, _ in known} == {"SecretSent", "WrongCode", "PasswordRefused"}


async def test_both_meet_the_same_limits(store: Store) -> None:
    windows = replace(UNLIMITED, account=((2, 60_000),), wrong_address=((3, 60_000),))
    told = []
    for email in BOTH:
        world = ResetWorld(store=store, reveal_accounts=False, windows=windows)
        if email == EMAIL:
            await world.add_user()
        client = await world.client()
        words = [await world.try_send(client, email) for _ in range(3)]
        outcomes = [await world.check(client, "unknown", "1", email=email) for _ in range(5)]
        told.append((words, [kind(outcome) for outcome in outcomes]))
    assert told[0] == told[1]
    assert "rate_limited" in told[0][0]
    assert "rate_limited" in told[0][1]


async def test_a_decoys_right_code_is_wrong(store: Store) -> None:
    """Nobody is told it; a guess that meets it ends in nothing."""
    world = await hidden(store)
    client = await world.client()
    secret = (await world.send(client, UNKNOWN)).secret
    code = await world.code_of(secret)
    calls = watched(world)
    said: list[bool] = []

    async def settle_checks(batch: list[Verdict]) -> list[Settled]:
        said.extend(verdict.right for verdict in batch)
        return await store.settle_checks(batch)

    calls.settle_checks = settle_checks
    assert await world.check(client, secret, code, email=UNKNOWN) == WrongCode()
    assert await world.change(client, secret, code, uid=UNKNOWN) == WrongCode()
    assert said == [False, False], "the store is not asked to decide it"
    assert await world.attempts_of(secret) == 2
    assert len(await store.list_users()) == 1


async def test_an_account_made_after_its_decoy_does_not_take_it_over(store: Store) -> None:
    world = await hidden(store)
    client = await world.client()
    secret = (await world.send(client, UNKNOWN)).secret
    await world.add_user(UNKNOWN)
    code = await world.code_of(secret)
    assert await world.change(client, secret, code, uid=UNKNOWN) == WrongCode()
    assert await world.is_password(OLD, UNKNOWN)
    assert await world.attempts_of(secret) == 0


async def test_a_uid_that_no_account_has_is_a_wrong_code(store: Store) -> None:
    world = await hidden(store)
    other = await world.add_user("petr@example.org")
    client = await world.client()
    secret = (await world.send(client)).secret
    code = await world.code_of(secret)
    calls = watched(world)
    for uid in ("f" * 16, other.uid):
        calls.calls.clear()
        assert await world.change(client, secret, code, uid=uid) == WrongCode()
        assert calls.calls == ["find_users", "find_resets"]
    assert await world.attempts_of(secret) == 0


async def test_who_has_the_code_is_told_who_he_is(store: Store) -> None:
    world = await hidden(store)
    client = await world.client()
    secret = (await world.send(client)).secret
    code = await world.code_of(secret)
    assert isinstance(await world.check(client, secret, code), CodeRight)
    signed = await world.change(client, secret, code)
    assert isinstance(signed, SignedIn)
    assert signed.user.email == EMAIL
    assert await world.is_password(NEW)


async def test_a_contact_that_does_not_open_burns_no_code(store: Store) -> None:
    """It is found out when the code was right, which nobody else is told."""
    keys = (("c2", b"2" * 32), ("c1", b"1" * 32))
    world = await hidden(store, contact_keys=keys[1:])
    other = ResetWorld(store=store, reveal_accounts=False, contact_keys=keys)
    cipher = other.vault._ciphers.pop("c1")
    client = await other.client()
    secret = (await other.send(client)).secret
    code = await other.code_of(secret)
    assert kind(await other.change(client, secret, wrong(code))) == "WrongCode"
    assert kind(await other.change(client, secret, code)) == "internal"
    assert await other.attempts_of(secret) == 1
    other.vault._ciphers["c1"] = cipher
    assert isinstance(await other.change(client, secret, code), SignedIn)
    assert await world.is_password(NEW)


def test_what_is_asked_shows_no_secret_in_its_repr() -> None:
    told = repr(Change(None, "socket", "192.0.2.1", EMAIL, "the-secret", "123456", NEW))
    assert [name for name in ("uid", "secret", "code", "password") if f"{name}=" in told] == []
    assert {each.name for each in fields(Change)} >= {"uid", "secret", "code", "password"}
