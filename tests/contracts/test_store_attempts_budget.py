"""The port's sentences about a contact's failures and repeated attempts (19, 20, 71)."""

from __future__ import annotations

import pytest
import trio
from msgspec import structs

from otp_server.domain.budget import CLAIM_PATIENCE_MS, FAILURES_MAX, WAIT_FROM, wait_after_ms
from otp_server.services.ports import Store
from otp_server.services.ports.processes import (
    AttemptRefusal,
    AttemptReplayed,
    AttemptWait,
    ClaimRefusal,
    Counted,
    CountOutcome,
    Settled,
)
from tests.contracts.rest_samples import (
    BOTH,
    CALLER,
    EMAIL,
    T0,
    TENANT,
    TTL,
    attempt,
    claim,
    count,
    counted,
    email,
    found,
    new_process,
    phone,
    plan,
    settle,
    start,
    trail,
    uuid,
    verdict,
    wrong,
)
from tests.support.changed_values import replace

MANY = plan(max_attempts=200, attempts=200)
"""So that the contact's budget is what ends."""
IN_FLIGHT, MISMATCH = ClaimRefusal.IN_FLIGHT, ClaimRefusal.MISMATCH


async def failures(store: Store, index: bytes) -> int:
    return await store.contact_failures(TENANT, index)


async def fail_times(store: Store, n: int, times: int) -> int:
    """So many wrong attempts, each as soon as it may be; the time after the last."""
    at = 0
    for _ in range(times):
        outcome = await count(store, n, at=at)
        if isinstance(outcome, AttemptWait):
            at += outcome.retry_after_ms
            outcome = await count(store, n, at=at)
        assert isinstance(outcome, Counted), outcome
        await settle(store, outcome, right=False, at=at)
    return at


# The budget of a contact.


async def test_each_attempt_counts_against_its_contact_at_once(store: Store) -> None:
    await start(store, new_process(1))
    assert await failures(store, phone(1)) == 0
    one = await counted(store, 1)
    assert await failures(store, phone(1)) == 1  # a crash now would not give it back
    await settle(store, one, right=False)
    assert await failures(store, phone(1)) == 1
    assert await failures(store, phone(2)) == 0
    assert await store.contact_failures("other", phone(1)) == 0


async def test_failures_add_up_over_processes_types_and_resends(store: Store) -> None:
    """Requirements 19 and 20."""
    await start(store, new_process(1))
    await wrong(store, 1)
    await start(store, new_process(2))
    await wrong(store, 2)
    await start(store, new_process(3, of=plan(type_id=2)))
    await wrong(store, 3)
    assert await failures(store, phone(1)) == 3


async def test_failures_are_of_the_contact_of_the_current_route(store: Store) -> None:
    await start(store, new_process(1, of=BOTH, to=1, mail=1))
    await wrong(store, 1)
    await wrong(store, 1)
    await wrong(store, 1)
    assert (await failures(store, phone(1)), await failures(store, email(1))) == (1, 2)
    await settle(store, await counted(store, 1), right=True)
    assert (await failures(store, phone(1)), await failures(store, email(1))) == (1, 0)


async def test_only_success_forgets_them(store: Store) -> None:
    await start(store, new_process(1), new_process(2, of=plan(type_id=2)))
    for _ in range(5):
        await wrong(store, 1)
    await start(store, new_process(3, at=1))
    late = await counted(store, 3)
    await store.sweep_processes(T0 + 2 * TTL, forget_before_ms=T0 + 2 * TTL)
    assert await settle(store, late, right=True) is Settled.LATE
    assert await failures(store, phone(1)) == 6
    await start(store, new_process(4, of=plan(type_id=2), at=2))
    await settle(store, await counted(store, 4), right=True)
    assert await failures(store, phone(1)) == 0


async def test_near_the_cap_a_contact_waits(store: Store) -> None:
    await start(store, new_process(1, of=MANY, ttl=10**9))
    at = await fail_times(store, 1, WAIT_FROM - 1)
    assert at == 0
    await wrong(store, 1, at=10)
    wait = wait_after_ms(WAIT_FROM)
    assert wait == 30_000
    before = await found(store, 1)
    assert await count(store, 1, at=10) == AttemptWait(wait)
    assert await count(store, 1, at=9 + wait) == AttemptWait(1)
    assert await found(store, 1) == before
    assert await failures(store, phone(1)) == WAIT_FROM
    assert await settle(store, await counted(store, 1, at=10 + wait), right=True) is (
        Settled.ACCEPTED
    )
    assert await failures(store, phone(1)) == 0


