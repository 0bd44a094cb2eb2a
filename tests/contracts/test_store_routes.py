"""The port's sentences about routes that are used up, and channels without a provider (18, 80)."""

from __future__ import annotations

from collections import Counter

import pytest
import trio
from msgspec import structs

from otp_server.domain.budget import CLAIM_PATIENCE_MS, OUTBOX_MARGIN_MS, ROUTE_WAIT_MS
from otp_server.domain.process import FailureReason, ProcessStatus
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
    claim,
    count,
    counted,
    email,
    found,
    lease,
    new_process,
    phone,
    plan,
    report,
    settle,
    start,
    states,
    trail,
    verdict,
    wrong,
)
from tests.support.changed_values import replace

WAIT = AttemptWait(ROUTE_WAIT_MS, route=True)
PHONES = frozenset({SMS})
"""The channels of a server without a mail server."""


# A route gives its attempts and no more.


async def test_while_a_routes_last_attempt_is_compared_others_wait(store: Store) -> None:
    await start(store, new_process(1, of=BOTH, mail=1))
    first = await counted(store, 1)
    before = await found(store, 1)
    assert await count(store, 1, at=5) == WAIT
    assert await found(store, 1) == before
    assert await store.contact_failures(TENANT, phone(1)) == 1
    assert (await trail(store))[-1] == ("otp.attempt", "route_wait")
    await settle(store, first, right=False)
    assert (await counted(store, 1)).generation == 2


async def test_what_waits_takes_no_claim(store: Store) -> None:
    await start(store, new_process(1, of=BOTH, mail=1))
    first = await counted(store, 1)
    assert await count(store, 1, claim=claim()) == WAIT
    await settle(store, first, right=False)
    assert (await counted(store, 1, claim=claim())).generation == 2


async def test_who_waited_learns_how_it_ended(store: Store) -> None:
    """The one that was compared was right: nothing of the other was lost or counted."""
    await start(store, new_process(1, of=BOTH, mail=1))
    first = await counted(store, 1)
    assert await count(store, 1) == WAIT
    assert await settle(store, first, right=True) is Settled.ACCEPTED
    assert await count(store, 1) is AttemptRefusal.ACCEPTED


async def test_a_batch_meets_what_it_used_up_itself(store: Store) -> None:
    await start(store, new_process(1, of=plan(SMS, EMAIL, attempts=2), mail=1))
    outcomes = await store.count_attempts([attempt(1)] * 3)
    assert [type(each) for each in outcomes] == [Counted, Counted, AttemptWait]


@pytest.mark.parametrize("attempts", [1, 2, 3])
async def test_in_parallel_a_route_gives_no_more_either(store: Store, attempts: int) -> None:
    """Requirement 18."""
    of = plan(SMS, EMAIL, SMS, max_attempts=8, attempts=attempts)
    await start(store, new_process(1, of=of, mail=1))
    compared: list[Counted] = []

    async def one() -> CountOutcome:
        outcome = await count(store, 1)
        if isinstance(outcome, Counted):
            compared.append(outcome)
            await settle(store, outcome, right=False)
        return outcome

    async def patient() -> None:
        while await one() == WAIT:
            await trio.lowlevel.checkpoint()

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            for _ in range(40):
                nursery.start_soon(patient)
    by_generation = Counter(each.generation for each in compared)
    assert by_generation == {1: attempts, 2: attempts, 3: 8 - 2 * attempts}
    process = await found(store, 1)
    assert (process.failure, process.attempts) == (FailureReason.EXHAUSTED, 8)


@pytest.mark.parametrize(
    ("left", "mail"), [(TTL, None), (OUTBOX_MARGIN_MS, 1)], ids=["no contact", "no time"]
)
async def test_a_route_that_cannot_be_left_gives_all_that_are_left(
    store: Store, left: int, mail: int | None
) -> None:
    await start(store, new_process(1, of=BOTH, mail=mail))
    outcomes = await store.count_attempts([attempt(1, at=TTL - left)] * 6)
    assert [type(each) for each in outcomes[:5]] == [Counted] * 5
    assert outcomes[5] is AttemptRefusal.EXHAUSTED


