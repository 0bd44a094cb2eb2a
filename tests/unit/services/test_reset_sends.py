"""otp.send: a code in the mail, a secret for this session, and whether it was delivered in time."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import MockClock

from otp_server.domain.account_outcome import CodeRight, NoUser, UserView, WrongCode
from otp_server.domain.challenge_type import Channel
from otp_server.domain.process import FailureReason, ProcessStatus
from otp_server.services.ports.delivery import NotSent, SendOutcome, SendProblem, Sent, Uncertain
from tests.support.reset_world import (
    ADDRESS,
    EMAIL,
    OTHER_EMAIL,
    TENANT,
    UNLIMITED,
    ResetWorld,
    kind,
    send,
)

if TYPE_CHECKING:
    from otp_server.services.ports import Store

NO_PASSWORD = None
"""Of users in tests on virtual time: hashing takes threads, and time would run past them."""


async def delivered(world: ResetWorld, count: int = 1) -> None:
    """Run the delivery until so many messages were handed over."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.delivery.run)
        while len(world.mail.got) < count:
            await trio.lowlevel.checkpoint()
        world.delivery.drain()


async def test_the_answer_has_the_secret_and_the_user_and_never_the_code(store: Store) -> None:
    world = ResetWorld(store=store)
    user = await world.add_user(lastname="Nováková")
    sent = await world.send(await world.client(), email="JANA@Example.ORG")
    assert (sent.email, sent.sent) == ("JANA@Example.ORG", False)
    assert sent.user == UserView(user.uid, "main", EMAIL, "Jana", "Nováková")
    assert len(sent.secret) == 22
    assert sent.secret.isascii()
    assert sent.secret.isalnum()
    code = await world.code_of(sent.secret)
    assert code not in f"{sent!r}{sent.user!r}"
    assert sent.secret not in repr(sent)
    assert EMAIL not in f"{sent!r}{send(await world.client())!r}"


async def test_what_is_stored_is_bound_to_session_account_and_method(store: Store) -> None:
    world = ResetWorld(store=store, code_ttl_s=300, attempts_max=7)
    user = await world.add_user()
    client = await world.client()
    sent = await world.send(client, method="otp")
    reset, process = await world.reset(sent.secret), await world.process(sent.secret)
    assert sent.secret.encode() not in reset.secret_digest
    assert (reset.tenant, reset.uid, reset.method) == (TENANT, user.uid, "otp")
    assert (reset.email_index, reset.session_digest) == (user.email.index, client.session.digest)
    assert reset.expires_at_ms - reset.created_at_ms == 300_000
    assert reset.expires_at_ms == process.expires_at_ms
    assert (process.plan.type_id, process.plan.max_attempts, process.plan.code_length) == (0, 7, 6)
    assert process.address == ADDRESS
    assert (
        await world.reset((await world.send(client, method="x" * 9999)).secret)
    ).method == "secret"
    assert [word for _, word in await world.trail("reset.start")] == ["started"] * 2


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("fr-CH, en;q=0.5", "Votre code de validation"),
        ("es", "Su código de validación"),
        ("de", "Your validation code"),
        ("", "Your validation code"),
    ],
)
async def test_the_mail_comes_in_the_callers_language(
    store: Store, header: str, words: str
) -> None:
    world = ResetWorld(store=store)
    await world.add_user()
    sent = await world.send(await world.client(), accept_language=header)
    await delivered(world)
    [(_, mail)] = world.mail.got
    assert (mail.channel, mail.to, mail.subject) == (Channel.EMAIL, EMAIL, words)
    assert await world.code_of(sent.secret) in mail.text
    assert sent.secret not in mail.text
    assert "10 min" in mail.text


@pytest.mark.parametrize(
    "email", ["nobody@example.org", "", "no e-mail", "a@" + "b" * 9999, "\ud800@x.org"]
)
async def test_who_has_no_account_gets_nothing(store: Store, email: str) -> None:
    world = ResetWorld(store=store)
    await world.add_user()
    [outcome] = await world.resets.send_many([send(await world.client(), email)])
    assert outcome == NoUser()
    assert await store.starts_since(0) == []


async def test_an_account_of_another_organisation_is_none(store: Store) -> None:
    world = ResetWorld(store=store)
    await world.add_user(organisation="acme")
    outcomes = await world.resets.send_many(
        [send(await world.client()), send(await world.client("acme.example", "acme"))]
    )
    assert [kind(outcome) for outcome in outcomes] == ["NoUser", "SecretSent"]
    reset = await world.reset(outcomes[1].secret)
    assert reset.tenant == "svc/acme"


