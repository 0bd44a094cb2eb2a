"""The port's sentences about the change of a password: all of it, or nothing."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
import trio
from msgspec import structs

from otp_server.domain.process import FailureReason, ProcessStatus
from otp_server.errors import AlreadyExists
from otp_server.services.ports.processes import AttemptRefusal, NewAttempt, Settled, Verdict
from otp_server.services.ports.resets import Changed
from tests.contracts.account_samples import (
    CODES,
    MAIN,
    NOTICES,
    SVC,
    VISITOR,
    add_user,
    by_uid,
    change,
    change_one,
    check,
    count,
    length,
    lines,
    live,
    messages,
    notice,
    process,
    reset,
    session,
    sign_in,
    svc_process,
    uid,
    user,
)
from tests.contracts.rest_samples import EMAIL, T0, TTL, email, lease, new_process, spelled, uuid
from tests.support.changed_values import replace

if TYPE_CHECKING:
    from otp_server.services.ports import Store
    from otp_server.services.ports.processes import Counted
    from otp_server.services.ports.resets import PasswordChange

NOTICE = 10_000
"""Where the numbers of notices begin."""


@pytest.fixture
async def ready(store: Store) -> Counted:
    """User 1 with sessions 1 and 2, session 3 of user 2, and an attempt on the reset 1.

    The reset is of the session 0, which is nobody's.
    """
    for n in (1, 2):
        await add_user(store, n)
    for n, of in ((1, 1), (2, 1), (3, 2)):
        await sign_in(store, n, of=of)
    await store.add_session(session(0))
    await store.start_resets([reset(1)])
    return await count(store, 1)


async def untouched(store: Store) -> None:
    """Nothing that a change of user 1's password would change."""
    assert await store.find_password(uid(1)) == "hash 0"
    [found] = await store.find_users([by_uid(1)])
    assert found is not None
    assert found.password_version == 1
    assert await live(store, 0, 1, 2, 3, 9) == [0, 1, 2, 3]
    assert await store.find_process(SVC, notice(9).uuid) is None


async def test_a_right_code_changes_it_all(store: Store, ready: Counted) -> None:
    changed = await change_one(store, change(ready, 9, at=5))
    ended = sorted(session(n).digest for n in (0, 1, 2))
    assert changed == Changed(Settled.ACCEPTED, tuple(ended))
    assert await store.find_password(uid(1)) == "hash 9"
    assert await store.find_users([by_uid(1), by_uid(2)]) == [
        replace(user(1), password_version=2),
        replace(user(2), password_version=1),
    ]
    assert await live(store, 0, 1, 2, 3, 9, at=5) == [3, 9]
    assert await store.find_sessions([session(9).digest], T0 + 5) == [session(9, of=1, at=5)]
    found = await process(store, 1)
    assert (found.status, found.attempts) == (ProcessStatus.ACCEPTED, 0)
    assert await messages(store, 1) == ["void"]


async def test_the_notice_waits_in_the_outbox(store: Store, ready: Counted) -> None:
    await change_one(store, change(ready, 9, at=5))
    told = await process(store, NOTICE + 9)
    assert (told.plan, told.status, told.created_at_ms) == (NOTICES, ProcessStatus.NEW, T0 + 5)
    [leased] = await lease(store, EMAIL, at=5)
    assert leased.uuid == told.uuid
    [refused] = await store.count_attempts([NewAttempt(told.uuid, SVC, T0 + 5, VISITOR)])
    assert refused is AttemptRefusal.EXHAUSTED


async def test_the_trail_tells_the_change_in_order(store: Store, ready: Counted) -> None:
    before = await length(store)
    await change_one(store, change(ready, 9, at=5))
    me = f"user:{uid(1)}"
    assert await lines(store, before) == [
        (SVC, "otp.attempt", spelled(1), "accepted"),
        (SVC, "user.password", me, "changed"),
        (SVC, "user.sign_out", me, "password_changed"),
        (SVC, "user.sign_out", me, "password_changed"),
        (SVC, "user.sign_in", me, "done"),
        (SVC, "otp.init", spelled(NOTICE + 9), "started"),
    ]
    entries = [entry for _, entry, _, _ in await store.audit_after(before, 100)]
    assert {(each.at_ms, each.actor, each.address) for each in entries} == {
        (T0 + 5, "svc", "192.0.2.9")
    }


