"""Starts in the store: charged before, given back when nothing began, repeated (37, 41, 69, 71)."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import MockClock

from otp_server.domain.challenge_type import ChallengeRoute, ChallengeType, CodeType
from otp_server.domain.contact import PhoneRules
from otp_server.domain.process import Entity
from otp_server.domain.process_outcome import (
    Accepted,
    HandshakeAnswer,
    StartAnswer,
    Wrong,
)
from otp_server.errors import ErrorKind, StoreUnavailable
from otp_server.services.starts import Handshake, Start
from otp_server.stores.memory import MemoryStore
from tests.support.changed_values import replace
from tests.support.process_world import (
    CONTRACT,
    EMAIL,
    MAIL,
    OPERATOR,
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
    from collections.abc import Sequence

    from otp_server.services.ports import Store
    from otp_server.services.ports.processes import (
        ClaimRefusal,
        IdempotencyClaim,
        NewProcess,
        Started,
        StartOutcome,
    )

LIMITED = replace(UNLIMITED, contact=CONTRACT)


def handshake(start: Start) -> Handshake:
    fields = ("tenant", "client_id", "address", "type_name", "phone", "email", "entities")
    return Handshake(**{name: getattr(start, name) for name in fields})


# Reserve, act, refund.


class Gated(MemoryStore):
    """Lets a test stop or fail a start."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = trio.Event()
        self.go_on = trio.Event()
        self.waits = self.fails = self.holds_recall = False
        self.recalls = 0
        self.before_each: list[ChallengeType] = []

    async def recall_starts(
        self, batch: Sequence[tuple[str, IdempotencyClaim]], now_ms: int
    ) -> list[Started | ClaimRefusal | None]:
        self.recalls += 1
        if self.holds_recall:
            self.asked.set()
            await trio.sleep_forever()
        return await super().recall_starts(batch, now_ms)

    async def start_processes(self, batch: Sequence[NewProcess]) -> list[StartOutcome]:
        if self.fails:
            raise StoreUnavailable("the disk is full")
        if self.waits:
            self.asked.set()
            await self.go_on.wait()
        if self.before_each:
            await self.save_setting(self.before_each.pop(0), OPERATOR)
        return await super().start_processes(batch)


ONCE = replace(LIMITED, contact=((1, 60_000),))


async def test_a_store_that_fails_charges_nothing() -> None:
    store = Gated()
    world = ProcessWorld(store=store, windows=ONCE)
    await world.add_type()
    store.fails = True
    assert kinds(await world.starts.start_many([init(), init("nothing")])) == [
        "unavailable",
        "type_not_found",
    ]
    store.fails = False
    await world.start()


async def test_a_store_that_does_not_answer_is_given_up_and_the_charge_stays(
    autojump_clock: MockClock,
) -> None:
    store = Gated()
    world = ProcessWorld(store=store, windows=ONCE)
    await world.add_type()
    store.waits = True
    assert (await world.refusal(init())).kind is ErrorKind.UNAVAILABLE
    store.waits = False
    assert (await world.refusal(init())).kind is ErrorKind.RATE_LIMITED  # it may have started


async def test_a_store_that_is_closed_answers_unavailable() -> None:
    world = ProcessWorld()
    await world.store.aclose()
    assert kinds(await world.starts.start_many([init()])) == ["unavailable"]
    assert kinds(await world.starts.handshake_many([handshake(init())])) == ["unavailable"]


async def test_a_leaving_client_leaves_no_charge_without_a_process() -> None:
    store = Gated()
    world = ProcessWorld(store=store, windows=ONCE)
    await world.add_type()
    store.waits = True
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.starts.start_many, [init()])
        await store.asked.wait()
        nursery.cancel_scope.cancel()
        store.go_on.set()
    assert await world.starts_counted() == 1
    assert (await world.refusal(init())).kind is ErrorKind.RATE_LIMITED


