"""The port's sentences about the journal of starts, keys in use, sweeps and forgetting (10)."""

from __future__ import annotations

import pytest

from otp_server.domain.budget import CLAIM_PATIENCE_MS
from otp_server.domain.process import FailureReason, ProcessStatus, RouteStatus
from otp_server.services.ports import Store
from otp_server.services.ports.processes import (
    AttemptRefusal,
    Settled,
    Started,
    StartRecord,
)
from tests.contracts.rest_samples import (
    BOTH,
    T0,
    TENANT,
    claim,
    client,
    count,
    counted,
    email,
    found,
    lease,
    new_process,
    phone,
    plan,
    query,
    settle,
    start,
    states,
    uuid,
    wrong,
)
from tests.support.changed_values import replace

EXHAUSTED = (ProcessStatus.FAILED, FailureReason.EXHAUSTED)


async def how(store: Store, n: int) -> tuple[ProcessStatus, FailureReason | None]:
    process = await found(store, n)
    return process.status, process.failure


async def test_starts_come_oldest_first_and_strictly_after(store: Store) -> None:
    await start(store, new_process(1, of=BOTH, mail=2, at=20))
    await start(store, replace(new_process(2, to=2, at=10), counted_indexes=()))
    await start(store, replace(new_process(3, of=BOTH, to=3, mail=3), counted_indexes=(email(3),)))
    await start(store, new_process(4, of=plan(type_id=2), tenant="other", at=10))
    both = [StartRecord(TENANT, 1, index, T0 + 20) for index in (phone(1), email(2))]
    other = StartRecord("other", 2, phone(1), T0 + 10)
    assert await store.starts_since(T0 - 1) == [StartRecord(TENANT, 1, email(3), T0), other, *both]
    assert await store.starts_since(T0) == [other, *both]
    assert await store.starts_since(T0 + 10) == both
    assert await store.starts_since(T0 + 20) == []


@pytest.mark.parametrize("limit", [1, 2, 3])
async def test_starts_come_in_pages_that_leave_none_out(store: Store, limit: int) -> None:
    ends = [(20, True), (10, True), (10, False), (10, True), (30, True)]  # by turns of the clock
    for n, (at, is_counted) in enumerate(ends):
        made = new_process(n, of=BOTH, to=n, mail=n, at=at)
        await start(store, made if is_counted else replace(made, counted_indexes=()))
    whole = await store.starts_since(T0)
    assert [each.index for each in whole[::2]] == [phone(n) for n in (1, 3, 0, 4)]
    seen: list[StartRecord] = []
    page = await store.starts_since(T0, limit=limit)
    while page:
        assert len(page) <= 2 * limit
        seen += page
        last = page[-1]
        page = await store.starts_since(last.at_ms, after_id=last.process_id, limit=limit)
    assert seen == whole


async def test_keys_are_in_use_while_a_code_is_good(store: Store) -> None:
    await start(
        store,
        new_process(1, key_id="a"),
        new_process(2, to=2, key_id="b", ttl=10),
        new_process(3, to=3, key_id="b", ttl=20),
        new_process(4, to=4, key_id="c"),
        new_process(5, to=4, key_id="d"),
    )
    assert await store.key_ids_in_use(T0) == {"a", "b", "d"}
    assert await store.key_ids_in_use(T0 + 19) == {"a", "b", "d"}
    assert await store.key_ids_in_use(T0 + 20) == {"a", "d"}
    assert await settle(store, await counted(store, 1), right=True) is Settled.ACCEPTED
    assert await store.key_ids_in_use(T0) == {"b", "d"}


async def test_a_sweep_ends_what_is_past_its_time(store: Store) -> None:
    await start(store, new_process(1, ttl=10), new_process(2, to=2, ttl=11))
    assert await store.sweep_processes(T0 + 9, forget_before_ms=0) == 0
    assert await store.sweep_processes(T0 + 10, forget_before_ms=0) == 1
    assert await how(store, 1) == (ProcessStatus.EXPIRED, None)
    assert (await found(store, 1)).updated_at_ms == T0 + 10
    assert await states(store, 1) == ["void"]
    assert await how(store, 2) == (ProcessStatus.NEW, None)
    assert await store.sweep_processes(T0 + 10, forget_before_ms=0) == 0


