"""The port's sentences about counting and settling attempts (requirements 11-16, 18, 21, 22)."""

from __future__ import annotations

import pytest
import trio
from msgspec import structs

from otp_server.domain.budget import CLAIM_PATIENCE_MS, WAIT_FROM
from otp_server.domain.process import FailureReason, ProcessStatus, RouteStatus
from otp_server.services.ports import Store
from otp_server.services.ports.outbox import MessageState
from otp_server.services.ports.processes import (
    AttemptRefusal,
    AttemptWait,
    Counted,
    CountOutcome,
    Settled,
)
from tests.contracts.rest_samples import (
    BOTH,
    EMAIL,
    SMS,
    T0,
    TENANT,
    TTL,
    attempt,
    contact,
    count,
    counted,
    deliver,
    found,
    lease,
    new_process,
    plan,
    settle,
    start,
    states,
    uuid,
    verdict,
    wrong,
)

EXHAUSTED = (ProcessStatus.FAILED, FailureReason.EXHAUSTED)
LONG = plan(SMS, EMAIL, attempts=20)
"""Five attempts in all, and the first route would allow more."""


async def test_a_counted_attempt_says_what_to_compare_with(store: Store) -> None:
    await start(store, new_process(1, key_id="k-7"))
    process = await found(store, 1)
    assert await counted(store, 1, at=3) == Counted(
        process_id=process.id,
        uuid=uuid(1),
        tenant=TENANT,
        plan=plan(),
        key_id="k-7",
        generation=1,
        attempt=1,
    )
    after = await found(store, 1)
    assert after == structs.replace(process, attempts=1, route_attempts=1, updated_at_ms=T0 + 3)


async def test_attempts_of_a_batch_are_numbered_in_order(store: Store) -> None:
    await start(store, new_process(1, of=plan(max_attempts=2)), new_process(2, to=2))
    batch = [attempt(1), attempt(9), attempt(2), attempt(1), attempt(1)]
    outcomes = await store.count_attempts(batch)
    assert [each.attempt if isinstance(each, Counted) else each for each in outcomes] == [
        1,
        AttemptRefusal.NOT_FOUND,
        1,
        2,
        AttemptRefusal.EXHAUSTED,
    ]
    assert await store.count_attempts([]) == []
    assert await store.settle_attempts([]) == []


async def test_a_new_process_may_be_tried_before_its_message_is_reported(store: Store) -> None:
    await start(store, new_process(1))
    assert await settle(store, await counted(store, 1), right=True) is Settled.ACCEPTED


# Right.


async def test_the_right_code_ends_a_process_and_is_not_counted(store: Store) -> None:
    await start(store, new_process(1))
    await deliver(store, MessageState.SENT)
    await wrong(store, 1)
    assert await settle(store, await counted(store, 1, at=5), right=True, at=8) is Settled.ACCEPTED
    process = await found(store, 1)
    assert (process.status, process.failure) == (ProcessStatus.ACCEPTED, None)
    assert (process.attempts, process.route_attempts) == (1, 1)
    assert process.route_status is RouteStatus.SENT
    assert process.updated_at_ms == T0 + 8
    assert await count(store, 1) is AttemptRefusal.ACCEPTED
    assert await count(store, 1, at=TTL) is AttemptRefusal.ACCEPTED  # an end stays


async def test_acceptance_voids_messages_not_taken(store: Store) -> None:
    await start(store, new_process(1))
    await settle(store, await counted(store, 1), right=True)
    assert await states(store, 1) == ["void"]
    assert await lease(store) == []
    assert await store.next_message_at(SMS) is None


async def test_of_500_right_ones_one_is_accepted(store: Store) -> None:
    """Requirement 13. The contact's budget lets 50 be compared at once, and they all are first."""
    await start(store, new_process(1, of=plan(max_attempts=500, attempts=500)))
    settled: list[Settled | CountOutcome] = []
    many_are_counted = trio.Event()

    async def one() -> None:
        outcome = await count(store, 1)
        if isinstance(outcome, Counted):
            if outcome.attempt == WAIT_FROM:
                many_are_counted.set()
            await many_are_counted.wait()
            settled.append(await settle(store, outcome, right=True))
        else:
            settled.append(outcome)

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            for _ in range(500):
                nursery.start_soon(one)
    assert settled.count(Settled.ACCEPTED) == 1
    assert settled.count(Settled.LATE) >= WAIT_FROM - 1
    others = {type(each) for each in settled} - {Settled}
    assert others <= {AttemptRefusal, AttemptWait}
    assert len(settled) == 500
    assert (await found(store, 1)).status is ProcessStatus.ACCEPTED