async def test_who_left_before_leaves_no_charge_without_a_process_either() -> None:
    world = ProcessWorld(windows=ONCE)
    await world.add_type()
    await world.start(init(phone=OTHER_PHONE))  # the plan is in the cache now
    with trio.CancelScope() as left:
        left.cancel()
        await world.starts.start_many([init()])
    assert (await world.refusal(init())).kind is ErrorKind.RATE_LIMITED
    assert await world.starts_counted() == 2


# Settings that change.


async def test_a_process_keeps_the_settings_it_began_with() -> None:
    world = ProcessWorld()
    kind = await world.add_type(max_attempts=2)
    uuid = (await world.start()).uuid
    changed = replace(kind, code_type=CodeType.ALPHABETIC, code_length=8, max_attempts=1)
    await world.store.save_setting(changed, OPERATOR)
    assert isinstance(await world.try_wrong(uuid), Wrong)
    code = await world.code_of(uuid)
    assert (len(code), code.isdecimal()) == (6, True)
    assert isinstance(await world.try_right(uuid), Accepted)
    world.plans.forget_tenant(TENANT)
    code = await world.code_of((await world.start()).uuid)
    assert (len(code), code.isalpha()) == (8, True)


async def test_an_old_plan_is_loaded_again_and_charged_once() -> None:
    store = Gated()
    world = ProcessWorld(store=store, windows=ONCE)
    kind = await world.add_type(ttl=100)
    await world.start(init(phone=OTHER_PHONE))  # the plan is in the cache now
    store.before_each = [replace(kind, version=version, ttl=100 + version) for version in (1, 2, 3)]
    uuid = (await world.start()).uuid
    assert (await world.process(uuid)).plan.ttl == 103
    assert await world.starts_counted() == 2
    assert (await world.refusal(init())).kind is ErrorKind.RATE_LIMITED


async def test_settings_that_change_all_the_time_end_in_a_refusal_without_a_charge() -> None:
    store = Gated()
    world = ProcessWorld(store=store, windows=ONCE)
    kind = await world.add_type()
    store.before_each = [replace(kind, version=version) for version in (1, 2, 3, 4)]
    assert (await world.refusal(init())).kind is ErrorKind.UNAVAILABLE
    await world.start()


async def test_a_type_deleted_meanwhile_is_not_there() -> None:
    world = ProcessWorld()
    kind = await world.add_type(routes=[])
    await world.add_type("other", routes=[(SMS, 1)])
    assert (await world.refusal(init())).kind is ErrorKind.INVALID_FIELDS
    await world.store.delete_setting(ChallengeType, TENANT, kind.id, OPERATOR, 0)
    world.plans.forget(TENANT, "login")
    assert (await world.refusal(init())).kind is ErrorKind.TYPE_NOT_FOUND


# Idempotency.


async def test_a_repeated_init_gives_the_first_answer_and_charges_once(store: Store) -> None:
    world = ProcessWorld(store=store, windows=replace(LIMITED, contact=((2, 60_000),)))
    await world.add_type(routes=[(SMS, 1), (MAIL, 1)])
    first = await world.start(init(claim_key="key"))
    spelled = init(phone="0049 170 1234567", claim_key='"key"')
    again = [await world.start(each) for each in (init(claim_key="key"), spelled)]
    assert {answer.uuid for answer in again} == {first.uuid}
    assert [answer.replayed for answer in (first, *again)] == [False, True, True]
    assert {answer.channel for answer in (first, *again)} == {SMS}
    assert await world.starts_counted() == 1
    after = ProcessWorld(store=store)  # it survives a restart
    assert (await after.start(init(claim_key="key"))).uuid == first.uuid
    await world.start()  # and the one charge left is there