async def test_a_process_that_did_not_move_moves_before_the_next_is_counted(store: Store) -> None:
    """Such as when the server that counted had no mail server, and this one has."""
    await start(store, new_process(1, of=BOTH, mail=1))
    first = await counted(store, 1)
    [settled] = await store.settle_attempts(
        [structs.replace(verdict(first, right=False), usable=PHONES)]
    )
    assert settled is Settled.WRONG
    assert (await found(store, 1)).route == 0
    second = await counted(store, 1, at=7)
    assert (second.generation, second.attempt) == (2, 2)
    process = await found(store, 1)
    assert (process.route, process.route_attempts, process.attempts) == (1, 1, 2)
    assert await states(store, 1) == ["void", "queued"]
    assert await store.next_message_at(EMAIL) == T0 + 7
    failures = [await store.contact_failures(TENANT, of) for of in (phone(1), email(1))]
    assert failures == [1, 1]
    assert (await trail(store))[-2:] == [("otp.route", "next"), ("otp.attempt", "counted")]


async def test_what_a_crash_left_is_waited_for_until_it_is_swept(store: Store) -> None:
    await start(store, new_process(1, of=BOTH, mail=1))
    await counted(store, 1)  # and its server dies
    assert await count(store, 1, at=CLAIM_PATIENCE_MS) == WAIT
    await store.sweep_processes(T0 + CLAIM_PATIENCE_MS, forget_before_ms=0)
    assert (await counted(store, 1, at=CLAIM_PATIENCE_MS)).generation == 2


# Channels without a provider.


async def test_no_route_is_taken_over_a_channel_without_a_provider(store: Store) -> None:
    await start(store, new_process(1, of=BOTH, mail=1))
    for _ in range(4):
        [one] = await store.count_attempts([structs.replace(attempt(1), usable=PHONES)])
        assert isinstance(one, Counted)
        await store.settle_attempts([structs.replace(verdict(one, right=False), usable=PHONES)])
    process = await found(store, 1)
    assert (process.status, process.generation) == (ProcessStatus.NEW, 1)
    assert await states(store, 1) == ["queued"]
    [last] = await store.count_attempts([structs.replace(attempt(1), usable=PHONES)])
    assert isinstance(last, Counted)
    assert await settle(store, last, right=True) is Settled.ACCEPTED


async def test_routes_without_a_provider_are_passed_over(store: Store) -> None:
    await start(store, new_process(1, of=plan(SMS, EMAIL, SMS), mail=1))
    one = await counted(store, 1)
    await store.settle_attempts([structs.replace(verdict(one, right=False), usable=PHONES)])
    assert (await found(store, 1)).route == 2


@pytest.mark.parametrize("usable", [PHONES, frozenset({SMS, EMAIL})])
async def test_a_failed_delivery_goes_on_only_over_a_provider(
    store: Store, usable: frozenset[object]
) -> None:
    await start(store, new_process(1, of=BOTH, mail=1))
    [message] = await lease(store)
    said = replace(report(message, MessageState.FAILED), usable=usable)  # type: ignore[arg-type]  # channels
    assert await store.report_deliveries([said]) == [True]
    process = await found(store, 1)
    moves = EMAIL in usable
    assert process.route == int(moves)
    assert process.failure is (None if moves else FailureReason.UNDELIVERABLE)


async def test_a_sweep_goes_on_only_over_a_provider(store: Store) -> None:
    await start(store, new_process(1, of=BOTH, mail=1))
    await counted(store, 1)
    swept = await store.sweep_processes(T0 + CLAIM_PATIENCE_MS, forget_before_ms=0, usable=PHONES)
    assert swept == 1
    assert (await found(store, 1)).route == 0
    await wrong(store, 1, at=CLAIM_PATIENCE_MS)
    assert (await found(store, 1)).generation == 2
