"""otp.set_password: exactly one change, who is signed in and out by it, and the notice (26)."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio

from otp_server.domain.account import digest_of
from otp_server.domain.account_outcome import NoUser, SignedIn, SignInRefused, UserView, WrongCode
from otp_server.domain.process import FailureReason, ProcessStatus
from otp_server.services.bounded_threads import BoundedThreads
from tests.support.process_world import wrong
from tests.support.reset_world import (
    ADDRESS,
    EMAIL,
    HOST,
    NEW,
    OLD,
    OTHER_EMAIL,
    TENANT,
    Client,
    ResetWorld,
    all_at_once,
    change,
    kind,
)

if TYPE_CHECKING:
    from otp_server.services.ports import Store


async def world_of(store: Store, **given: object) -> tuple[ResetWorld, Client, str, str]:
    """A world with a user, and a client with a secret and its code."""
    world = ResetWorld(store=store, **given)
    await world.add_user(lastname="Novak")
    client = await world.client()
    secret = (await world.send(client)).secret
    return world, client, secret, await world.code_of(secret)


async def test_a_right_code_changes_the_password_and_signs_in(store: Store) -> None:
    world, client, secret, code = await world_of(store)
    [user] = await store.list_users()
    signed = await world.change(client, secret, code)
    assert isinstance(signed, SignedIn)
    assert signed.user == UserView(user.uid, "main", EMAIL, "Jana", "Novak")
    session = signed.session
    assert (session.host, session.organisation, session.uid) == (HOST, "main", user.uid)
    assert session.expires_at_ms - session.created_at_ms == 30 * 86_400_000
    assert session.digest == digest_of(signed.session_id)
    assert signed.session_id not in repr(signed)
    assert await world.is_alive(signed.session_id)
    assert isinstance(await world.sign_in(password=OLD), SignInRefused)
    assert isinstance(await world.sign_in(password=NEW), SignedIn)
    [changed] = await store.list_users()
    assert changed.password_version == user.password_version + 1
    assert (await world.process(secret)).status is ProcessStatus.ACCEPTED
    assert await world.trail("user.password") == [(f"user:{user.uid}", "changed")]


async def test_the_uid_will_do_as_well_as_the_e_mail(store: Store) -> None:
    world, client, secret, code = await world_of(store)
    [user] = await store.list_users()
    assert await world.change(client, secret, code, uid="f" * 16) == NoUser()
    assert isinstance(await world.change(client, secret, code, uid=user.uid), SignedIn)


async def test_who_had_no_password_has_one_now(store: Store) -> None:
    world = ResetWorld(store=store)
    await world.add_user(password=None)
    client = await world.client()
    secret = (await world.send(client)).secret
    outcome = await world.change(client, secret, await world.code_of(secret))
    assert isinstance(outcome, SignedIn)
    assert await world.is_password(NEW)


async def test_the_password_is_taken_as_it_is(store: Store) -> None:
    """Any characters, the longest too, and in any of its Unicode forms."""
    for password in (
        "x" * 128,
        "  blanks  stay  ",
        "\uff50\uff41\uff53\uff53 \ufb01 \u00a3 word",
        "\U0001f511" * 8,
    ):
        world = ResetWorld(store=store)
        client = await world.client()
        if not await store.list_users():
            await world.add_user()
        secret = (await world.send(client)).secret
        code = await world.code_of(secret)
        outcome = await world.change(client, secret, code, password=password)
        assert isinstance(outcome, SignedIn), outcome
        assert await world.is_password(password)
        assert not await world.is_password(password[:-1])


async def test_a_secret_of_another_user_sets_nobodys_password(store: Store) -> None:
    world, client, secret, code = await world_of(store)
    other = await world.add_user(OTHER_EMAIL)
    for uid in (OTHER_EMAIL, other.uid):
        assert isinstance(await world.change(client, secret, code, uid=uid), WrongCode)
    assert await world.is_password(OLD, OTHER_EMAIL)
    assert await world.is_password(OLD)
    assert await world.attempts_of(secret) == 0


async def test_a_secret_of_another_session_sets_nobodys_password(store: Store) -> None:
    world, _, secret, code = await world_of(store)
    assert isinstance(await world.change(await world.client(), secret, code), WrongCode)
    assert await world.is_password(OLD)
    assert await world.attempts_of(secret) == 0


async def test_a_code_is_used_once(store: Store) -> None:
    world, client, secret, code = await world_of(store)
    signed = await world.change(client, secret, code)
    assert isinstance(signed, SignedIn)
    for session in (client.session, signed.session):
        again = world.with_socket(session, "")
        outcome = await world.change(again, secret, code, password="another password again")
        assert isinstance(outcome, WrongCode)
    assert await world.is_password(NEW)


async def test_the_users_other_codes_are_void(store: Store) -> None:
    world, client, secret, code = await world_of(store)
    await world.add_user(OTHER_EMAIL)
    elsewhere = await world.client()
    more = [
        (await world.send(client, method="otp")).secret,
        (await world.send(elsewhere)).secret,
    ]
    others = (await world.send(elsewhere, OTHER_EMAIL)).secret
    assert isinstance(await world.change(client, secret, code), SignedIn)
    for each in more:
        assert (await world.process(each)).failure is FailureReason.SUPERSEDED
    assert kind(await world.check(elsewhere, more[1], await world.code_of(more[1]))) == "WrongCode"
    outcome = await world.check(elsewhere, others, await world.code_of(others), email=OTHER_EMAIL)
    assert kind(outcome) == "CodeRight"


async def test_the_users_other_sessions_end_with_their_sockets(store: Store) -> None:
    world, client, secret, code = await world_of(store)
    await world.add_user(OTHER_EMAIL)
    tab = world.with_socket(client.session, client.session_id)
    old = [await world.signed_in(), await world.signed_in()]
    stranger, nobody = await world.signed_in(OTHER_EMAIL), await world.client()
    token = world.sockets.grant(old[0].session.digest, 0)
    signed = await world.change(client, secret, code)
    assert isinstance(signed, SignedIn)
    for each in old:
        assert not await world.is_alive(each.session_id)
        assert each.ended == [each.socket_id]
        assert not world.sockets.is_bound(each.socket_id, each.session.digest)
    assert world.sockets.redeem(token, 1) is None
    for each in (stranger, nobody):
        assert await world.is_alive(each.session_id)
        assert each.ended == []
        assert world.sockets.is_bound(each.socket_id, each.session.digest)
    assert not await world.is_alive(client.session_id), "no id that was there before is signed in"
    assert client.ended == []
    assert world.sockets.is_bound(client.socket_id, signed.session.digest)
    assert not world.sockets.is_bound(client.socket_id, client.session.digest)
    assert tab.ended == [tab.socket_id], "who planted the session may hold it"
    assert world.sockets.session_of(tab.socket_id) is None


async def test_who_is_signed_in_may_set_a_password_too(store: Store) -> None:
    world = ResetWorld(store=store)
    await world.add_user()
    client, other = await world.signed_in(), await world.signed_in()
    secret = (await world.send(client)).secret
    signed = await world.change(client, secret, await world.code_of(secret))
    assert isinstance(signed, SignedIn)
    assert client.ended == []
    assert world.sockets.is_bound(client.socket_id, signed.session.digest)
    assert other.ended == [other.socket_id]
    assert not await world.is_alive(client.session_id)
    assert await world.is_alive(signed.session_id)


async def test_the_notice_goes_out_in_the_callers_language(store: Store) -> None:
    world, client, secret, code = await world_of(store)
    wakes = world.wakes
    outcome = await world.change(client, secret, code, accept_language="es, en;q=0.1")
    assert isinstance(outcome, SignedIn)
    assert world.wakes == wakes + 1, "the delivery is told at once"
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(world.delivery.run)
            while not world.mail.got:
                await trio.lowlevel.checkpoint()
            world.delivery.drain()
    [(_, mail)] = world.mail.got
    assert (mail.to, mail.subject) == (EMAIL, "Su contraseña ha cambiado")
    for hidden in (code, secret, NEW, EMAIL):
        assert hidden not in mail.text + (mail.html or "")


async def test_the_notice_is_in_the_outbox_of_a_server_that_was_killed(store: Store) -> None:
    world, client, secret, code = await world_of(store)
    await world.change(client, secret, code)
    started = await store.starts_since(0)
    assert [start.type_id for start in started] == [0], "the notice is charged to no limit"
    later = ResetWorld(store=store)
    later.clock.shift_ms = 23 * 3_600_000
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(later.delivery.run)
            while not later.mail.got:
                await trio.lowlevel.checkpoint()
            later.delivery.drain()
    assert [mail.subject for _, mail in later.mail.got] == ["Your password was changed"]


async def test_the_notices_code_is_no_code(store: Store) -> None:
    """Its process takes no attempt, whoever should find out its uuid."""
    world, client, secret, code = await world_of(store)
    kept: list[bytes] = []
    original = store.change_passwords

    async def change_passwords(batch: list[object]) -> object:
        kept.extend(item.notice.uuid for item in batch)
        return await original(batch)

    world.resets._parts.store.change_passwords = change_passwords
    await world.change(client, secret, code)
    notice = await store.find_process(TENANT, kept[0])
    assert notice is not None
    assert (notice.plan.type_id, notice.plan.max_attempts) == (-1, 0)
    assert "${answer}" not in notice.plan.routes[0].text


# Exactly one.


@pytest.mark.parametrize("attempts_max", [5, 20])
async def test_of_many_right_codes_at_once_one_wins(store: Store, attempts_max: int) -> None:
    world, client, secret, code = await world_of(store, attempts_max=attempts_max)
    world.policy._threads = BoundedThreads(2, 200)
    world.hasher._threads = BoundedThreads(2, 200)
    passwords = [f"a password of its own, {n}" for n in range(200)]

    async def one(password: str) -> tuple[str, str]:
        return kind(await world.change(client, secret, code, password=password)), password

    answers = await all_at_once([partial(one, password) for password in passwords])
    assert Counter(word for word, _ in answers) == {"SignedIn": 1, "WrongCode": 199}
    [winner] = [password for word, password in answers if word == "SignedIn"]
    assert await world.is_password(winner)
    [user] = await store.list_users()
    assert user.password_version == 2
    assert [word for _, word in await world.trail("user.password")] == ["changed"]
    assert len(await world.trail("otp.init")) == 1, "one notice"
    attempts = Counter(word for _, word in await world.trail("otp.attempt"))
    assert attempts["counted"] == 1 + attempts["late"] <= attempts_max
    assert world.hasher._threads._places == 0, "every place was given back"


async def test_in_one_batch_one_wins(store: Store) -> None:
    world, client, secret, code = await world_of(store)
    outcomes = await world.resets.change_many([change(client, secret, code)] * 5)
    assert [kind(outcome) for outcome in outcomes] == ["SignedIn", *["WrongCode"] * 4]


async def test_two_codes_of_one_user_at_once_change_once(store: Store) -> None:
    """The second is void by then, in one transaction or in two."""
    world, client, secret, code = await world_of(store)
    elsewhere = await world.client()
    second = (await world.send(elsewhere)).secret
    both = [
        change(client, secret, code),
        change(elsewhere, second, await world.code_of(second)),
    ]
    outcomes = await world.resets.change_many(both)
    assert [kind(outcome) for outcome in outcomes] == ["SignedIn", "WrongCode"]
    assert await world.is_alive(outcomes[0].session_id)


async def test_wrong_and_right_together(store: Store) -> None:
    world, client, secret, code = await world_of(store, attempts_max=3)
    calls = [change(client, secret, wrong(code)), change(client, secret, code)]
    outcomes = await world.resets.change_many([calls[0], *calls, calls[0]])
    words = [kind(outcome) for outcome in outcomes]
    assert words == ["WrongCode", "WrongCode", "SignedIn", "WrongCode"]
    assert await world.is_password(NEW)


async def test_a_code_that_ends_while_the_password_is_hashed_was_in_time(store: Store) -> None:
    """What counts is when it was compared (17)."""
    world, client, secret, code = await world_of(store)
    hashed = world.hasher.hash_now

    def slow(password: str) -> str:
        world.clock.shift_ms += 600_000
        return hashed(password)

    world.hasher.hash_now = slow
    assert isinstance(await world.change(client, secret, code), SignedIn)


async def test_a_code_that_was_voided_while_the_password_was_hashed_is_wrong(
    store: Store,
) -> None:
    world, client, secret, code = await world_of(store)
    hashed = world.hasher.hash_now

    def slow(password: str) -> str:
        trio.from_thread.run(world.send, client)
        return hashed(password)

    world.hasher.hash_now = slow
    assert isinstance(await world.change(client, secret, code), WrongCode)
    assert await world.is_password(OLD)
    assert client.ended == []
    assert world.sockets.is_bound(client.socket_id, client.session.digest)


async def test_who_signs_out_while_the_password_is_hashed_is_not_signed_in(store: Store) -> None:
    """The sign-out was answered: no call outlives it."""
    world, client, secret, code = await world_of(store)
    hashed = world.hasher.hash_now
    answers: list[object] = []

    async def sign_out() -> None:
        answers.append(await world.sessions.sign_out(client.session, ADDRESS))

    def slow(password: str) -> str:
        trio.from_thread.run(sign_out)
        return hashed(password)

    world.hasher.hash_now = slow
    assert isinstance(await world.change(client, secret, code), WrongCode)
    assert answers == [None]
    assert await world.is_password(OLD)
    assert await world.trail("user.sign_in") == []
    assert client.ended == [client.socket_id]
    assert (await world.process(secret)).status is ProcessStatus.NEW
    assert await world.attempts_of(secret) == 1


async def test_a_check_and_a_change_have_words_of_their_own_in_the_trail(store: Store) -> None:
    world, client, secret, code = await world_of(store)
    await world.check(client, secret, code)
    await world.change(client, secret, code)
    words = [word for _, word in await world.trail("otp.attempt")]
    assert words == ["counted", "checked", "counted", "accepted"]


async def test_who_asked_is_in_the_trail(store: Store) -> None:
    world, client, secret, code = await world_of(store)
    [user] = await store.list_users()
    await world.change(client, secret, code)
    lines = [entry for _, entry, _, _ in await store.audit_after(0, 1000)]
    changed = [line for line in lines if line.action == "user.password"]
    assert [(line.subject, line.address) for line in changed] == [(f"user:{user.uid}", ADDRESS)]
    assert not any(text in str(lines) for text in (EMAIL, NEW, secret))