async def test_the_wait_is_of_the_contact_not_of_the_process(store: Store) -> None:
    await start(store, new_process(1, of=MANY), new_process(2, of=plan(type_id=2)))
    await start(store, new_process(3, to=2))
    await fail_times(store, 1, WAIT_FROM)
    assert await count(store, 2) == AttemptWait(30_000)
    await counted(store, 3)


async def test_a_clock_that_went_back_does_not_shorten_the_wait(store: Store) -> None:
    await start(store, new_process(1, of=MANY))
    first, second = await store.count_attempts([attempt(1, at=100), attempt(1, at=0)])
    assert isinstance(first, Counted)
    assert isinstance(second, Counted)
    await fail_times(store, 1, WAIT_FROM - 2)
    assert await count(store, 1, at=100) == AttemptWait(30_000)


async def test_at_the_cap_a_contact_is_locked_until_it_is_forgiven(store: Store) -> None:
    await start(store, new_process(1, of=MANY, ttl=10**9))
    at = await fail_times(store, 1, FAILURES_MAX)
    assert await count(store, 1, at=at) is AttemptRefusal.LOCKED
    assert await count(store, 1, at=at + 10**8) is AttemptRefusal.LOCKED
    assert await failures(store, phone(1)) == FAILURES_MAX
    assert await store.forgive_contact("other", phone(1), CALLER, T0) is False
    assert await store.forgive_contact(TENANT, phone(1), CALLER, T0) is True
    assert await store.forgive_contact(TENANT, phone(1), CALLER, T0) is False
    await counted(store, 1, at=at)
    assert (await trail(store)).count(("contact.forgive", "done")) == 1


async def test_under_races_no_more_than_the_cap_are_compared(store: Store) -> None:
    """Three processes of one contact, two types: 300 attempts an hour apart, 100 at each time."""
    for n in (1, 2, 3):
        of = replace(MANY, type_id=n)
        await start(store, new_process(n, of=of, ttl=10**9))
    outcomes: list[CountOutcome] = []

    async def one(n: int, at: int) -> None:
        outcomes.append(await count(store, n, at=at))

    for hour in range(FAILURES_MAX):
        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                for n in (1, 2, 3):
                    nursery.start_soon(one, n, hour * 3_600_000)
    assert sum(isinstance(outcome, Counted) for outcome in outcomes) == FAILURES_MAX
    assert outcomes[-3:] == [AttemptRefusal.LOCKED] * 3
    assert await failures(store, phone(1)) == FAILURES_MAX


async def test_a_refused_attempt_takes_nothing(store: Store) -> None:
    await start(store, new_process(1, of=MANY), new_process(2, to=2, of=plan(max_attempts=1)))
    await fail_times(store, 1, WAIT_FROM)
    await wrong(store, 2)
    keyed = claim()
    for n, refusal in ((1, AttemptWait(30_000)), (2, AttemptRefusal.EXHAUSTED)):
        before = await found(store, n)
        assert await count(store, n, claim=keyed) == refusal
        assert await found(store, n) == before
    assert (await failures(store, phone(1)), await failures(store, phone(2))) == (WAIT_FROM, 1)
    await counted(store, 1, at=30_000, claim=keyed)  # the claim was not taken


# Claims of attempts.


@pytest.mark.parametrize("right", [True, False])
async def test_a_repeated_attempt_gives_the_first_answer(store: Store, *, right: bool) -> None:
    await start(store, new_process(1))
    keyed = claim()
    one = await counted(store, 1, claim=keyed)
    expected = [Settled.ACCEPTED if right else Settled.WRONG]
    assert await store.settle_attempts([verdict(one, right=right, claim=keyed)]) == expected
    before = await found(store, 1)
    for at in (0, CLAIM_PATIENCE_MS, TTL, 10**7 - 1):
        assert await count(store, 1, at=at, claim=keyed) == AttemptReplayed(accepted=right)
    assert await found(store, 1) == before
    assert await failures(store, phone(1)) == (0 if right else 1)