async def test_of_500_wrong_ones_5_are_compared(store: Store) -> None:
    """Requirement 12."""
    await start(store, new_process(1))
    outcomes: list[CountOutcome] = []

    async def one() -> None:
        outcome = await count(store, 1)
        outcomes.append(outcome)
        if isinstance(outcome, Counted):
            assert await settle(store, outcome, right=False) is Settled.WRONG

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            for _ in range(500):
                nursery.start_soon(one)
    assert sum(isinstance(outcome, Counted) for outcome in outcomes) == 5
    assert outcomes.count(AttemptRefusal.EXHAUSTED) == 495
    process = await found(store, 1)
    assert (process.status, process.failure) == EXHAUSTED
    assert process.attempts == 5


async def test_the_right_code_on_the_last_attempt_is_accepted(store: Store) -> None:
    """Requirement 14."""
    await start(store, new_process(1))
    for _ in range(4):
        await wrong(store, 1)
    assert await settle(store, await counted(store, 1), right=True) is Settled.ACCEPTED


@pytest.mark.parametrize("of", [plan(), LONG, BOTH], ids=["one route", "two", "used up"])
@pytest.mark.parametrize("right_first", [True, False])
@pytest.mark.parametrize("together", [True, False])
async def test_right_and_wrong_as_the_last_two_settle_in_any_order(
    store: Store, of: object, *, right_first: bool, together: bool
) -> None:
    """The 4th counted is right, the 5th wrong: while the 4th is compared nothing may end."""
    await start(store, new_process(1, of=of, mail=1))  # type: ignore[arg-type]  # a plan, or none
    for _ in range(3):
        await wrong(store, 1)
    fourth, fifth = [await counted(store, 1) for _ in range(2)]
    verdicts = [verdict(fourth, right=True), verdict(fifth, right=False)]
    expected = [Settled.ACCEPTED, Settled.WRONG]
    if not right_first:
        verdicts.reverse()
        expected.reverse()
    if together:
        assert await store.settle_attempts(verdicts) == expected
    else:
        assert [(await store.settle_attempts([each]))[0] for each in verdicts] == expected
    process = await found(store, 1)
    assert process.status is ProcessStatus.ACCEPTED
    assert process.attempts == 4


async def test_right_ones_of_a_batch_come_first_and_answers_in_order(store: Store) -> None:
    """The right one was so slow that a sweep took it for lost: the wrong one would be the last."""
    await start(store, new_process(1, of=plan(max_attempts=2)))
    slow = await counted(store, 1)
    await store.sweep_processes(T0 + CLAIM_PATIENCE_MS, forget_before_ms=0)
    last = await counted(store, 1, at=CLAIM_PATIENCE_MS)
    batch = [verdict(each, right=each is slow, at=CLAIM_PATIENCE_MS) for each in (last, slow)]
    assert await store.settle_attempts(batch) == [Settled.WRONG, Settled.ACCEPTED]


async def test_of_two_right_ones_of_a_batch_the_first_wins(store: Store) -> None:
    await start(store, new_process(1))
    both = [verdict(await counted(store, 1), right=True) for _ in range(2)]
    assert await store.settle_attempts(both) == [Settled.ACCEPTED, Settled.LATE]
    assert (await found(store, 1)).attempts == 1  # the late one stays counted


@pytest.mark.parametrize(("at", "settled"), [(TTL - 1, Settled.ACCEPTED), (TTL, Settled.LATE)])
async def test_a_code_is_accepted_until_its_time(store: Store, at: int, settled: Settled) -> None:
    await start(store, new_process(1))
    assert await settle(store, await counted(store, 1, at=at - 1), right=True, at=at) is settled


@pytest.mark.parametrize("at", [TTL, TTL + 10**9])
async def test_nothing_is_counted_after_the_end(store: Store, at: int) -> None:
    await start(store, new_process(1))
    assert await count(store, 1, at=at) is AttemptRefusal.EXPIRED
    await store.sweep_processes(T0 + at, forget_before_ms=0)
    assert await count(store, 1) is AttemptRefusal.EXPIRED
    process = await found(store, 1)
    assert (process.attempts, process.status) == (0, ProcessStatus.EXPIRED)


# Wrong.


async def test_a_wrong_code_leaves_the_process_as_it_was_counted(store: Store) -> None:
    await start(store, new_process(1, of=plan(attempts=2)))
    one = await counted(store, 1)
    before = await found(store, 1)
    assert await settle(store, one, right=False, at=9) is Settled.WRONG
    assert await found(store, 1) == before


async def test_too_many_wrong_ones_end_it(store: Store) -> None:
    await start(store, new_process(1))
    for at in range(5):
        assert (await found(store, 1)).status is ProcessStatus.NEW
        await wrong(store, 1, at=at)
    process = await found(store, 1)
    assert (process.status, process.failure) == EXHAUSTED
    assert process.route_status is RouteStatus.EXHAUSTED
    assert (process.attempts, process.updated_at_ms) == (5, T0 + 4)
    assert await states(store, 1) == ["void"]
    assert await count(store, 1) is AttemptRefusal.EXHAUSTED
    assert await count(store, 1, at=TTL) is AttemptRefusal.EXHAUSTED