async def test_a_repetition_is_answered_although_the_limits_are_full(store: Store) -> None:
    world = ProcessWorld(store=store, windows=replace(LIMITED, contact=((1, 60_000),)))
    await world.add_type()
    first = await world.start(init(claim_key="key"))
    again = await world.start(init(claim_key="key"))
    assert (again.uuid, again.channel, again.replayed) == (first.uuid, first.channel, True)
    other, fresh = await world.starts.start_many(
        [init(claim_key="key", entities=(Entity("client", "1"),)), init(claim_key="new")]
    )
    assert kinds([other, fresh]) == ["idempotency_mismatch", "rate_limited"]
    assert await world.starts_counted() == 1


async def test_a_repeated_init_is_answered_though_the_limits_are_used_up(store: Store) -> None:
    world = ProcessWorld(store=store, windows=ONCE)
    await world.add_type()
    first = await world.start(init(claim_key="key"))
    batch = [init(), init(claim_key="key"), init(claim_key="other"), init(phone=OTHER_PHONE)]
    batch.append(init(claim_key="key", entities=(Entity("client", "1"),)))
    outcomes = await world.starts.start_many(batch)
    assert kinds(outcomes) == [
        "rate_limited",
        "startanswer",
        "rate_limited",
        "startanswer",
        "idempotency_mismatch",
    ]
    again = outcomes[1]
    assert isinstance(again, StartAnswer)
    assert (again.uuid, again.channel, again.replayed) == (first.uuid, SMS, True)
    assert await world.starts_counted() == 2


@pytest.mark.parametrize("meanwhile", ["provider down", "no route", "other name", "refused"])
async def test_a_repeated_init_is_answered_whatever_changed_meanwhile(
    store: Store, meanwhile: str
) -> None:
    world = ProcessWorld(store=store)
    kind = await world.add_type()
    first = await world.start(init(claim_key="key"))
    word = "otp_delivery_failed"
    if meanwhile == "provider down":
        world.down = {SMS}
    elif meanwhile == "refused":
        word = "invalid_fields"
        world = ProcessWorld(store=store, phones=PhoneRules(frozenset({"FR"})))
    else:
        word = "invalid_fields"
        for route in await store.list_settings(ChallengeRoute, TENANT, limit=9, offset=0):
            await store.delete_setting(ChallengeRoute, TENANT, route.id, OPERATOR, 0)
        if meanwhile == "other name":
            word = "type_not_found"
            await store.save_setting(replace(kind, name="other"), OPERATOR)
        world.plans.forget_tenant(TENANT)
    again = await world.start(init(claim_key="key"))
    assert (again.uuid, again.channel, again.replayed) == (first.uuid, first.channel, True)
    others = [init(), init(claim_key="new"), init(claim_key="key", phone=OTHER_PHONE)]
    assert kinds(await world.starts.start_many(others)) == [word, word, "idempotency_mismatch"]
    assert await world.starts_counted() == 1


async def test_what_was_declined_is_looked_up_together_and_only_with_a_key() -> None:
    store = Gated()
    world = ProcessWorld(store=store, windows=ONCE)
    kind = await world.add_type()
    await world.start(init(claim_key="key"))
    store.recalls = 0
    store.before_each = [replace(kind, version=version) for version in (1, 2)]
    mismatch = init(claim_key="key", phone=OTHER_PHONE)  # told by the start, not looked up
    new = init(claim_key="new")
    batch = [init(), init(claim_key="key"), init(claim_key="key", email="@"), mismatch, new]
    assert kinds(await world.starts.start_many(batch)) == [
        "rate_limited",
        "startanswer",
        "invalid_fields",
        "idempotency_mismatch",
        "rate_limited",
    ]
    assert store.recalls == 1


async def test_a_code_lives_no_longer_than_the_installation_allows_now() -> None:
    """A type that was made before ``rest.strict`` is held to it too."""
    world = ProcessWorld(ttl_max_s=600)
    await world.add_type(ttl=3600)
    [told] = await world.starts.handshake_many([handshake(init())])
    assert isinstance(told, HandshakeAnswer)
    assert told.available_in_s == 600
    process = await world.process((await world.start()).uuid)
    assert process.expires_at_ms - process.created_at_ms == 600_000


