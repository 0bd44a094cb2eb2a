"""The port's sentences about starting, ending and forgetting OTP processes (10, 19, 21, 69, 71)."""

from __future__ import annotations

import pytest
import trio

from otp_server.domain.audit import Actor
from otp_server.domain.challenge_type import Plan
from otp_server.domain.process import Entity, FailureReason, Process, ProcessStatus, RouteStatus
from otp_server.errors import AlreadyExists
from otp_server.services.ports import Store
from otp_server.services.ports.processes import (
    AttemptRefusal,
    ClaimRefusal,
    IdempotencyClaim,
    Settled,
    StalePlan,
    Started,
    StartOutcome,
)
from tests.contracts.rest_samples import (
    BOTH,
    CALLER,
    EMAIL,
    SMS,
    T0,
    TENANT,
    TTL,
    claim,
    contact,
    count,
    counted,
    found,
    lease,
    new_process,
    phone,
    plan,
    query,
    settle,
    start,
    states,
    trail,
    uuid,
    wrong,
)
from tests.contracts.setting_samples import ADMIN, challenge_type
from tests.support.changed_values import replace

SUPERSEDED = (ProcessStatus.FAILED, FailureReason.SUPERSEDED)
EXHAUSTED = (ProcessStatus.FAILED, FailureReason.EXHAUSTED)


async def how(store: Store, n: int) -> tuple[ProcessStatus, FailureReason | None]:
    process = await found(store, n)
    return process.status, process.failure


# Starting.


async def test_a_process_keeps_all_it_was_started_with(store: Store) -> None:
    of = Plan(**{**plan_fields(BOTH), "type_name": "Ein Typ ✓"})
    entities = (Entity("client", "338"), Entity("lead", "ü:1"), Entity("client", "338"))
    item = new_process(1, of=of, to=1, mail=2, at=5, entities=entities, key_id="k-9")
    assert await store.start_processes([item]) == [Started(uuid(1), of, 0)]
    process = await found(store, 1)
    assert process == Process(
        id=process.id,
        uuid=uuid(1),
        tenant=TENANT,
        plan=of,
        status=ProcessStatus.NEW,
        failure=None,
        phone=contact(SMS, 1),
        email=contact(EMAIL, 2),
        address=CALLER.address,
        entities=entities,
        attempts=0,
        key_id="k-9",
        generation=1,
        route=0,
        route_status=RouteStatus.NEW,
        route_attempts=0,
        created_at_ms=T0 + 5,
        updated_at_ms=T0 + 5,
        expires_at_ms=T0 + 5 + TTL,
    )
    assert isinstance(process.entities, tuple)
    assert await states(store, 1) == ["queued"]


def plan_fields(of: Plan) -> dict[str, object]:
    return {name: getattr(of, name) for name in Plan.__slots__}


async def test_a_process_may_have_one_contact_and_no_address(store: Store) -> None:
    await start(store, replace(new_process(1, to=None, mail=1, of=BOTH), actor=Actor("client:x")))
    process = await found(store, 1)
    assert (process.phone, process.email) == (None, contact(EMAIL, 1))
    assert (process.address, process.route, process.entities) == (None, 1, ())


async def test_ids_grow_and_are_never_used_again(store: Store) -> None:
    await start(store, new_process(1), new_process(2, to=2))
    second = await found(store, 2)
    assert (await found(store, 1)).id < second.id
    await store.sweep_processes(T0, forget_before_ms=T0 + 1)
    assert await store.find_process(TENANT, uuid(2)) is None
    await start(store, new_process(3, at=1))
    assert (await found(store, 3)).id > second.id


