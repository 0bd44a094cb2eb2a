"""Handshake and init: judged in order, reserved before acting, replayed (33-41, 69, 71, 85)."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from msgspec import structs
from trio.testing import MockClock

from otp_server.core import Quota
from otp_server.domain.contact import PhoneRules
from otp_server.domain.process import Entity, ProcessStatus
from otp_server.domain.process_outcome import (
    Accepted,
    HandshakeAnswer,
    ProcessRefused,
    StartAnswer,
    Wrong,
)
from otp_server.errors import ErrorKind
from otp_server.services.ports.outbox import MessageState
from otp_server.services.starts import Handshake, Start
from otp_server.stores.memory import MemoryStore
from tests.support.process_world import (
    CONTRACT,
    EMAIL,
    MAIL,
    OTHER_PHONE,
    PHONE,
    SMS,
    TENANT,
    UNLIMITED,
    ProcessWorld,
    at_once,
    init,
    kinds,
)

if TYPE_CHECKING:
    from otp_server.domain.challenge_type import Plan
    from otp_server.services.ports import Store

LIMITED = replace(UNLIMITED, contact=CONTRACT)


def handshake(start: Start) -> Handshake:
    fields = ("tenant", "client_id", "address", "type_name", "phone", "email", "entities")
    return Handshake(**{name: getattr(start, name) for name in fields})


# What is started.


async def test_a_handshake_tells_and_makes_nothing() -> None:
    world = ProcessWorld(windows=replace(LIMITED, contact=((1, 60_000),)))
    await world.add_type(routes=[(SMS, 5), (MAIL, 5)], ttl=120)
    for _ in range(3):
        [answer] = await world.starts.handshake_many([handshake(init())])
        assert isinstance(answer, HandshakeAnswer)
        assert (answer.type, answer.channel, answer.available_in_s) == ("login", SMS, 120)
    assert await world.starts_counted() == 0
    assert await world.trail("otp.init") == []
    assert await world.hand_over(SMS, MessageState.SENT) == []


async def test_an_init_stores_the_process_and_its_message(mock_clock: MockClock) -> None:
    world = ProcessWorld()
    await world.add_type(routes=[(MAIL, 2), (SMS, 3)], ttl=120)
    entities = (Entity("client", "338"), Entity("lead", "5"), Entity("client", "338"))
    answer = await world.start(init(phone=" 0049 (170) 123-4567", email=EMAIL, entities=entities))
    process = await world.process(answer.uuid)
    assert (answer.channel, answer.replayed) == (MAIL, False)
    assert process.status is ProcessStatus.NEW
    assert process.entities == entities[:2]
    assert process.expires_at_ms - process.created_at_ms == 120_000
    assert process.address == "192.0.2.1"
    assert process.phone is not None
    assert process.phone.index == world.vault.index(TENANT, SMS, PHONE)
    assert world.vault.unseal(TENANT, SMS, process.phone.sealed) == PHONE
    assert await world.hand_over(SMS, MessageState.SENT) == []
    assert world.wakes == 1
    assert await world.hand_over(MAIL, MessageState.SENT) == [process.uuid]
    assert await world.trail("otp.init") == [("client:client", answer.uuid, "started")]


async def test_uuids_are_random() -> None:
    world = ProcessWorld()
    await world.add_type()
    outcomes = await world.starts.start_many([init(phone=f"+4917012345{n:02}") for n in range(50)])
    uuids = [outcome.uuid for outcome in outcomes if isinstance(outcome, StartAnswer)]
    assert len(set(uuids)) == 50
    assert len({uuid[14] for uuid in uuids}) > 5, "the version's place is random too"


async def test_a_new_init_supersedes_and_its_code_alone_works() -> None:
    world = ProcessWorld()
    await world.add_type()
    first = await world.start()
    code = await world.code_of(first.uuid)
    second = await world.start()
    assert kinds([await world.try_code(first.uuid, code)]) == ["otp_superseded"]
    assert isinstance(await world.try_code(second.uuid, code), Wrong)
    assert isinstance(await world.try_right(second.uuid), Accepted)


async def test_a_batch_asks_for_each_plan_once(monkeypatch: pytest.MonkeyPatch) -> None:
    world = ProcessWorld()
    await world.add_type()
    await world.add_type("other", [(MAIL, 1)])
    asked: list[str] = []
    plan_of = world.plans.plan_of

    async def noted(tenant: str, type_name: str) -> tuple[int, Plan | None]:
        asked.append(type_name)
        return await plan_of(tenant, type_name)

    monkeypatch.setattr(world.plans, "plan_of", noted)
    batch = [init(type_name=name, phone=PHONE, email=EMAIL) for name in ("login", "other") * 40]
    answers = await world.starts.handshake_many([handshake(start) for start in batch])
    channels = [each.channel for each in answers if isinstance(each, HandshakeAnswer)]
    assert channels == [SMS, MAIL] * 40
    assert asked == ["login", "other"]


# What is wrong with a request.


@pytest.mark.parametrize(
    ("start", "fields"),
    [
        (init(phone=None), {"mobilePhone", "email"}),
        (init(phone="12345"), {"mobilePhone"}),
        (init(email="nobody"), {"email"}),
        (init(phone="+1", email="@"), {"mobilePhone", "email"}),
        (init(phone=PHONE, email="@"), {"email"}),
        (init("mail only"), {"email"}),
        (init("no route"), {"type"}),
        (init(entities=(Entity("client", str(n)) for n in range(65))), {"entities"}),
        (init(entities=(Entity("client", ""),)), {"entities"}),
        (init(entities=(Entity("a" * 256, "1"),)), {"entities"}),
        (init(entities=(Entity("client", "1\n2"),)), {"entities"}),
        (init(claim_key=""), {"Idempotency-Key"}),
        (init(claim_key="a" * 256), {"Idempotency-Key"}),
        (init(claim_key='"open'), {"Idempotency-Key"}),
        (init(claim_key="two words"), {"Idempotency-Key"}),
        (init(claim_key='"two words"'), {"Idempotency-Key"}),
        (init(phone=None, claim_key="ü"), {"mobilePhone", "email", "Idempotency-Key"}),
    ],
)
async def test_each_wrong_field_is_named_and_nothing_charged(
    start: Start, fields: set[str]
) -> None:
    world = ProcessWorld(windows=replace(UNLIMITED, tenant=((1, 60_000),)))
    await world.add_type()
    await world.add_type("mail only", [(MAIL, 1)])
    await world.add_type("no route", [])
    start = structs.replace(start, entities=tuple(start.entities))
    for _ in range(2):
        refused = await world.refusal(start)
        assert refused.kind is ErrorKind.INVALID_FIELDS
        assert set(refused.fields) == fields
    if "Idempotency-Key" not in fields:
        [foreseen] = await world.starts.handshake_many([handshake(start)])
        assert isinstance(foreseen, ProcessRefused)
        assert foreseen.fields == refused.fields
    assert isinstance(await world.start(), StartAnswer)


async def test_an_unknown_type_is_told_so_and_anothers_is_unknown() -> None:
    world = ProcessWorld()
    await world.add_type(tenant="other")
    assert (await world.refusal(init())).kind is ErrorKind.TYPE_NOT_FOUND
    assert (await world.refusal(init("nothing"))).kind is ErrorKind.TYPE_NOT_FOUND


async def test_countries_and_line_types_are_looked_at_where_an_sms_may_go() -> None:
    world = ProcessWorld(phones=PhoneRules(countries=frozenset({"FR"})))
    await world.add_type()
    await world.add_type("mail", [(MAIL, 1)])
    refused = await world.refusal(init())
    assert refused.kind is ErrorKind.INVALID_FIELDS
    assert list(refused.fields) == ["mobilePhone"]
    await world.start(init(phone="+33612345678"))
    await world.start(init("mail", phone=PHONE, email=EMAIL))
    assert (await world.refusal(init(phone="+33123456789"))).fields  # a fixed line


# Routes and providers.


async def test_routes_of_a_provider_that_is_down_are_passed_over() -> None:
    world = ProcessWorld(windows=replace(LIMITED, contact=((1, 60_000),)))
    await world.add_type(routes=[(SMS, 5), (MAIL, 5)])
    both = init(phone=PHONE, email=EMAIL)
    world.down = {SMS, MAIL}
    for _ in range(2):
        assert (await world.refusal(both)).kind is ErrorKind.OTP_DELIVERY_FAILED
    [foreseen] = await world.starts.handshake_many([handshake(both)])
    assert isinstance(foreseen, ProcessRefused)
    assert foreseen.kind is ErrorKind.OTP_DELIVERY_FAILED
    world.down = {SMS}
    assert (await world.refusal(init())).kind is ErrorKind.OTP_DELIVERY_FAILED
    [foreseen] = await world.starts.handshake_many([handshake(both)])
    assert isinstance(foreseen, HandshakeAnswer)
    assert foreseen.channel is MAIL
    assert (await world.start(both)).channel is MAIL


# The limits of a contact.


@pytest.mark.parametrize("together", [True, False])
async def test_100_inits_at_once_and_exactly_6_start(store: Store, together: bool) -> None:
    world = ProcessWorld(store=store, windows=LIMITED)
    await world.add_type()
    starts = [init()] * 100
    if together:
        outcomes = await world.starts.start_many(starts)
    else:
        outcomes = await at_once(world.starts.start_many, starts)
    assert Counter(kinds(outcomes)) == {"startanswer": 6, "rate_limited": 94}
    assert await world.starts_counted() == 6


async def test_every_spelling_of_a_contact_shares_its_windows() -> None:
    world = ProcessWorld(windows=replace(LIMITED, contact=((3, 60_000),)))
    await world.add_type(routes=[(SMS, 1), (MAIL, 1)])
    phones = ["+49 170 1234567", "0049-170-1234567", "\uff0b\uff14\uff19 170/1234567", PHONE]
    emails = ["Person@Example.com", " person@example.com", "PERSON@EXAMPLE.COM", EMAIL]
    for starts in ([init(phone=p) for p in phones], [init(email=e) for e in emails]):
        outcomes = await world.starts.start_many(starts)
        assert kinds(outcomes) == ["startanswer"] * 3 + ["rate_limited"]


async def test_the_windows_are_of_a_type_and_a_contact_and_a_tenant() -> None:
    world = ProcessWorld(windows=replace(LIMITED, contact=((1, 60_000),)))
    await world.add_type()
    await world.add_type("payment")
    await world.add_type(tenant="other")
    await world.start()
    await world.start(init("payment"))
    await world.start(init(phone=OTHER_PHONE))
    await world.start(init(tenant="other"))
    assert kinds(await world.starts.start_many([init(), init("payment")])) == ["rate_limited"] * 2


async def test_both_contacts_are_charged_when_routes_can_use_them() -> None:
    world = ProcessWorld(windows=replace(LIMITED, contact=((1, 60_000),)))
    await world.add_type("both", [(SMS, 1), (MAIL, 1)])
    await world.add_type("phone", [(SMS, 1)])
    await world.start(init("both", phone=PHONE, email=EMAIL))
    await world.start(init("phone", phone=PHONE, email=EMAIL))
    outcomes = await world.starts.start_many(
        [
            init("both", email=EMAIL),
            init("both", phone=OTHER_PHONE, email=EMAIL),
            init("both", phone=OTHER_PHONE),  # the refused call before it has charged nothing
            init("phone", phone=OTHER_PHONE, email=EMAIL),  # the e-mail is of no use here
        ]
    )
    assert kinds(outcomes) == ["rate_limited"] * 2 + ["startanswer"] * 2


async def test_the_three_windows_and_when_they_let_in_again(mock_clock: MockClock) -> None:
    world = ProcessWorld(windows=LIMITED)
    await world.add_type()
    waits: list[int] = []
    violated: list[tuple[str, ...]] = []
    for _ in range(25):
        [outcome] = await world.starts.start_many([init()])
        while isinstance(outcome, ProcessRefused):
            waits.append(outcome.retry_after_ms)
            violated.append(outcome.violated)
            [foreseen] = await world.starts.handshake_many([handshake(init())])
            assert foreseen == outcome  # the handshake says the same
            mock_clock.jump((outcome.retry_after_ms - 1) / 1000)
            assert (await world.refusal(init())).retry_after_ms == 1  # and did not put it off
            mock_clock.jump(1 / 1000)
            [outcome] = await world.starts.start_many([init()])
    minute, hour, day = "contact-60", "contact-3600", "contact-86400"
    assert violated == [(minute,), (minute,), (minute, hour), (minute, hour, day)]
    assert waits == [60_000, 60_000, 3_480_000, 86_400_000 - 3_600_000]


async def test_what_is_left_is_told(mock_clock: MockClock) -> None:
    world = ProcessWorld(windows=replace(LIMITED, everybody=((9, 1000),), tenant=((50, 60_000),)))
    await world.add_type(routes=[(SMS, 1), (MAIL, 1)])
    await world.start(init(email=EMAIL))
    mock_clock.jump(10)
    answer = await world.start(init(phone=PHONE, email=EMAIL))
    left = {quota.policy: quota for quota in answer.quotas or ()}
    assert left["contact-60"] == Quota("contact-60", 6, 60_000, 4, 50_000)  # the tighter contact
    assert left["contact-86400"].remaining == 22
    assert left["tenant-60"].remaining == 48
    assert not [policy for policy in left if policy.startswith("everybody")]
    for n in range(8):
        await world.start(init(phone=f"+4917012345{n:02}"))
    refused = await world.refusal(init(phone=OTHER_PHONE))
    assert refused.violated == ("everybody-1",)
    assert "everybody-1" in {quota.policy for quota in refused.quotas or ()}


async def test_a_refused_call_of_a_contact_is_in_the_trail_once_a_second(
    mock_clock: MockClock,
) -> None:
    world = ProcessWorld(windows=LIMITED)
    await world.add_type()
    await world.starts.start_many([init()] * 1000)
    await world.upkeep.flush_hits()
    assert await world.trail("otp.limit") == [("client:client", "contact-60", "refused:994")]


# Across restarts.


async def test_the_windows_survive_a_restart(mock_clock: MockClock, store: Store) -> None:
    before = ProcessWorld(store=store, windows=LIMITED)
    await before.add_type(routes=[(SMS, 1), (MAIL, 1)])
    for phone, email in ((PHONE, EMAIL), (PHONE, None), (PHONE, None)) * 2:
        mock_clock.jump(1)
        await before.start(init(phone=phone, email=email))
    waits = [(await before.refusal(init())).retry_after_ms]
    after = ProcessWorld(store=store, windows=LIMITED)
    assert await after.starts.restore() == 8  # two contacts are two records
    waits.append((await after.refusal(init())).retry_after_ms)
    assert waits == [55_000, 55_000]
    outcomes = await after.starts.start_many([init(email=EMAIL)] * 5)
    assert kinds(outcomes) == ["startanswer"] * 4 + ["rate_limited"]


async def test_starts_of_a_future_the_clock_left_count_from_now(mock_clock: MockClock) -> None:
    store = MemoryStore()
    before = ProcessWorld(store=store, windows=LIMITED)
    before.clock.shift_ms = 3 * 86_400_000
    await before.add_type()
    for _ in range(6):
        await before.start()
    after = ProcessWorld(store=store, windows=LIMITED)
    await after.starts.restore()
    assert (await after.refusal(init())).retry_after_ms == 60_000
    mock_clock.jump(60)
    await after.start()
