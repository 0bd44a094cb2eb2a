"""The port's sentences about tenants that take turns in the outbox."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from otp_server.services.ports import Store
from otp_server.services.ports.outbox import MessageState
from tests.contracts.rest_samples import (
    EMAIL,
    SMS,
    T0,
    lease,
    new_process,
    plan,
    report,
    start,
    uuid,
)

if TYPE_CHECKING:
    from otp_server.services.ports.outbox import LeasedMessage


async def queue(store: Store, tenant: str, first: int, count: int, *, at: int = 0) -> None:
    """Messages of processes ``first``, and so on, each to a contact of its own."""
    numbers = range(first, first + count)
    await start(store, *(new_process(n, to=n, tenant=tenant, at=at) for n in numbers))


def whose(messages: list[LeasedMessage]) -> str:
    """The tenants' first letters, in order."""
    return "".join(message.tenant[0] for message in messages)


@pytest.mark.parametrize("limit", [1, 2, 3])
async def test_a_long_queue_holds_up_no_other_tenant(store: Store, limit: int) -> None:
    """However few are asked for, and however much older the long queue is."""
    await queue(store, "many", 0, 50)
    await queue(store, "few", 100, 1, at=9)
    first = [*await lease(store, at=9, limit=limit), *await lease(store, at=9, limit=limit)]
    assert "f" in whose(first)[:2]


@pytest.mark.parametrize("many", ["a-many", "z-many"])
async def test_from_one_call_to_the_next_the_turn_goes_on(store: Store, many: str) -> None:
    await queue(store, many, 0, 6)
    await queue(store, "b", 100, 2, at=1)
    await queue(store, "c", 200, 1, at=2)
    turns = whose([each for _ in range(9) for each in await lease(store, at=2, limit=1)])
    around = "abc" if many == "a-many" else "bcz"
    letter = many[0]
    assert turns == around + around.replace("c", "") + letter * 4


async def test_of_each_tenant_the_first_due_goes_first(store: Store) -> None:
    for at in (5, 3, 4):
        await queue(store, "b", at, 1, at=at)
        await queue(store, "a", 10 + at, 1, at=at)
    messages = await lease(store, at=5)
    assert whose(messages) == "aaabbb"
    assert [each.uuid for each in messages] == [uuid(n) for n in (13, 14, 15, 3, 4, 5)]


async def test_room_that_one_tenant_does_not_need_is_for_the_others(store: Store) -> None:
    await queue(store, "a", 0, 1)
    await queue(store, "b", 100, 9)
    await queue(store, "c", 200, 9)
    assert sorted(whose(await lease(store, limit=10))) == sorted("a" + "bbbbb" + "cccc")


async def test_a_tenant_whose_messages_are_not_due_is_passed_over(store: Store) -> None:
    await queue(store, "a", 0, 2, at=50)
    await queue(store, "b", 100, 2)
    assert whose(await lease(store, limit=3)) == "bb"
    assert await store.next_message_at(SMS) == T0 + 50
    assert whose(await lease(store, at=50, limit=3)) == "aa"


async def test_what_a_tenant_has_too_late_holds_up_no_other(store: Store) -> None:
    old = [new_process(n, to=n, tenant="a", ttl=10) for n in range(1200)]
    await start(store, *old, new_process(5000, to=5000, tenant="b", at=1))
    taken = [*await lease(store, at=1, limit=1), *await lease(store, at=1, limit=1)]
    assert [message.uuid for message in taken] == [uuid(5000)]


async def test_each_channel_has_its_own_turn(store: Store) -> None:
    for n, tenant in enumerate("ab"):
        both = plan(EMAIL)
        await start(
            store,
            *(new_process(10 * n + m, to=10 * n + m, tenant=tenant) for m in range(2)),
            *(
                new_process(10 * n + m, of=both, to=None, mail=10 * n + m, tenant=tenant)
                for m in range(5, 7)
            ),
        )
    assert whose(await lease(store, SMS, limit=1)) == "a"
    assert whose(await lease(store, EMAIL, limit=1)) == "a"
    assert whose(await lease(store, SMS, limit=1)) == "b"
    assert whose(await lease(store, EMAIL, limit=1)) == "b"


async def test_a_message_to_be_tried_again_keeps_its_tenants_turn(store: Store) -> None:
    await queue(store, "a", 0, 1)
    await queue(store, "b", 100, 1)
    [message] = await lease(store, limit=1)
    again = report(message, MessageState.QUEUED, problem="rate_limited")
    assert await store.report_deliveries([again]) == [True]
    assert whose(await lease(store, limit=1)) == "b"
    assert whose(await lease(store, limit=1)) == "a"