@pytest.mark.parametrize("twice", [[1, 2, 2], [3, 1]])
async def test_a_uuid_is_used_once_and_its_batch_starts_nothing(
    store: Store, twice: list[int]
) -> None:
    await start(store, new_process(3, to=3))
    with pytest.raises(AlreadyExists, match="uuid") as refused:
        await store.start_processes([new_process(n, to=n) for n in twice])
    assert refused.value.what == "uuid"
    hits = await store.search_processes(query())
    assert [process.uuid for process, _ in hits] == [uuid(3)]
    assert await lease(store, EMAIL) == []
    assert len(await lease(store)) == 1


async def test_a_plan_of_older_settings_is_stale_and_starts_nothing(store: Store) -> None:
    await start(store, new_process(1))
    stored = await store.add_setting(challenge_type(tenant=TENANT), ADMIN)
    version, _ = await store.load_plan(TENANT, stored.name)
    batch = [new_process(2, at=1, claim=claim()), new_process(3, at=1, version=version)]
    assert await store.start_processes(batch) == [StalePlan.STALE, Started(uuid(3), plan(), 0)]
    assert await store.find_process(TENANT, uuid(2)) is None
    again = new_process(4, at=1, version=version, claim=claim())
    assert await store.start_processes([again]) == [Started(uuid(4), plan(), 0)]  # not taken


async def test_a_start_of_a_foreign_contact_is_a_bug_of_the_caller(store: Store) -> None:
    for wrong_one in (
        replace(new_process(1), counted_indexes=(phone(2),)),
        replace(new_process(1, of=BOTH), route=1),
    ):
        with pytest.raises(ValueError, match="contact"):
            await store.start_processes([new_process(2, to=2), wrong_one])
    assert await store.search_processes(query()) == []


async def test_another_tenants_settings_make_no_plan_old(store: Store) -> None:
    await store.add_setting(challenge_type(tenant="other"), ADMIN)
    batch = [new_process(1), new_process(2, tenant="other"), new_process(3, to=3)]
    assert await store.start_processes(batch) == [
        Started(uuid(1), plan(), 0),
        StalePlan.STALE,
        Started(uuid(3), plan(), 0),
    ]
    theirs = new_process(2, tenant="other", version=1)
    assert await store.start_processes([theirs]) == [Started(uuid(2), plan(), 0)]


# Superseding.


async def test_a_newer_process_supersedes_the_open_one(store: Store) -> None:
    await start(store, new_process(1))
    await start(store, new_process(2, at=7))
    assert await how(store, 1) == SUPERSEDED
    assert (await found(store, 1)).updated_at_ms == T0 + 7
    assert await how(store, 2) == (ProcessStatus.NEW, None)
    assert await states(store, 1) == ["void"]
    assert [message.uuid for message in await lease(store, at=7)] == [uuid(2)]
    assert await count(store, 1, at=7) is AttemptRefusal.SUPERSEDED


async def test_within_a_batch_too(store: Store) -> None:
    await start(store, new_process(1), new_process(2), new_process(3))
    assert [await how(store, n) for n in (1, 2)] == [SUPERSEDED] * 2
    assert [message.uuid for message in await lease(store)] == [uuid(3)]


async def test_one_contact_in_common_is_enough(store: Store) -> None:
    await start(store, new_process(1, of=BOTH, to=1, mail=1), new_process(2, of=BOTH, to=2, mail=2))
    await start(store, new_process(3, of=BOTH, to=1, mail=2))
    assert [await how(store, n) for n in (1, 2)] == [SUPERSEDED] * 2
    await start(store, new_process(4, of=BOTH, to=None, mail=2))
    assert await how(store, 3) == SUPERSEDED


async def test_another_contact_type_or_tenant_is_not_superseded(store: Store) -> None:
    await start(
        store,
        new_process(1),
        new_process(2, to=2),
        new_process(3, of=plan(type_id=2)),
        new_process(4, tenant="other"),
        new_process(5, of=plan(EMAIL), to=None, mail=1),
    )
    for n, tenant in ((1, TENANT), (2, TENANT), (3, TENANT), (4, "other"), (5, TENANT)):
        assert (await found(store, n, tenant)).status is ProcessStatus.NEW


