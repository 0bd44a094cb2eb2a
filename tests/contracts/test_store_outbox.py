"""The port's sentences about messages on their way (requirements 76-80)."""

from __future__ import annotations

import pytest
import trio

from otp_server.domain.budget import OUTBOX_MARGIN_MS
from otp_server.domain.process import Delivery, FailureReason, ProcessStatus, RouteStatus
from otp_server.services.ports import Store
from otp_server.services.ports.outbox import LeasedMessage, MessageState
from otp_server.services.ports.processes import AttemptRefusal
from tests.contracts.rest_samples import (
    BOTH,
    EMAIL,
    LEASE,
    SMS,
    T0,
    TENANT,
    TTL,
    contact,
    count,
    counted,
    deliver,
    found,
    lease,
    new_process,
    plan,
    query,
    report,
    settle,
    start,
    states,
    uuid,
    wrong,
)
from tests.support.changed_values import replace

SENT, FAILED = MessageState.SENT, MessageState.FAILED
UNCERTAIN, QUEUED = MessageState.UNCERTAIN, MessageState.QUEUED
REPORTS = [SENT, FAILED, UNCERTAIN, QUEUED]
UNDELIVERABLE = (ProcessStatus.FAILED, FailureReason.UNDELIVERABLE)


async def route_of(store: Store, n: int) -> tuple[str, int, int, str]:
    process = await found(store, n)
    return process.status.value, process.generation, process.route, process.route_status.value


# Leasing.


async def test_a_leased_message_says_where_to_find_all_it_needs(store: Store) -> None:
    await start(store, new_process(1, of=BOTH, to=1, mail=2, at=3, key_id="k-9"))
    [message] = await lease(store, at=4)
    assert message == LeasedMessage(
        message_id=message.message_id,
        lease=message.lease,
        tries=1,
        uuid=uuid(1),
        tenant=TENANT,
        plan=BOTH,
        route=0,
        generation=1,
        key_id="k-9",
        contact=contact(SMS, 1),
        created_at_ms=T0 + 3,
        expires_at_ms=T0 + 3 + TTL,
        channels=frozenset({SMS, EMAIL}),
    )
    assert len(message.lease) == 16
    assert await states(store, 1) == ["leased"]


async def test_each_channel_has_its_own_queue(store: Store) -> None:
    await start(store, new_process(1), new_process(2, of=plan(EMAIL), to=None, mail=1))
    assert [message.uuid for message in await lease(store, EMAIL)] == [uuid(2)]
    assert [message.uuid for message in await lease(store, SMS)] == [uuid(1)]


async def test_the_first_due_come_first_up_to_the_limit_and_not_before_their_time(
    store: Store,
) -> None:
    for n, at in ((1, 30), (2, 10), (3, 20), (4, 10), (5, 50)):
        await start(store, new_process(n, to=n, at=at))
    assert [message.uuid for message in await lease(store, at=49, limit=3)] == [
        uuid(n) for n in (2, 4, 3)
    ]
    assert [message.uuid for message in await lease(store, at=49)] == [uuid(1)]
    assert await lease(store, at=49) == []
    assert [message.uuid for message in await lease(store, at=50)] == [uuid(5)]
    assert await lease(store, at=50, limit=0) == []


async def test_of_many_workers_each_message_has_one(store: Store) -> None:
    await start(store, *(new_process(n, to=n) for n in range(200)))
    taken: list[LeasedMessage] = []

    async def one() -> None:
        while messages := await lease(store, limit=7):
            taken.extend(messages)

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(one)
    assert sorted(message.uuid for message in taken) == sorted(uuid(n) for n in range(200))
    assert len({message.lease for message in taken}) == 200
    assert len({message.message_id for message in taken}) == 200


@pytest.mark.parametrize(
    ("left", "sent"), [(OUTBOX_MARGIN_MS + 1, True), (OUTBOX_MARGIN_MS, False), (0, False)]
)
async def test_no_message_is_sent_shortly_before_its_code_ends(
    store: Store, left: int, *, sent: bool
) -> None:
    """Requirement 78."""
    await start(store, new_process(1))
    assert len(await lease(store, at=TTL - left)) == sent
    assert await states(store, 1) == ["leased" if sent else "void"]
    assert await lease(store) == []


async def test_messages_too_late_do_not_hold_up_others(store: Store) -> None:
    await start(store, *(new_process(n, to=n, ttl=10) for n in range(1200)))
    await start(store, new_process(5000, to=5000, at=1))
    leased: list[LeasedMessage] = []
    for _ in range(2):  # each call looks at a thousand more than it was asked for
        leased += await lease(store, at=1, limit=1)
    assert [message.uuid for message in leased] == [uuid(5000)]
    assert await states(store, 7) == ["void"]


# Reports.