async def test_an_attempt_in_flight_is_not_counted_again(store: Store) -> None:
    await start(store, new_process(1))
    keyed = claim()
    batch = [attempt(1, claim=keyed), attempt(1, claim=keyed)]
    first, second = await store.count_attempts(batch)
    assert isinstance(first, Counted)
    assert second is IN_FLIGHT
    assert await count(store, 1, at=CLAIM_PATIENCE_MS - 1, claim=keyed) is IN_FLIGHT
    assert (await found(store, 1)).attempts == 1


async def test_of_500_repetitions_at_once_one_is_counted(store: Store) -> None:
    await start(store, new_process(1))
    keyed = claim()
    outcomes: list[CountOutcome] = []

    async def one() -> None:
        outcomes.append(await count(store, 1, claim=keyed))

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            for _ in range(500):
                nursery.start_soon(one)
    assert sum(isinstance(outcome, Counted) for outcome in outcomes) == 1
    assert outcomes.count(IN_FLIGHT) == 499


@pytest.mark.parametrize("field", ["asks", "uuid"])
async def test_a_key_used_for_another_attempt_is_refused(store: Store, field: str) -> None:
    await start(store, new_process(1), new_process(2, to=2))
    one = await counted(store, 1, claim=claim())
    n, keyed = (1, claim(asks="that")) if field == "asks" else (2, claim())
    assert await count(store, n, claim=keyed) is MISMATCH
    await store.settle_attempts([verdict(one, right=False, claim=claim())])
    assert await count(store, n, claim=keyed) is MISMATCH
    assert (await found(store, n)).attempts == (n == 1)


@pytest.mark.parametrize("field", ["client_id", "operation", "key"])
async def test_another_key_is_another_attempt(store: Store, field: str) -> None:
    await start(store, new_process(1))
    await counted(store, 1, claim=claim())
    assert (await counted(store, 1, claim=replace(claim(), **{field: "another"}))).attempt == 2


async def test_an_attempt_cut_off_is_resumed(store: Store) -> None:
    await start(store, new_process(1))
    keyed = claim()
    one = await counted(store, 1, claim=keyed)
    at = CLAIM_PATIENCE_MS
    again = await counted(store, 1, at=at, claim=keyed)
    assert again == structs.replace(one, resumed=True)
    assert await count(store, 1, at=2 * at - 1, claim=keyed) is IN_FLIGHT  # since it was resumed
    assert (await found(store, 1)).attempts == 1
    assert await failures(store, phone(1)) == 1
    right = verdict(again, right=True, at=at, claim=keyed)
    assert await store.settle_attempts([right]) == [Settled.ACCEPTED]
    assert (await found(store, 1)).attempts == 0
    assert await count(store, 1, at=at, claim=keyed) == AttemptReplayed(accepted=True)


async def test_the_last_attempt_can_be_resumed_before_and_after_a_sweep(store: Store) -> None:
    await start(store, new_process(1, of=plan(max_attempts=1)), new_process(2, to=2))
    last, other = claim("last"), claim("other")
    await counted(store, 1, claim=last)
    await counted(store, 2, claim=other)
    at = CLAIM_PATIENCE_MS
    await counted(store, 1, at=at, claim=last)
    await store.sweep_processes(T0 + at, forget_before_ms=0)
    again = await counted(store, 2, at=at, claim=other)
    assert await settle(store, again, right=True, at=at) is Settled.ACCEPTED
    await store.sweep_processes(T0 + 2 * at, forget_before_ms=0)
    assert await count(store, 1, at=2 * at, claim=last) is AttemptRefusal.EXHAUSTED


async def test_a_resumed_attempt_is_compared_with_the_code_it_was_counted_for(
    store: Store,
) -> None:
    await start(store, new_process(1, of=BOTH, mail=1))
    keyed = claim()
    await counted(store, 1, claim=keyed)
    at = CLAIM_PATIENCE_MS
    await store.sweep_processes(T0 + at, forget_before_ms=0)  # it moves on
    again = await counted(store, 1, at=at, claim=keyed)
    assert (again.generation, (await found(store, 1)).generation) == (1, 2)
    assert await settle(store, again, right=True, at=at) is Settled.LATE