async def test_a_first_password_can_be_set_so(store: Store) -> None:
    await add_user(store, 1, None)
    await store.add_session(session(0))
    await store.start_resets([reset(1)])
    changed = await change_one(store, change(await count(store, 1), 9))
    assert changed == Changed(Settled.ACCEPTED, (session(0).digest,))
    assert await store.find_password(uid(1)) == "hash 9"
    assert await store.find_users([by_uid(1)]) == [replace(user(1), password_version=1)]


async def test_the_session_of_the_secret_ends_even_if_it_is_another_users(store: Store) -> None:
    for n in (1, 2):
        await add_user(store, n)
    await sign_in(store, 3, of=2)
    await store.start_resets([reset(1, by=3)])
    counted, before = await count(store, 1), await length(store)
    changed = await change_one(store, change(counted, 9))
    assert changed.ended == (session(3).digest,)
    assert (SVC, "user.sign_out", f"user:{uid(2)}", "password_changed") in await lines(
        store, before
    )


async def test_the_users_other_open_resets_are_over(store: Store, ready: Counted) -> None:
    await store.start_resets(
        [reset(2, by=5), reset(3, method="otp"), reset(4, of=2), reset(5, by=6, ttl=3)]
    )
    before = await length(store)
    await change_one(store, change(ready, 9, at=3))
    found = [await process(store, n) for n in (1, 2, 3, 4, 5)]
    failed, new = ProcessStatus.FAILED, ProcessStatus.NEW
    assert [each.status for each in found] == [ProcessStatus.ACCEPTED, failed, failed, new, new]
    assert {each.failure for each in found} == {None, FailureReason.SUPERSEDED}
    assert [await messages(store, n) for n in (2, 3, 4)] == [["void"], ["void"], ["queued"]]
    ends = [line for line in await lines(store, before) if line[1] == "otp.end"]
    assert ends == [(SVC, "otp.end", spelled(n), "superseded") for n in (2, 3)]


async def test_the_contacts_failures_are_forgotten(store: Store, ready: Counted) -> None:
    await check(store, await count(store, 1), right=False)
    assert await store.contact_failures(SVC, email(1)) == 2
    await change_one(store, change(ready, 9))
    assert await store.contact_failures(SVC, email(1)) == 0


# What changes nothing.


async def test_a_wrong_code_changes_nothing_but_counts(store: Store, ready: Counted) -> None:
    assert await change_one(store, change(ready, 9, right=False)) == Changed(Settled.WRONG)
    await untouched(store)
    assert (await process(store, 1)).attempts == 1
    assert (await process(store, 1)).status is ProcessStatus.NEW


async def test_the_last_wrong_code_exhausts(store: Store, ready: Counted) -> None:
    for n in range(5):
        counted = ready if n == 0 else await count(store, 1)
        await change_one(store, change(counted, 9, right=False))
    found = await process(store, 1)
    assert (found.status, found.failure) == (ProcessStatus.FAILED, FailureReason.EXHAUSTED)
    await untouched(store)


@pytest.mark.parametrize("how", ["decoy", "user", "nobody", "no-reset", "organisation"])
async def test_of_what_is_not_the_users_nothing_is_right(
    store: Store, ready: Counted, how: str
) -> None:
    counted, of, organisation = ready, 1, MAIN
    if how == "decoy":
        await store.start_resets([reset(2, of=None, to=1)])
        counted = await count(store, 2)
    elif how == "user":
        await store.start_resets([reset(2, of=2)])
        counted = await count(store, 2)
    elif how == "nobody":
        await store.start_resets([reset(2, of=7)])
        counted, of = await count(store, 2), 7
    elif how == "no-reset":
        await store.start_processes([svc_process(2, to=1)])
        counted = await count(store, 2)
    else:
        organisation = "other"
        await store.start_resets([reset(2, of=1, organisation="other")])
        counted = await count(store, 2, tenant="svc/other")
    item = change(counted, 9, of=of, organisation=organisation)
    assert await change_one(store, item) == Changed(Settled.WRONG)
    await untouched(store)
    found = await process(store, 1 if counted is ready else 2, counted.tenant)
    assert (found.status, found.attempts) == (ProcessStatus.NEW, 1)


