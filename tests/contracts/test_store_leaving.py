"""The port's sentences about messages that leave a provider which is down (79)."""

from __future__ import annotations

import pytest

from otp_server.domain.budget import OUTBOX_MARGIN_MS
from otp_server.domain.process import ProcessStatus
from otp_server.services.ports import Store
from otp_server.services.ports.outbox import MessageState
from tests.contracts.rest_samples import (
    BOTH,
    EMAIL,
    SMS,
    T0,
    TTL,
    found,
    lease,
    new_process,
    plan,
    report,
    start,
    states,
    trail,
    uuid,
)


async def leave(
    store: Store,
    *,
    at: int = 0,
    limit: int = 100,
    to: frozenset[str] = frozenset({EMAIL}),
) -> int:
    return await store.leave_channel(
        SMS,
        to=to,  # type: ignore[arg-type]  # channels are words
        provider="acme-sms",
        now_ms=T0 + at,
        limit=limit,
    )


async def test_only_those_leave_that_have_somewhere_to_go(store: Store) -> None:
    await start(
        store,
        new_process(1, of=BOTH, to=1, mail=1),
        new_process(2, of=BOTH, to=2),  # without an address
        new_process(3, of=plan(SMS, SMS), to=3),
        new_process(4, of=plan(EMAIL, SMS), to=4, mail=4),  # not here
    )
    before = len(await trail(store))
    assert await leave(store, at=5) == 1
    assert (await trail(store))[before:] == [
        ("otp.deliver", "failed:provider_down"),
        ("otp.route", "next"),
    ]
    moved = await found(store, 1)
    assert (moved.generation, moved.route, moved.status) == (2, 1, ProcessStatus.NEW)
    assert await states(store, 1) == ["failed", "queued"]
    for n in (2, 3, 4):
        assert await states(store, n) == ["queued"]
    assert [each.uuid for each in await lease(store, EMAIL, at=5)] == [uuid(4), uuid(1)]
    waiting = await lease(store, at=5)
    assert [(each.uuid, each.tries) for each in waiting] == [(uuid(2), 1), (uuid(3), 1)]
    assert await leave(store, at=5) == 0


async def test_a_later_route_over_the_same_channel_is_passed_over(store: Store) -> None:
    await start(store, new_process(1, of=plan(SMS, SMS, EMAIL), to=1, mail=1))
    assert await leave(store) == 1
    assert (await found(store, 1)).route == 2


async def test_nobody_leaves_for_a_channel_that_cannot_be_tried(store: Store) -> None:
    await start(store, new_process(1, of=BOTH, to=1, mail=1))
    assert await leave(store, to=frozenset()) == 0
    assert await leave(store, to=frozenset({SMS})) == 0
    assert await states(store, 1) == ["queued"]


async def test_those_that_wait_for_another_try_leave_too(store: Store) -> None:
    await start(store, new_process(1, of=BOTH, to=1, mail=1))
    [message] = await lease(store)
    later = report(message, MessageState.QUEUED, at=1, not_before=60_000)
    assert await store.report_deliveries([later]) == [True]
    assert await leave(store, at=2) == 1
    assert await states(store, 1) == ["failed", "queued"]


async def test_what_is_being_sent_stays(store: Store) -> None:
    await start(store, new_process(1, of=BOTH, to=1, mail=1))
    [message] = await lease(store)
    assert await leave(store, at=1) == 0
    assert await store.report_deliveries([report(message, MessageState.SENT, at=2)]) == [True]


@pytest.mark.parametrize("left_ms", [OUTBOX_MARGIN_MS, 0])
async def test_nobody_leaves_without_time_to_be_sent(store: Store, left_ms: int) -> None:
    await start(store, new_process(1, of=BOTH, to=1, mail=1))
    assert await leave(store, at=TTL - left_ms) == 0


async def test_no_more_leave_than_asked_for(store: Store) -> None:
    await start(
        store,
        *(new_process(n, of=plan(SMS), to=n) for n in range(1, 400)),
        *(new_process(n, of=BOTH, to=n, mail=n, at=1) for n in range(400, 405)),
    )
    assert await leave(store, at=1, limit=2) == 2
    assert [await states(store, n) for n in (400, 401, 402)] == [
        ["failed", "queued"],
        ["failed", "queued"],
        ["queued"],
    ]
    assert await leave(store, at=1, limit=100) == 3