@pytest.mark.parametrize("state", [SENT, UNCERTAIN])
async def test_a_message_handed_over_or_perhaps_makes_its_process_sent(
    store: Store, state: MessageState
) -> None:
    await start(store, new_process(1))
    await deliver(store, state, at=7)
    process = await found(store, 1)
    assert process.status is ProcessStatus.SENT
    assert process.route_status is RouteStatus(state.value)
    assert process.updated_at_ms == T0 + 7
    assert await states(store, 1) == [state.value]
    assert await lease(store, at=TTL - OUTBOX_MARGIN_MS - 1) == []  # never again
    assert await store.next_message_at(SMS) is None
    assert await settle(store, await counted(store, 1), right=True)


async def test_a_failed_delivery_takes_the_next_route_with_a_new_code(store: Store) -> None:
    await start(store, new_process(1, of=BOTH, mail=1))
    old = await counted(store, 1)
    await deliver(store, FAILED, at=7)
    assert await route_of(store, 1) == ("new", 2, 1, "new")
    process = await found(store, 1)
    assert (process.attempts, process.route_attempts) == (1, 0)
    assert process.updated_at_ms == T0 + 7
    assert await states(store, 1) == ["failed", "queued"]
    assert await store.next_message_at(EMAIL) == T0 + 7
    [message] = await lease(store, EMAIL, at=7)
    assert (message.generation, message.route, message.tries) == (2, 1, 1)
    assert message.contact == contact(EMAIL, 1)
    await settle(store, old, right=True)
    assert (await found(store, 1)).status is ProcessStatus.NEW  # the old code is void


async def test_a_sent_process_stays_sent_on_its_next_route(store: Store) -> None:
    await start(store, new_process(1, of=BOTH, mail=1))
    await deliver(store, SENT)
    await wrong(store, 1)
    assert await route_of(store, 1) == ("sent", 2, 1, "new")
    [message] = await lease(store, EMAIL)
    assert await store.report_deliveries([report(message, SENT)]) == [True]
    assert await route_of(store, 1) == ("sent", 2, 1, "sent")
    assert await states(store, 1) == ["sent", "sent"]


async def test_when_no_route_is_left_the_process_is_undeliverable(store: Store) -> None:
    await start(store, new_process(1, of=BOTH))  # no address for the second route
    await deliver(store, FAILED, at=7)
    process = await found(store, 1)
    assert (process.status, process.failure) == UNDELIVERABLE
    assert process.route_status is RouteStatus.FAILED
    assert process.updated_at_ms == T0 + 7
    assert await count(store, 1) is AttemptRefusal.UNDELIVERABLE
    assert await store.next_message_at(EMAIL) is None


async def test_all_routes_in_order_until_none_is_left(store: Store) -> None:
    await start(store, new_process(1, of=plan(SMS, SMS, SMS)))
    for _ in range(3):
        assert (await found(store, 1)).status is ProcessStatus.NEW
        await deliver(store, FAILED)
    assert (await found(store, 1)).failure is FailureReason.UNDELIVERABLE
    assert await states(store, 1) == ["failed"] * 3


@pytest.mark.parametrize(("left", "route"), [(5001, 1), (5000, 0)])
async def test_a_next_route_without_time_is_none(store: Store, left: int, route: int) -> None:
    await start(store, new_process(1, of=BOTH, mail=1))
    [message] = await lease(store)
    await store.report_deliveries([report(message, FAILED, at=TTL - left)])
    process = await found(store, 1)
    assert process.route == route
    assert process.failure is (None if route else FailureReason.UNDELIVERABLE)


async def test_another_try_waits_for_its_time(store: Store) -> None:
    await start(store, new_process(1))
    [first] = await lease(store)
    again = report(first, QUEUED, at=5, problem="rate_limited", not_before=100)
    assert await store.report_deliveries([again]) == [True]
    assert await route_of(store, 1) == ("new", 1, 0, "new")
    assert await states(store, 1) == ["queued"]
    assert await store.next_message_at(SMS) == T0 + 100
    assert await lease(store, at=99) == []
    [second] = await lease(store, at=100)
    assert second == replace(first, lease=second.lease, tries=2)
    assert second.lease != first.lease
    assert await store.report_deliveries([report(first, FAILED)]) == [False]
    assert await store.report_deliveries([report(second, SENT)]) == [True]
    assert await states(store, 1) == ["sent"]


async def test_the_search_shows_what_became_of_each(store: Store) -> None:
    await start(store, new_process(1, of=BOTH, mail=1))
    [message] = await lease(store)
    said = report(message, FAILED, at=7, problem="invalid_recipient")
    assert await store.report_deliveries([said]) == [True]
    [(_, deliveries)] = await store.search_processes(query())
    assert deliveries == [
        Delivery(0, SMS, "failed", "invalid_recipient", T0 + 7),
        Delivery(1, EMAIL, "queued", None, T0 + 7),
    ]