@pytest.mark.parametrize("how", ["expired", "superseded", "generation", "used"])
async def test_a_late_one_changes_nothing(store: Store, ready: Counted, how: str) -> None:
    counted, at = ready, 0
    if how == "expired":
        at = TTL
    elif how == "superseded":
        await store.start_resets([reset(2)])
    elif how == "generation":
        counted = structs.replace(counted, generation=2)
    else:
        await store.settle_attempts([Verdict(await count(store, 1), True, T0, VISITOR)])
    assert await change_one(store, change(counted, 9, at=at)) == Changed(Settled.LATE)
    await untouched(store)


@pytest.mark.parametrize("how", ["signed-out", "signed-in", "expired", "swept"])
async def test_a_change_does_not_outlive_its_session(store: Store, how: str) -> None:
    """It is late: the code stays counted, and good for nobody else."""
    await add_user(store)
    await store.add_session(session(0, life=5))
    await store.start_resets([reset(1)])
    counted, at = await count(store, 1), 4
    assert await live(store, 0, at=4) == [0]
    if how == "signed-out":
        assert await store.end_session(session(0).digest, VISITOR, T0 + 4)
    elif how == "signed-in":
        assert await sign_in(store, 1, replaced=0)
    else:
        at = 5
    if how == "swept":
        assert await store.sweep_sessions(T0 + 5) == 1
    before, alive = await length(store), await live(store, 1)
    assert await change_one(store, change(counted, 9, at=at)) == Changed(Settled.LATE)
    assert await store.find_password(uid(1)) == "hash 0"
    assert await live(store, 1, 9) == alive
    assert await store.find_process(SVC, notice(9).uuid) is None
    assert await lines(store, before) == [(SVC, "otp.attempt", spelled(1), "late")]
    found = await process(store, 1)
    assert (found.status, found.attempts) == (ProcessStatus.NEW, 1)
    assert await store.contact_failures(SVC, email(1)) == 1


async def test_a_change_in_the_last_millisecond_of_its_session_is_in_time(store: Store) -> None:
    await add_user(store)
    await store.add_session(session(0, life=5))
    await store.start_resets([reset(1)])
    changed = await change_one(store, change(await count(store, 1), 9, at=4))
    assert changed.settled is Settled.ACCEPTED


async def test_the_last_attempt_without_its_session_exhausts(store: Store) -> None:
    """As any late one would: the way back to the engine is the same."""
    await add_user(store)
    await store.start_resets([reset(1)])
    for _ in range(5):
        changed = await change_one(store, change(await count(store, 1), 9))
        assert changed == Changed(Settled.LATE)
    found = await process(store, 1)
    assert (found.status, found.failure) == (ProcessStatus.FAILED, FailureReason.EXHAUSTED)


async def test_what_is_there_already_changes_nothing(store: Store, ready: Counted) -> None:
    before = await length(store)
    same_session = replace(change(ready, 9), session=session(1, of=1))
    same_notice = replace(change(ready, 9), notice=replace(notice(9), uuid=uuid(1)))
    twice = replace(change(ready, 8), session=session(9, of=1))
    bad: list[list[PasswordChange]] = [
        [same_session],
        [same_notice],
        [change(ready, 9), twice],
        [change(ready, 9), replace(change(ready, 8), notice=notice(9))],
    ]
    for batch in bad:
        with pytest.raises(AlreadyExists):
            await store.change_passwords(batch)
    await untouched(store)
    assert await length(store) == before


async def test_a_session_or_a_notice_of_another_is_a_bug(store: Store, ready: Counted) -> None:
    good = change(ready, 9)
    for why, item in (
        ("not of the user", replace(good, session=session(9, of=2))),
        ("not of the user", replace(good, session=session(9))),
        ("another organisation", replace(good, session=session(9, of=1, organisation="x"))),
        ("another organisation", replace(good, notice=notice(9, organisation="x"))),
    ):
        with pytest.raises(ValueError, match=why):
            await store.change_passwords([item])
    await untouched(store)


