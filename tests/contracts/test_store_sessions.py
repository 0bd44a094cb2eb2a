"""The port's sentences about sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from otp_server.errors import AlreadyExists
from otp_server.services.ports.accounts import SignIn
from otp_server.stores.bounds import SWEEP_ROWS_MAX
from tests.contracts.account_samples import (
    LIFE,
    SVC,
    VISITOR,
    add_user,
    length,
    lines,
    live,
    session,
    sign_in,
    uid,
    user,
)
from tests.contracts.rest_samples import T0
from tests.support.changed_values import replace

if TYPE_CHECKING:
    from otp_server.services.ports import Store

SIGNED_IN = (SVC, "user.sign_in", f"user:{uid(1)}", "done")


async def test_sessions_are_found_in_the_order_asked_until_they_end(store: Store) -> None:
    first, second = session(1), session(2, at=5, life=10)
    for each in (first, second):
        await store.add_session(each)
    asked = [second.digest, session(3).digest, first.digest]
    assert await store.find_sessions(asked, T0 + 14) == [second, None, first]
    assert await store.find_sessions(asked, T0 + 15) == [None, None, first]
    assert await store.find_sessions([], T0) == []
    assert await lines(store) == []  # they are nobody's


async def test_a_session_is_added_anonymous_and_once(store: Store) -> None:
    await add_user(store)
    with pytest.raises(ValueError, match="before anybody signs in"):
        await store.add_session(session(1, of=1))
    await store.add_session(session(1))
    with pytest.raises(AlreadyExists):
        await store.add_session(session(1, life=5))
    with pytest.raises(AlreadyExists):
        await sign_in(store, 1)
    assert await store.find_sessions([session(1).digest], T0) == [session(1)]


# Signing in.


async def test_signing_in_begins_the_session_and_ends_the_one_before(store: Store) -> None:
    await add_user(store)
    await store.add_session(session(1))
    before = await length(store)
    assert await sign_in(store, 2, replaced=1, at=7) is True
    assert await live(store, 1, 2, at=7) == [2]
    assert await store.find_sessions([session(2).digest], T0 + 7) == [session(2, of=1, at=7)]
    assert await lines(store, before) == [SIGNED_IN]
    [(_, entry, _, _)] = await store.audit_after(before, 10)
    assert (entry.at_ms, entry.actor, entry.address) == (T0 + 7, "svc", "192.0.2.9")


async def test_a_second_sign_in_signs_the_first_out_where_it_takes_its_place(store: Store) -> None:
    for n in (1, 2):
        await add_user(store, n)
    assert await sign_in(store, 1)
    assert await sign_in(store, 2)  # elsewhere
    before = await length(store)
    assert await sign_in(store, 3, of=2, replaced=1)
    assert await live(store, 1, 2, 3) == [2, 3]
    assert await lines(store, before) == [
        (SVC, "user.sign_out", f"user:{uid(1)}", "replaced"),
        (SVC, "user.sign_in", f"user:{uid(2)}", "done"),
    ]


async def test_signing_in_needs_no_session_before(store: Store) -> None:
    await add_user(store)
    assert await sign_in(store, 2, replaced=9)
    assert await live(store, 2, 9) == [2]


@pytest.mark.parametrize(
    ("password", "asked"),
    [
        ("hash", SignIn(session(2, of=1), session(1).digest, 2, VISITOR)),
        ("hash", SignIn(session(2, of=1), session(1).digest, 0, VISITOR)),
        (None, SignIn(session(2, of=1), session(1).digest, 0, VISITOR)),
        ("hash", SignIn(session(2, of=7), session(1).digest, 1, VISITOR)),
        ("hash", SignIn(session(2, of=1, organisation="x"), session(1).digest, 1, VISITOR)),
    ],
    ids=["older", "newer", "no-password", "nobody", "elsewhere"],
)
async def test_a_sign_in_that_is_not_right_any_more_changes_nothing(
    store: Store, password: str | None, asked: SignIn
) -> None:
    await add_user(store, 1, password)
    await store.add_session(session(1))
    before = await length(store)
    assert await store.sign_in(asked) is False
    assert await live(store, 1, 2) == [1]
    assert await length(store) == before


async def test_nobody_cannot_be_signed_in(store: Store) -> None:
    with pytest.raises(ValueError, match="nobody's"):
        await store.sign_in(SignIn(session(1), None, 1, VISITOR))


async def test_many_sign_in_at_once(store: Store) -> None:
    await add_user(store)
    await store.add_session(session(0))
    done: list[bool] = []

    async def one(n: int) -> None:
        done.append(await sign_in(store, n, replaced=0))

    async with trio.open_nursery() as nursery:
        for n in range(1, 51):
            nursery.start_soon(one, n)
    assert done == [True] * 50
    assert await live(store, *range(51)) == list(range(1, 51))


# The end.


async def test_a_session_ends_once(store: Store) -> None:
    await add_user(store)
    await sign_in(store, 1)
    await sign_in(store, 2)
    before = await length(store)
    ends = [await store.end_session(session(1).digest, VISITOR, T0 + 9) for _ in range(2)]
    assert ends == [True, False]
    assert await live(store, 1, 2) == [2]
    assert await lines(store, before) == [(SVC, "user.sign_out", f"user:{uid(1)}", "done")]
    [(_, entry, _, _)] = await store.audit_after(before, 10)
    assert (entry.at_ms, entry.actor) == (T0 + 9, "svc")


async def test_the_end_of_nobodys_session_leaves_no_line(store: Store) -> None:
    await store.add_session(session(1))
    assert await store.end_session(session(1).digest, VISITOR, T0)
    assert await live(store, 1) == []
    assert await lines(store) == []


async def test_what_is_past_its_time_was_not_there(store: Store) -> None:
    await add_user(store)
    await sign_in(store, 1)
    before = await length(store)
    assert await store.end_session(session(1).digest, VISITOR, T0 + LIFE) is False
    assert await length(store) == before


async def test_sessions_past_their_time_are_forgotten(store: Store) -> None:
    for n, life in ((1, 10), (2, 11), (3, 12)):
        await store.add_session(session(n, life=life))
    assert await store.sweep_sessions(T0 + 11) == 2
    assert await live(store, 1, 2, 3) == [3]
    assert await store.sweep_sessions(T0 + 11) == 0


async def test_a_sweep_is_bounded_and_takes_the_first_to_end(store: Store) -> None:
    spare = 3
    count = SWEEP_ROWS_MAX + spare
    async with trio.open_nursery() as nursery:
        for n in range(count):
            nursery.start_soon(store.add_session, session(n, life=1 + n))
    assert await store.sweep_sessions(T0 + 10**6) == SWEEP_ROWS_MAX
    assert await live(store, *range(count)) == list(range(SWEEP_ROWS_MAX, count))
    assert await store.sweep_sessions(T0 + 10**6) == spare
    assert await store.sweep_sessions(T0 + 10**6) == 0


async def test_a_user_of_another_organisation_has_its_own_tenant_in_the_trail(
    store: Store,
) -> None:
    await store.add_user(user(1, organisation="x"), "hash", VISITOR)
    own = replace(session(1, of=1), organisation="x")
    assert await store.sign_in(SignIn(own, None, 1, VISITOR))
    assert [tenant for tenant, *_ in await lines(store)] == ["svc/x", "svc/x"]