async def test_a_contact_that_gets_no_code_supersedes_nothing(store: Store) -> None:
    """Whoever knows somebody's address cannot end their processes of a type that sends no mail."""
    by_phone = [
        replace(new_process(n, to=n, mail=1), counted_indexes=(phone(n),)) for n in range(1, 4)
    ]
    await start(store, *by_phone)
    assert [await how(store, n) for n in (1, 2, 3)] == [(ProcessStatus.NEW, None)] * 3
    await start(store, new_process(4, to=3, mail=1))
    assert [await how(store, n) for n in (1, 2, 3)] == [(ProcessStatus.NEW, None)] * 2 + [
        SUPERSEDED
    ]


async def test_what_counted_a_contact_is_found_below_what_did_not(store: Store) -> None:
    """The type lost its mail route for a while."""
    await start(store, new_process(1, of=BOTH, mail=1))
    await start(store, replace(new_process(2, to=2, mail=1), counted_indexes=(phone(2),)))
    await start(store, new_process(3, of=BOTH, to=3, mail=1))
    assert [await how(store, n) for n in (1, 2)] == [SUPERSEDED, (ProcessStatus.NEW, None)]


async def test_what_ended_otherwise_is_not_superseded(store: Store) -> None:
    await start(store, new_process(1), new_process(2, to=2, ttl=10))
    assert await settle(store, await counted(store, 1), right=True) is Settled.ACCEPTED
    await start(store, new_process(3), new_process(4, to=2, at=10))
    assert await how(store, 1) == (ProcessStatus.ACCEPTED, None)
    assert await how(store, 2) == (ProcessStatus.EXPIRED, None)
    assert await states(store, 2) == ["void"]


async def test_the_end_of_the_last_attempt_meets_the_newer_process(store: Store) -> None:
    await start(store, new_process(1))
    late = await counted(store, 1)
    await start(store, new_process(2))
    assert await settle(store, late, right=True) is Settled.LATE
    assert await how(store, 1) == SUPERSEDED
    assert await how(store, 2) == (ProcessStatus.NEW, None)


async def test_an_open_process_of_each_contact_is_the_newest(store: Store) -> None:
    """A hundred starts at once: one is open in the end, and it is the last one."""

    async def one(n: int) -> None:
        await start(store, new_process(n))

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            for n in range(100):
                nursery.start_soon(one, n)
    hits = [process for process, _ in await store.search_processes(query(limit=1000))]
    assert [process.status.is_open for process in hits] == [True] + [False] * 99
    assert len(await lease(store)) == 1


async def test_another_tenant_finds_nothing(store: Store) -> None:
    await start(store, new_process(1))
    assert await store.find_process("other", uuid(1)) is None
    assert await count(store, 1, tenant="other") is AttemptRefusal.NOT_FOUND
    assert await count(store, 2) is AttemptRefusal.NOT_FOUND
    assert await store.search_processes(query(tenant="other")) == []


# Claims of starts.


async def test_a_repeated_start_gives_the_first_answer(store: Store) -> None:
    keyed = claim(operation="init")
    await start(store, new_process(1, of=BOTH, to=1, mail=1, claim=keyed))
    await wrong(store, 1)  # moves on to the second route; the answer named the first
    again = new_process(2, of=plan(type_id=7), to=5, at=9, claim=keyed, version=99)
    before = await trail(store)
    assert await store.start_processes([again]) == [Started(uuid(1), BOTH, 0, replayed=True)]
    assert await store.find_process(TENANT, uuid(2)) is None
    assert await store.search_processes(query(type_id=7)) == []
    assert await trail(store) == [*before, ("otp.init", "replayed")]