async def test_the_store_is_waited_for_until_the_callers_deadline(
    autojump_clock: MockClock,
) -> None:
    store = Gated()
    world = ProcessWorld(store=store, windows=ONCE)
    await world.add_type()
    store.waits = True
    begun = trio.current_time()
    with trio.move_on_after(2):
        await world.starts.start_many([init()])
    assert trio.current_time() - begun == pytest.approx(2)
    store.waits = False
    assert (await world.refusal(init())).kind is ErrorKind.RATE_LIMITED  # it may have started


async def test_who_leaves_while_a_repetition_is_looked_up_owes_nothing() -> None:
    store = Gated()
    world = ProcessWorld(store=store, windows=ONCE)
    await world.add_type()
    await world.start()
    store.holds_recall = True
    async with trio.open_nursery() as nursery:
        batch = [init(phone=OTHER_PHONE), init(claim_key="key")]
        nursery.start_soon(world.starts.start_many, batch)
        await store.asked.wait()
        nursery.cancel_scope.cancel()
    assert await world.starts_counted() == 2  # what was charged was started


async def test_one_key_at_once_is_one_process(store: Store) -> None:
    world = ProcessWorld(store=store)
    await world.add_type()
    outcomes = await at_once(world.starts.start_many, [init(claim_key="key")] * 50)
    uuids = {outcome.uuid for outcome in outcomes if isinstance(outcome, StartAnswer)}
    assert len(uuids) == 1
    assert Counter(getattr(outcome, "replayed", None) for outcome in outcomes) == {
        False: 1,
        True: 49,
    }


@pytest.mark.parametrize(
    "other",
    [
        {"phone": OTHER_PHONE},
        {"phone": PHONE, "email": EMAIL},
        {"email": EMAIL},
        {"type_name": "payment"},
        {"entities": (Entity("client", "1"),)},
        {"entities": (Entity("c", "lient1"),)},
    ],
)
async def test_a_key_used_for_something_else_is_a_mismatch(other: dict[str, object]) -> None:
    world = ProcessWorld()
    await world.add_type(routes=[(SMS, 1), (MAIL, 1)])
    await world.add_type("payment", routes=[(SMS, 1), (MAIL, 1)])
    await world.start(init(claim_key="key", entities=(Entity("cl", "ient1"),)))
    refused = await world.refusal(init(**{"claim_key": "key", **other}))
    assert refused.kind is ErrorKind.IDEMPOTENCY_MISMATCH
    assert await world.starts_counted() == 1


async def test_a_key_is_of_a_tenant_and_a_client() -> None:
    world = ProcessWorld()
    await world.add_type()
    await world.add_type(tenant="other")
    uuids = {
        (await world.start(init(claim_key="key", **own))).uuid
        for own in ({}, {"client_id": "another"}, {"tenant": "other"})
    }
    assert len(uuids) == 3


async def test_a_claim_ends(mock_clock: MockClock) -> None:
    world = ProcessWorld()
    await world.add_type()
    first = await world.start(init(claim_key="key"))
    mock_clock.jump(86_399)
    assert (await world.start(init(claim_key="key"))).uuid == first.uuid
    mock_clock.jump(1)
    assert (await world.start(init(claim_key="key"))).uuid != first.uuid


async def test_one_batch_answers_each_item_for_itself() -> None:
    world = ProcessWorld(windows=replace(LIMITED, contact=((1, 60_000),)))
    await world.add_type()
    batch = [init("nothing"), init(), init(), init(phone="?"), init(phone=OTHER_PHONE)]
    assert kinds(await world.starts.start_many(batch)) == [
        "type_not_found",
        "startanswer",
        "rate_limited",
        "invalid_fields",
        "startanswer",
    ]