async def test_a_resumed_attempt_keeps_others_from_ending_the_process(store: Store) -> None:
    await start(store, new_process(1, of=plan(max_attempts=2)))
    keyed = claim()
    await counted(store, 1, claim=keyed)
    at = CLAIM_PATIENCE_MS
    await store.sweep_processes(T0 + at, forget_before_ms=0)
    again = await counted(store, 1, at=at, claim=keyed)
    await wrong(store, 1, at=at)
    right = verdict(again, right=True, at=at, claim=keyed)
    assert await store.settle_attempts([right]) == [Settled.ACCEPTED]


@pytest.mark.parametrize("right", [True, False])
async def test_an_attempt_settled_twice_gives_the_first_answer(
    store: Store, *, right: bool
) -> None:
    await start(store, new_process(1))
    keyed = claim()
    one = await counted(store, 1, claim=keyed)
    again = await counted(store, 1, at=CLAIM_PATIENCE_MS, claim=keyed)
    at = CLAIM_PATIENCE_MS
    verdicts = [verdict(each, right=right, at=at, claim=keyed) for each in (one, again)]
    assert len(set(await store.settle_attempts(verdicts))) == 1
    process = await found(store, 1)
    assert process.attempts == (0 if right else 1)


async def test_a_resumed_attempt_meets_the_end_of_its_process(store: Store) -> None:
    await start(store, new_process(1))
    await counted(store, 1, claim=claim())
    assert await count(store, 1, at=TTL, claim=claim()) is AttemptRefusal.EXPIRED


async def test_a_late_answer_is_the_end_of_the_process(store: Store) -> None:
    await start(store, new_process(1))
    keyed = claim()
    winner = await counted(store, 1)
    loser = await counted(store, 1, claim=keyed)
    await settle(store, winner, right=True)
    late = verdict(loser, right=True, claim=keyed)
    assert await store.settle_attempts([late]) == [Settled.LATE]
    assert await count(store, 1, claim=keyed) is AttemptRefusal.ACCEPTED


async def test_a_late_answer_of_a_process_that_goes_on_is_kept(store: Store) -> None:
    await start(store, new_process(1, of=plan(EMAIL, EMAIL), to=None, mail=1))
    keyed = claim()
    one = await counted(store, 1, claim=keyed)
    await store.sweep_processes(T0 + CLAIM_PATIENCE_MS, forget_before_ms=0)  # a new code
    late = verdict(one, right=True, at=CLAIM_PATIENCE_MS, claim=keyed)
    assert await store.settle_attempts([late, late]) == [Settled.LATE, Settled.LATE]
    assert await count(store, 1, at=CLAIM_PATIENCE_MS, claim=keyed) == AttemptReplayed(
        accepted=False
    )


@pytest.mark.parametrize(("at", "again"), [(99, False), (100, True)])
async def test_a_claim_is_kept_until_its_end(store: Store, at: int, *, again: bool) -> None:
    await start(store, new_process(1))
    one = await counted(store, 1, claim=claim(until=100))
    await store.settle_attempts([verdict(one, right=False, claim=claim(until=100))])
    outcome = await count(store, 1, at=at, claim=claim(until=500))
    assert isinstance(outcome, Counted if again else AttemptReplayed)


async def test_an_attempt_whose_claim_ended_does_not_answer_for_the_next(store: Store) -> None:
    await start(store, new_process(1))
    old = await counted(store, 1, claim=claim(until=100))
    await counted(store, 1, at=100, claim=claim(until=500))  # the key is free again
    late = verdict(old, right=False, at=100, claim=claim(until=100))
    assert await store.settle_attempts([late]) == [Settled.WRONG]
    assert await count(store, 1, at=101, claim=claim(until=500)) is IN_FLIGHT


async def test_an_answer_outlives_its_process(store: Store) -> None:
    await start(store, new_process(1))
    one = await counted(store, 1, claim=claim())
    await store.settle_attempts([verdict(one, right=True, claim=claim())])
    await store.sweep_processes(T0, forget_before_ms=T0 + 1)
    assert await store.find_process(TENANT, uuid(1)) is None
    assert await count(store, 1, claim=claim()) == AttemptReplayed(accepted=True)