@pytest.mark.parametrize("state", REPORTS)
async def test_a_report_without_the_lease_changes_nothing(
    store: Store, state: MessageState
) -> None:
    await start(store, new_process(1, of=BOTH, mail=1))
    [message] = await lease(store)
    stranger = replace(message, lease=bytes(16))
    missing = replace(message, message_id=message.message_id + 1)
    before = await found(store, 1)
    refused = [report(stranger, state), report(missing, state)]
    assert await store.report_deliveries(refused) == [False, False]
    assert await found(store, 1) == before
    assert await states(store, 1) == ["leased"]
    assert await store.report_deliveries([report(message, SENT)] * 2) == [True, False]
    assert await store.report_deliveries([]) == []


@pytest.mark.parametrize("state", [MessageState.LEASED, MessageState.VOID])
async def test_a_state_that_no_report_has_is_a_bug_of_the_caller(
    store: Store, state: MessageState
) -> None:
    await start(store, new_process(1))
    [message] = await lease(store)
    with pytest.raises(ValueError, match=state.value):
        await store.report_deliveries([report(message, SENT), report(message, state)])
    assert await states(store, 1) == ["leased"]


@pytest.mark.parametrize("state", REPORTS)
@pytest.mark.parametrize("end", ["superseded", "accepted", "expired", "moved"])
async def test_a_report_of_an_old_code_leaves_the_process(
    store: Store, state: MessageState, end: str
) -> None:
    await start(store, new_process(1, of=plan(SMS, EMAIL, SMS), mail=1))
    [message] = await lease(store)
    at = TTL if end == "expired" else 5
    if end == "superseded":
        await start(store, new_process(2, to=1))
    elif end == "moved":
        await wrong(store, 1)
    elif end == "accepted":
        await settle(store, await counted(store, 1), right=True)
    before = await found(store, 1)
    assert await store.report_deliveries([report(message, state, at=at)]) == [True]
    assert await found(store, 1) == before
    shown = "void" if state is QUEUED else state.value
    assert await states(store, 1) == [shown, *(["queued"] if end == "moved" else [])]


async def test_a_report_of_a_forgotten_process_finds_no_lease(store: Store) -> None:
    await start(store, new_process(1))
    [message] = await lease(store)
    await store.sweep_processes(T0, forget_before_ms=T0 + 1)
    assert await store.report_deliveries([report(message, SENT)]) == [False]
    assert await store.next_message_at(SMS) is None


# Leases that end.


async def test_a_lease_that_ran_out_is_uncertain_and_never_given_again(store: Store) -> None:
    await start(store, new_process(1), new_process(2, of=plan(EMAIL), to=None, mail=1))
    [message] = await lease(store)
    await lease(store, EMAIL)
    assert await lease(store, at=LEASE - 1) == []
    assert await states(store, 1) == ["leased"]
    assert await lease(store, at=LEASE) == []
    assert await route_of(store, 1) == ("sent", 1, 0, "uncertain")
    assert (await found(store, 1)).updated_at_ms == T0 + LEASE
    assert await states(store, 1) == ["uncertain"]
    assert await states(store, 2) == ["leased"]  # of the other channel
    assert await store.report_deliveries([report(message, SENT)]) == [False]
    assert await route_of(store, 1) == ("sent", 1, 0, "uncertain")


async def test_a_report_after_the_end_of_a_lease_nobody_took_counts(store: Store) -> None:
    await start(store, new_process(1))
    [message] = await lease(store)
    assert await store.report_deliveries([report(message, SENT, at=LEASE + 1)]) == [True]
    assert await lease(store, at=LEASE + 1) == []
    assert await route_of(store, 1) == ("sent", 1, 0, "sent")


async def test_a_lease_of_an_old_code_that_ran_out_leaves_the_process(store: Store) -> None:
    await start(store, new_process(1, of=BOTH, mail=1))
    await lease(store)
    await wrong(store, 1)
    await lease(store, at=LEASE)
    assert await route_of(store, 1) == ("new", 2, 1, "new")
    assert await states(store, 1) == ["uncertain", "queued"]


async def test_the_next_message_is_the_first_due_or_the_first_lease_to_end(store: Store) -> None:
    assert await store.next_message_at(SMS) is None
    await start(store, new_process(1, at=LEASE + 5), new_process(2, to=2, at=0))
    assert await store.next_message_at(SMS) == T0
    await lease(store)
    assert await store.next_message_at(SMS) == T0 + LEASE
    await lease(store, at=LEASE)
    assert await store.next_message_at(SMS) == T0 + LEASE + 5
    assert await store.next_message_at(EMAIL) is None