# Batches and races.


async def test_changes_of_a_batch_come_in_order(store: Store, ready: Counted) -> None:
    """The first ends the other open resets of its user, the later ones are late."""
    await store.add_session(session(6))
    await store.start_resets([reset(2, by=5), reset(3, of=2, by=6)])
    others = [await count(store, n) for n in (2, 3)]
    changed = await store.change_passwords(
        [
            change(await count(store, 1), 7, right=False),
            change(ready, 9),
            change(others[0], 10),
            change(others[1], 11, of=2),
        ]
    )
    assert [each.settled.value for each in changed] == ["wrong", "accepted", "late", "accepted"]
    assert [await store.find_password(uid(n)) for n in (1, 2)] == ["hash 9", "hash 11"]
    assert await live(store, 0, 1, 2, 3, 7, 9, 10, 11) == [9, 11]
    assert await store.change_passwords([]) == []


async def test_a_change_after_a_check_wins(store: Store, ready: Counted) -> None:
    assert await check(store, ready) is Settled.ACCEPTED
    changed = await change_one(store, change(await count(store, 1), 9))
    assert changed.settled is Settled.ACCEPTED
    assert await check(store, ready) is Settled.LATE


async def test_a_password_changed_meanwhile_lets_nobody_in(store: Store, ready: Counted) -> None:
    await change_one(store, change(ready, 9))
    assert await sign_in(store, 4, version=1) is False
    assert await sign_in(store, 4, version=2) is True


async def test_of_200_changes_on_one_process_one_wins(store: Store) -> None:
    """The winner's password, session and notice are the only ones."""
    await add_user(store)
    await store.add_session(session(200))
    many = replace(CODES, max_attempts=200, routes=(replace(CODES.routes[0], attempts=200),))
    item = reset(1, by=200)
    await store.start_resets([replace(item, process=replace(item.process, plan=many))])
    attempts = [await count(store, 1) for _ in range(40)]  # the contact's budget allows no more
    said: dict[int, Changed] = {}

    async def one(n: int) -> None:
        said[n] = await change_one(store, change(attempts[n % 40], n))

    async with trio.open_nursery() as nursery:
        for n in range(200):
            nursery.start_soon(one, n)
    assert Counter(each.settled for each in said.values()) == {
        Settled.ACCEPTED: 1,
        Settled.LATE: 199,
    }
    [winner] = [n for n, each in said.items() if each.settled is Settled.ACCEPTED]
    assert await store.find_password(uid(1)) == f"hash {winner}"
    assert await live(store, *range(200)) == [winner]
    [found] = await store.find_users([by_uid(1)])
    assert found is not None
    assert found.password_version == 2
    assert [await store.find_process(SVC, notice(n).uuid) is None for n in range(200)] == [
        n != winner for n in range(200)
    ]
    words = Counter((action, outcome) for _, action, _, outcome in await lines(store))
    assert words["user.password", "changed"] == 1
    assert words["otp.attempt", "accepted"] == 1


async def test_changes_and_sign_ins_at_once_leave_one_session_of_the_new_password(
    store: Store, ready: Counted
) -> None:
    """A sign-in by the old password is before the change, and ended by it; or it is refused."""

    async def old(n: int) -> None:
        await sign_in(store, n, version=1)

    async with trio.open_nursery() as nursery:
        for n in range(20, 40):
            nursery.start_soon(old, n)
        nursery.start_soon(change_one, store, change(ready, 9))
        for n in range(40, 60):
            nursery.start_soon(old, n)
    assert await live(store, 0, 1, 2, 9, *range(20, 60)) == [9]


async def test_a_rest_process_of_the_same_contact_goes_on(store: Store, ready: Counted) -> None:
    await store.start_processes([new_process(50, of=replace(CODES, type_id=5), to=None, mail=1)])
    await change_one(store, change(ready, 9))
    assert (await process(store, 50, "acme")).status is ProcessStatus.NEW