async def test_two_of_one_batch_are_one_start(store: Store) -> None:
    keyed = claim(operation="init")
    batch = [new_process(n, claim=keyed) for n in (1, 2)]
    assert await store.start_processes(batch) == [
        Started(uuid(1), plan(), 0),
        Started(uuid(1), plan(), 0, replayed=True),
    ]


async def test_a_hundred_repetitions_at_once_are_one_start(store: Store) -> None:
    keyed = claim(operation="init")
    outcomes: list[StartOutcome] = []

    async def one(n: int) -> None:
        outcomes.extend(await store.start_processes([new_process(n, claim=keyed)]))

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            for n in range(100):
                nursery.start_soon(one, n)
    assert len(await store.search_processes(query())) == 1
    [(process, _)] = await store.search_processes(query())
    assert outcomes.count(Started(process.uuid, plan(), 0)) == 1
    assert outcomes.count(Started(process.uuid, plan(), 0, replayed=True)) == 99


async def test_a_key_used_for_something_else_is_refused(store: Store) -> None:
    await start(store, new_process(1, claim=claim(asks="this", operation="init")))
    other = new_process(2, claim=claim(asks="that", operation="init"))
    assert await store.start_processes([other]) == [ClaimRefusal.MISMATCH]
    assert await how(store, 1) == (ProcessStatus.NEW, None)


@pytest.mark.parametrize("field", ["client_id", "operation", "key", "tenant"])
async def test_another_caller_operation_or_key_is_another_call(store: Store, field: str) -> None:
    keyed = claim(operation="init")
    await start(store, new_process(1, claim=keyed))
    second = new_process(2, claim=keyed)
    if field == "tenant":
        second = replace(second, tenant="other")
    else:
        second = replace(second, claim=replace(keyed, **{field: "another"}))
    assert await store.start_processes([second]) == [Started(uuid(2), plan(), 0)]


@pytest.mark.parametrize(("at", "replayed"), [(99, True), (100, False)])
async def test_a_claim_is_kept_until_its_end(store: Store, at: int, *, replayed: bool) -> None:
    keyed = claim(operation="init", until=100)
    await start(store, new_process(1, claim=keyed))
    again = new_process(2, at=at, claim=replace(keyed, expires_at_ms=T0 + 500))
    [outcome] = await store.start_processes([again])
    assert isinstance(outcome, Started)
    assert outcome.replayed is replayed
    third = new_process(3, at=at, claim=keyed)
    winner = uuid(1) if replayed else uuid(2)
    assert await store.start_processes([third]) == [Started(winner, plan(), 0, replayed=True)]


async def test_an_earlier_answer_can_be_recalled_without_a_start(store: Store) -> None:
    keyed = claim(operation="init", until=100)

    async def recall(tenant: str, asked: IdempotencyClaim, at_ms: int) -> object:
        [answer] = await store.recall_starts([(tenant, asked)], at_ms)
        return answer

    assert await recall(TENANT, keyed, T0) is None
    await start(store, new_process(1, of=BOTH, mail=1, claim=keyed))
    await wrong(store, 1)  # on its second route now; the answer named the first
    before = await trail(store)
    earlier = Started(uuid(1), BOTH, 0, replayed=True)
    assert await recall(TENANT, keyed, T0 + 99) == earlier
    other = replace(keyed, fingerprint=b"that")
    assert await recall(TENANT, other, T0 + 99) is ClaimRefusal.MISMATCH
    assert await recall(TENANT, keyed, T0 + 100) is None
    assert await recall("other", keyed, T0) is None
    assert await recall(TENANT, replace(keyed, key="other"), T0) is None
    both = [("other", keyed), (TENANT, other), (TENANT, keyed)]
    answers = [None, ClaimRefusal.MISMATCH, earlier]
    assert await store.recall_starts(both, T0) == answers
    assert await store.recall_starts([], T0) == []
    assert await trail(store) == before
    await store.sweep_processes(T0, forget_before_ms=T0 + 1)
    assert await recall(TENANT, keyed, T0) is None