@pytest.mark.parametrize("late", [0, 1])
async def test_a_sweep_fails_what_a_crash_left_exhausted(store: Store, late: int) -> None:
    await start(store, new_process(1, of=plan(max_attempts=2)))
    await wrong(store, 1)
    await counted(store, 1, at=5)  # and its server dies
    assert await count(store, 1, at=6) is AttemptRefusal.EXHAUSTED
    swept = await store.sweep_processes(T0 + 4 + CLAIM_PATIENCE_MS + late, forget_before_ms=0)
    assert swept == late
    process = await found(store, 1)
    assert (process.status, process.failure) == (EXHAUSTED if late else (ProcessStatus.NEW, None))
    assert process.route_status is (RouteStatus.EXHAUSTED if late else RouteStatus.NEW)
    assert process.attempts == 2


async def test_a_sweep_moves_what_a_crash_left_on_a_used_up_route(store: Store) -> None:
    await start(store, new_process(1, of=BOTH, mail=1))
    await counted(store, 1)
    await store.sweep_processes(T0 + CLAIM_PATIENCE_MS, forget_before_ms=0)
    process = await found(store, 1)
    assert (process.generation, process.route, process.attempts) == (2, 1, 1)
    assert await states(store, 1) == ["void", "queued"]


async def test_a_sweep_leaves_attempts_that_are_still_compared(store: Store) -> None:
    await start(store, new_process(1, of=plan(max_attempts=2)))
    await counted(store, 1)
    young = await counted(store, 1, at=10)
    assert await store.sweep_processes(T0 + CLAIM_PATIENCE_MS, forget_before_ms=0) == 1
    assert await how(store, 1) == (ProcessStatus.NEW, None)
    assert await settle(store, young, right=True, at=CLAIM_PATIENCE_MS) is Settled.ACCEPTED


async def test_an_attempt_swept_and_then_settled_is_judged_as_it_is(store: Store) -> None:
    await start(store, new_process(1))
    slow = await counted(store, 1)
    await store.sweep_processes(T0 + CLAIM_PATIENCE_MS, forget_before_ms=0)
    assert await settle(store, slow, right=True, at=CLAIM_PATIENCE_MS) is Settled.ACCEPTED


async def test_a_forgotten_process_is_gone_with_all_of_its(store: Store) -> None:
    keyed = claim(operation="init")
    old = new_process(1, of=BOTH, mail=1, entities=(client(1),), claim=keyed)
    await start(store, old, new_process(2, of=BOTH, to=2, at=10, entities=(client(1),)))
    [message, _] = await lease(store, at=10)
    assert message.uuid == uuid(1)
    await counted(store, 1)
    assert await store.sweep_processes(T0 + 10, forget_before_ms=T0) == 0
    assert await store.sweep_processes(T0 + 10, forget_before_ms=T0 + 1) == 1
    assert await store.find_process(TENANT, uuid(1)) is None
    for wanted in (query(), query(client(1)), query(phone=phone(1)), query(email=email(1))):
        hits = [process.uuid for process, _ in await store.search_processes(wanted)]
        assert hits == [uuid(2)] * (wanted.phone_index is None and wanted.email_index is None)
    assert await store.starts_since(0) == [StartRecord(TENANT, 1, phone(2), T0 + 10)]
    assert await count(store, 1, at=10) is AttemptRefusal.NOT_FOUND
    assert await store.contact_failures(TENANT, phone(1)) == 1  # only success forgets them
    again = new_process(3, of=BOTH, to=1, mail=1, at=10, claim=keyed)
    assert await store.start_processes([again]) == [Started(uuid(3), BOTH, 0)]


async def test_a_sweep_is_bounded_and_gets_everything_in_the_end(store: Store) -> None:
    total = 2300
    for first in range(0, total, 500):
        many = range(first, min(first + 500, total))
        batch = [
            new_process(n, to=n, ttl=10, claim=claim(str(n), operation="init", until=10))
            for n in many
        ]
        await start(store, *batch)
    for how_many in (1000, 1000, 300, 0):  # ended, and as many claims
        assert await store.sweep_processes(T0 + 10, forget_before_ms=0) == 2 * how_many
    for how_many in (1000, 1000, 300, 0):
        assert await store.sweep_processes(T0, forget_before_ms=T0 + 1) == how_many
    assert await store.search_processes(query(limit=1)) == []


async def test_a_claim_past_its_end_is_forgotten(store: Store) -> None:
    await start(store, new_process(1, claim=claim(operation="init", until=10)))
    assert await store.sweep_processes(T0 + 9, forget_before_ms=0) == 0
    assert await store.sweep_processes(T0 + 10, forget_before_ms=0) == 1