async def test_another_code_for_the_same_session_takes_the_place_of_the_first(
    store: Store,
) -> None:
    world = ResetWorld(store=store)
    await world.add_user()
    client, stranger = await world.client(), await world.client()
    first, strange = await world.send(client), await world.send(stranger)
    code = await world.code_of(first.secret)
    second = await world.send(client)
    assert (await world.process(first.secret)).failure is FailureReason.SUPERSEDED
    assert (await world.process(strange.secret)).status is ProcessStatus.NEW
    assert isinstance(await world.check(client, first.secret, code), WrongCode)
    for who, secret in ((client, second.secret), (stranger, strange.secret)):
        right = await world.check(who, secret, await world.code_of(secret))
        assert isinstance(right, CodeRight)


async def test_another_method_or_e_mail_leaves_the_first_code_alone(store: Store) -> None:
    world = ResetWorld(store=store)
    await world.add_user()
    await world.add_user(OTHER_EMAIL)
    client = await world.client()
    secrets = [
        (await world.send(client)).secret,
        (await world.send(client, method="otp")).secret,
        (await world.send(client, OTHER_EMAIL)).secret,
    ]
    for secret in secrets:
        assert (await world.process(secret)).status is ProcessStatus.NEW


async def test_a_contact_that_does_not_open_is_our_fault_and_charges_nothing(
    store: Store,
) -> None:
    keys = (("c2", b"2" * 32), ("c1", b"1" * 32))
    await ResetWorld(store=store, contact_keys=keys[1:]).add_user()
    once = replace(UNLIMITED, account=((1, 60_000),), sends_address=((1, 60_000),))
    world = ResetWorld(store=store, contact_keys=keys, windows=once)
    cipher = world.vault._ciphers.pop("c1")
    client = await world.client()
    assert await world.try_send(client) == "internal"
    assert await store.starts_since(0) == []
    world.vault._ciphers["c1"] = cipher
    assert await world.try_send(client) == "SecretSent"


# Whether it was delivered. On virtual time, so over memory and without passwords.


class Slow:
    """A provider that takes so long."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    async def __call__(self) -> None:
        await trio.sleep(self.seconds)


@pytest.mark.parametrize(
    ("outcomes", "takes_s", "sent", "after_s"),
    [
        ([Sent("ref")], 0, True, 0),
        ([Sent("ref")], 4, True, 4),
        ([NotSent(SendProblem.INVALID_RECIPIENT)], 1, False, 1),
        ([Uncertain(SendProblem.TIMEOUT)], 2, False, 2),
        ([Sent("ref")], 7, False, 5),
        ([NotSent(SendProblem.REJECTED, 2000), Sent("ref")], 0, True, 2),
        ([NotSent(SendProblem.REJECTED, 9000), Sent("ref")], 0, False, 5),
    ],
    ids=["sent", "slow", "failed", "uncertain", "late", "tried again", "tried again late"],
)
async def test_sent_is_what_is_known_in_time(
    nursery: trio.Nursery,
    autojump_clock: MockClock,
    outcomes: list[SendOutcome],
    takes_s: float,
    sent: bool,
    after_s: float,
) -> None:
    world = ResetWorld(delivery_wait_s=5)
    await world.add_user(password=NO_PASSWORD)
    world.mail.outcomes.extend(outcomes)
    world.mail.work = Slow(takes_s)
    nursery.start_soon(world.delivery.run)
    answer = await world.send(await world.client())
    assert answer.sent is sent
    assert trio.current_time() == pytest.approx(after_s, abs=0.1)
    assert world.watch.count == 0
    await trio.sleep(60)
    assert len(world.mail.got) == len(outcomes), "a late code is delivered all the same"


async def test_without_delivery_it_waits_as_long_as_it_may(autojump_clock: MockClock) -> None:
    world = ResetWorld(delivery_wait_s=5)
    await world.add_user(password=NO_PASSWORD)
    assert (await world.send(await world.client())).sent is False
    assert trio.current_time() == 5


async def test_a_batch_waits_as_long_as_one(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    world = ResetWorld(delivery_wait_s=5)
    await world.add_user(password=NO_PASSWORD)
    world.mail.outcomes.extend([Sent(), NotSent(SendProblem.INVALID_RECIPIENT), Sent()])
    world.mail.concurrency = 1
    world.mail.work = Slow(2)
    nursery.start_soon(world.delivery.run)
    clients = [await world.client() for _ in range(3)]
    outcomes = await world.resets.send_many([send(client) for client in clients])
    assert [outcome.sent for outcome in outcomes] == [True, False, False]
    assert trio.current_time() == 5


async def test_who_leaves_while_waiting_leaves_nothing_behind(
    autojump_clock: MockClock,
) -> None:
    world = ResetWorld(delivery_wait_s=5)
    await world.add_user(password=NO_PASSWORD)
    client = await world.client()
    with trio.move_on_after(1) as scope:
        await world.send(client)
    assert scope.cancelled_caught
    assert world.watch.count == 0
    assert len(await world.store.starts_since(0)) == 1