async def test_a_wrong_one_settled_twice_changes_nothing_more(store: Store) -> None:
    await start(store, new_process(1, of=plan(max_attempts=2)))
    one, other = [await counted(store, 1) for _ in range(2)]
    for _ in range(3):
        assert await settle(store, one, right=False) is Settled.WRONG
    assert (await found(store, 1)).status is ProcessStatus.NEW  # the other is still compared
    assert await settle(store, other, right=True) is Settled.ACCEPTED


async def test_a_late_one_can_be_the_last_and_ends_the_process(store: Store) -> None:
    await start(store, new_process(1, of=plan(SMS, EMAIL, max_attempts=2), mail=1))
    old = await counted(store, 1)
    await deliver(store, MessageState.FAILED)  # a new code, while the old one is compared
    await wrong(store, 1)
    assert (await found(store, 1)).status is ProcessStatus.NEW
    assert await settle(store, old, right=True) is Settled.LATE
    process = await found(store, 1)
    assert (process.status, process.failure) == EXHAUSTED


# Routes.


async def test_a_used_up_route_gives_way_to_the_next_with_a_new_code(store: Store) -> None:
    await start(store, new_process(1, of=BOTH, mail=1))
    await deliver(store, MessageState.SENT)
    old = await counted(store, 1)
    await settle(store, old, right=False, at=7)
    process = await found(store, 1)
    assert (process.status, process.generation) == (ProcessStatus.SENT, 2)
    assert (process.route, process.route_status, process.route_attempts) == (1, RouteStatus.NEW, 0)
    assert (process.attempts, process.updated_at_ms) == (1, T0 + 7)
    assert await states(store, 1) == ["sent", "queued"]
    [message] = await lease(store, EMAIL, at=7)
    assert (message.route, message.generation) == (1, 2)
    assert message.contact == contact(EMAIL, 1)
    assert (await counted(store, 1)).generation == 2


async def test_a_new_code_voids_the_old_one(store: Store) -> None:
    await start(store, new_process(1, of=plan(SMS, EMAIL, attempts=2), mail=1))
    old, other = [await counted(store, 1) for _ in range(2)]
    await settle(store, old, right=False)
    assert (await found(store, 1)).generation == 1  # the other is still compared
    await settle(store, other, right=False)
    assert (await found(store, 1)).generation == 2
    assert await settle(store, other, right=True) is Settled.LATE
    assert await settle(store, await counted(store, 1), right=True) is Settled.ACCEPTED
    assert await settle(store, old, right=True) is Settled.LATE


async def test_routes_without_a_contact_are_passed_over(store: Store) -> None:
    await start(store, new_process(1, of=plan(SMS, EMAIL, SMS), to=1))
    await wrong(store, 1)
    assert (await found(store, 1)).route == 2


async def test_on_the_last_route_attempts_go_on_until_the_process_has_none(store: Store) -> None:
    await start(store, new_process(1, of=BOTH, mail=1))
    seen = []
    for _ in range(5):
        await wrong(store, 1)
        process = await found(store, 1)
        seen.append((process.attempts, process.generation, process.route_attempts))
    assert seen == [(1, 2, 0), (2, 2, 1), (3, 2, 2), (4, 2, 3), (5, 2, 4)]
    assert (process.status, process.failure) == EXHAUSTED


async def test_the_next_route_does_not_reset_the_process(store: Store) -> None:
    """Requirement 18."""
    await start(store, new_process(1, of=plan(SMS, EMAIL, SMS, max_attempts=2), mail=1))
    await wrong(store, 1)
    await wrong(store, 1)
    assert (await found(store, 1)).failure is FailureReason.EXHAUSTED
    assert await states(store, 1) == ["void", "void"]


@pytest.mark.parametrize(("left", "moved"), [(5001, True), (5000, False), (1, False)])
async def test_no_route_is_taken_shortly_before_the_end(
    store: Store, left: int, *, moved: bool
) -> None:
    await start(store, new_process(1, of=BOTH, mail=1))
    await wrong(store, 1, at=TTL - left)
    process = await found(store, 1)
    assert (process.route, process.generation) == ((1, 2) if moved else (0, 1))
    assert await states(store, 1) == (["void", "queued"] if moved else ["queued"])
    assert await settle(store, await counted(store, 1, at=TTL - left), right=True) is (
        Settled.ACCEPTED
    )


async def test_the_number_of_an_attempt_goes_on_over_routes(store: Store) -> None:
    await start(store, new_process(1, of=BOTH, mail=1))
    numbers = []
    for _ in range(3):
        outcome = await counted(store, 1)
        assert isinstance(outcome, Counted)
        numbers.append((outcome.attempt, outcome.generation))
        await settle(store, outcome, right=False)
    assert numbers == [(1, 1), (2, 2), (3, 2)]
