"""The port's sentences about resets: started, found, checked, forgotten."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from msgspec import structs

from otp_server.domain.budget import CLAIM_PATIENCE_MS, FAILURES_MAX, WAIT_FROM, WAIT_MIN_MS
from otp_server.domain.process import FailureReason, ProcessStatus
from otp_server.errors import AlreadyExists
from otp_server.services.ports.processes import (
    AttemptRefusal,
    AttemptWait,
    Counted,
    NewAttempt,
    Settled,
    StartRecord,
)
from tests.contracts.account_samples import (
    CODES,
    SVC,
    VISITOR,
    add_user,
    check,
    count,
    length,
    lines,
    messages,
    notice,
    process,
    reset,
    says,
    secret,
    session,
    uid,
)
from tests.contracts.rest_samples import (
    EMAIL,
    LEASE,
    T0,
    TTL,
    claim,
    contact,
    email,
    lease,
    new_process,
    plan,
    spelled,
    start,
    uuid,
)
from tests.support.changed_values import replace

if TYPE_CHECKING:
    from otp_server.services.ports import Store
    from otp_server.services.ports.processes import CountOutcome
    from otp_server.services.ports.resets import NewReset

SUPERSEDED = (ProcessStatus.FAILED, FailureReason.SUPERSEDED)
OPEN = (ProcessStatus.NEW, None)


async def ends(store: Store, *numbers: int) -> list[tuple[ProcessStatus, FailureReason | None]]:
    """How the processes stand."""
    found = [await process(store, n) for n in numbers]
    return [(each.status, each.failure) for each in found]


async def try_one(store: Store, n: int, *, at: int = 0) -> CountOutcome:
    [outcome] = await store.count_attempts([NewAttempt(uuid(n), SVC, T0 + at, VISITOR)])
    return outcome


# Starting and finding.


async def test_a_reset_is_a_process_with_its_message_and_a_secret(store: Store) -> None:
    await store.start_resets([reset(1, method="otp", at=5), reset(2, of=None)])
    found = await process(store, 1)
    assert (found.plan, found.status, found.generation) == (CODES, ProcessStatus.NEW, 1)
    assert (found.phone, found.email) == (None, contact(EMAIL, 1))
    assert (found.created_at_ms, found.expires_at_ms) == (T0 + 5, T0 + 5 + TTL)
    assert (found.attempts, found.address) == (0, VISITOR.address)
    [leased] = await lease(store, EMAIL, at=5)
    assert (leased.uuid, leased.plan, leased.contact) == (uuid(1), CODES, contact(EMAIL, 1))
    asked = [secret(2), secret(9), secret(1), secret(1)]
    one, two = reset(1, method="otp", at=5).reset, reset(2, of=None).reset
    assert await store.find_resets(asked) == [two, None, one, one]
    assert await store.find_resets([]) == []
    await store.start_resets([])


async def test_a_reset_is_found_whatever_became_of_its_process(store: Store) -> None:
    await store.start_resets([reset(1)])
    await store.start_resets([reset(2)])
    await store.sweep_processes(T0 + TTL, forget_before_ms=0)
    assert await ends(store, 1, 2) == [SUPERSEDED, (ProcessStatus.EXPIRED, None)]
    assert await store.find_resets([secret(1), secret(2)]) == [reset(1).reset, reset(2).reset]


async def test_the_trail_tells_of_a_reset_and_of_a_decoy(store: Store) -> None:
    await store.start_resets([reset(1), reset(2, of=None)])
    assert await lines(store) == [
        (SVC, "reset.start", spelled(1), "started"),
        (SVC, "reset.start", spelled(2), "decoy"),
    ]


async def test_a_uuid_or_a_secret_used_before_stores_nothing(store: Store) -> None:
    await store.start_resets([reset(1)])
    before = await length(store)
    same_secret = replace(reset(3), reset=replace(reset(3).reset, secret_digest=secret(1)))
    twice = replace(reset(4), reset=replace(reset(4).reset, secret_digest=secret(3)))
    same_uuid = replace(reset(1), reset=replace(reset(1).reset, secret_digest=secret(5)))
    again = [([reset(3), same_secret], "secret"), ([reset(3), twice], "secret")]
    for batch, what in [*again, ([reset(3), same_uuid], "uuid"), ([reset(3), reset(3)], "secret")]:
        with pytest.raises(AlreadyExists) as caught:
            await store.start_resets(batch)
        assert caught.value.what == what
    assert await store.find_resets([secret(n) for n in (1, 3, 4, 5)]) == [
        reset(1).reset,
        None,
        None,
        None,
    ]
    assert await store.find_process(SVC, uuid(3)) is None
    assert (await process(store, 1)).status is ProcessStatus.NEW
    assert await length(store) == before


ODD = reset(1)
OTHERS: list[tuple[str, NewReset]] = [
    ("of its process", replace(ODD, reset=replace(ODD.reset, uuid=uuid(2)))),
    ("of its process", replace(ODD, reset=replace(ODD.reset, tenant="svc/other"))),
    ("of its process", replace(ODD, reset=replace(ODD.reset, expires_at_ms=T0))),
    ("of its process", replace(ODD, reset=replace(ODD.reset, created_at_ms=T0 + 1))),
    ("writes to", replace(ODD, reset=replace(ODD.reset, email_index=email(2)))),
    ("ends no other", replace(ODD, process=replace(ODD.process, supersedes=True))),
    ("neither claim", replace(ODD, process=replace(ODD.process, claim=claim()))),
    ("neither claim", replace(ODD, process=replace(ODD.process, settings_version=1))),
]


@pytest.mark.parametrize(("why", "item"), OTHERS)
async def test_a_reset_that_is_not_of_its_process_is_a_bug(
    store: Store, why: str, item: NewReset
) -> None:
    with pytest.raises(ValueError, match=why):
        await store.start_resets([reset(2), item])
    assert await store.find_resets([secret(1), secret(2)]) == [None, None]
    assert await length(store) == 0


# Older resets.


async def test_a_newer_reset_ends_the_older_one_it_takes_the_place_of(store: Store) -> None:
    await store.start_resets([reset(1)])
    before = await length(store)
    await store.start_resets([reset(2, at=3)])
    assert await ends(store, 1, 2) == [SUPERSEDED, OPEN]
    assert [await messages(store, n) for n in (1, 2)] == [["void"], ["queued"]]
    assert (await process(store, 1)).updated_at_ms == T0 + 3
    assert await lines(store, before) == [
        (SVC, "otp.end", spelled(1), "superseded"),
        (SVC, "reset.start", spelled(2), "started"),
    ]
    assert await try_one(store, 1, at=3) is AttemptRefusal.SUPERSEDED


@pytest.mark.parametrize(
    "other",
    [
        reset(2, by=7),
        reset(2, of=2),
        reset(2, method="otp"),
        reset(2, organisation="other"),
        reset(2, at=TTL),
    ],
    ids=["session", "email", "method", "organisation", "later"],
)
async def test_a_reset_of_another_session_email_or_method_stays(
    store: Store, other: NewReset
) -> None:
    """Requirement 92: nobody can end another's by asking."""
    await store.start_resets([reset(1)])
    await store.start_resets([other])
    assert await ends(store, 1) == [OPEN]


async def test_resets_of_a_batch_meet_those_before_them(store: Store) -> None:
    await store.start_resets([reset(1), reset(2), reset(3, by=1), reset(4)])
    assert await ends(store, 1, 2, 3, 4) == [SUPERSEDED, SUPERSEDED, OPEN, OPEN]


async def test_a_decoy_takes_the_place_of_a_decoy(store: Store) -> None:
    await store.start_resets([reset(1, of=None), reset(2, of=None), reset(3, of=None, to=98)])
    assert await ends(store, 1, 2, 3) == [SUPERSEDED, OPEN, OPEN]
    assert [await messages(store, n) for n in (1, 2, 3)] == [["void"]] * 3


# Processes that end no other, as such.


async def test_a_process_that_supersedes_nothing_ends_none(store: Store) -> None:
    mild = [replace(new_process(n), supersedes=False) for n in (2, 3)]
    await start(store, new_process(1), *mild)
    found = [await process(store, n, "acme") for n in (1, 2, 3)]
    assert [each.status for each in found] == [ProcessStatus.NEW] * 3
    await start(store, new_process(4, to=2), new_process(5, at=1))
    found = [await process(store, n, "acme") for n in (1, 2, 3, 4, 5)]
    over = ProcessStatus.FAILED
    assert [each.status for each in found] == [over, over, over, *[ProcessStatus.NEW] * 2]


# Decoys.


async def test_a_decoy_is_never_sent_and_ends_in_nothing(store: Store) -> None:
    await store.start_resets([reset(1, of=None)])
    assert await messages(store, 1) == ["void"]
    assert await store.next_message_at(EMAIL) is None
    assert await lease(store, EMAIL) == []
    counted = await count(store, 1)
    assert await check(store, counted) is Settled.WRONG
    found = await process(store, 1)
    assert (found.status, found.attempts) == (ProcessStatus.NEW, 1)
    assert await store.contact_failures(SVC, email(99)) == 1


async def test_a_decoy_is_exhausted_like_any_other(store: Store) -> None:
    await store.start_resets([reset(1, of=None), reset(2, of=1)])
    for _ in range(5):
        for n in (1, 2):
            await check(store, await count(store, n), right=n == 1)
    assert [await try_one(store, n) for n in (1, 2)] == [AttemptRefusal.EXHAUSTED] * 2


async def test_nothing_is_right_of_what_is_no_reset(store: Store) -> None:
    await start(store, new_process(1))
    [counted] = await store.count_attempts([NewAttempt(uuid(1), "acme", T0, VISITOR)])
    assert isinstance(counted, Counted)
    assert await check(store, counted) is Settled.WRONG
    assert (await process(store, 1, "acme")).attempts == 1


# Checks.


async def test_a_right_check_gives_its_attempt_back_and_ends_nothing(store: Store) -> None:
    await store.start_resets([reset(1)])
    await check(store, await count(store, 1), right=False)
    before, told = await process(store, 1), await length(store)
    assert await check(store, await count(store, 1, at=2), at=2) is Settled.ACCEPTED
    after = await process(store, 1)
    assert structs.replace(after, updated_at_ms=before.updated_at_ms) == before
    assert (after.attempts, after.route_attempts) == (1, 1)
    assert await messages(store, 1) == ["queued"]
    assert await store.contact_failures(SVC, email(1)) == 1
    assert await lines(store, told) == [
        (SVC, "otp.attempt", spelled(1), "counted"),
        (SVC, "otp.attempt", spelled(1), "checked"),
    ]


async def test_a_right_check_may_be_made_any_time(store: Store) -> None:
    """Neither the process nor the contact's budget gets used up by it."""
    await store.start_resets([reset(1)])
    for n in range(FAILURES_MAX + 20):
        assert await check(store, await count(store, 1, at=n), at=n) is Settled.ACCEPTED
    assert await store.contact_failures(SVC, email(1)) == 0
    assert (await process(store, 1)).attempts == 0


async def test_wrong_checks_count_and_exhaust(store: Store) -> None:
    await store.start_resets([reset(1)])
    for _ in range(5):
        assert await check(store, await count(store, 1), right=False) is Settled.WRONG
    assert await ends(store, 1) == [(ProcessStatus.FAILED, FailureReason.EXHAUSTED)]
    assert await store.contact_failures(SVC, email(1)) == 5


async def test_right_checks_of_a_batch_come_first(store: Store) -> None:
    await store.start_resets([reset(1)])
    counted = [await count(store, 1) for _ in range(5)]
    batch = [says(each, right=n in (2, 4)) for n, each in enumerate(counted)]
    said = await store.settle_checks(batch)
    wrong, right = Settled.WRONG, Settled.ACCEPTED
    assert said == [wrong, wrong, right, wrong, right]
    assert (await process(store, 1)).attempts == 3
    assert await ends(store, 1) == [OPEN]
    assert await store.settle_checks([]) == []


async def test_a_right_check_of_a_batch_comes_before_the_wrong_one_that_exhausts(
    store: Store,
) -> None:
    await store.start_resets([reset(1)])
    before = await count(store, 1)
    await check(store, before)
    for _ in range(4):
        await check(store, await count(store, 1), right=False)
    batch = [says(await count(store, 1), right=False), says(before)]
    assert await store.settle_checks(batch) == [Settled.WRONG, Settled.ACCEPTED]
    assert await ends(store, 1) == [(ProcessStatus.FAILED, FailureReason.EXHAUSTED)]


async def test_an_attempt_is_given_back_once(store: Store) -> None:
    await store.start_resets([reset(1)])
    await check(store, await count(store, 1), right=False)
    counted = await count(store, 1)
    answers = [await check(store, counted) for _ in range(3)]
    assert answers == [Settled.ACCEPTED] * 3
    assert (await process(store, 1)).attempts == 1
    assert await store.contact_failures(SVC, email(1)) == 1


async def test_no_two_attempts_have_one_number(store: Store) -> None:
    """Else one of them would be settled for the other."""
    await store.start_resets([reset(1)])
    first, second = await count(store, 1), await count(store, 1)
    await check(store, first)
    third = await count(store, 1)
    assert [each.attempt for each in (first, second, third)] == [1, 2, 3]
    await check(store, first, right=True)
    assert (await process(store, 1)).attempts == 2
    for _ in range(3):
        await count(store, 1)
    await check(store, second, right=False)
    assert await ends(store, 1) == [OPEN]  # others are still being compared


async def test_an_attempt_taken_for_wrong_stays_counted(store: Store) -> None:
    await store.start_resets([reset(1)])
    counted = await count(store, 1)
    await store.sweep_processes(T0 + CLAIM_PATIENCE_MS, forget_before_ms=0)
    assert await check(store, counted, at=CLAIM_PATIENCE_MS) is Settled.ACCEPTED
    assert (await process(store, 1)).attempts == 1
    assert await store.contact_failures(SVC, email(1)) == 1


@pytest.mark.parametrize("how", ["ended", "late", "generation", "uuid"])
async def test_what_cannot_be_accepted_is_late_and_stays_counted(store: Store, how: str) -> None:
    await store.start_resets([reset(1)])
    counted, at = await count(store, 1), 0
    if how == "ended":
        await store.start_resets([reset(2)])
    elif how == "late":
        at = TTL
    elif how == "generation":
        counted = structs.replace(counted, generation=2)
    else:
        counted = structs.replace(counted, uuid=uuid(7))
    said = await check(store, counted, at=at)
    assert said is (Settled.WRONG if how == "uuid" else Settled.LATE)
    assert (await process(store, 1)).attempts == 1
    assert await store.contact_failures(SVC, email(1)) == 1


async def test_who_has_the_code_need_not_wait_before_using_it(store: Store) -> None:
    """However many wrong codes others made, a check found right does not lock its maker out."""
    for n in range(WAIT_FROM // 5):
        await store.start_resets([reset(n, by=n)])
        for _ in range(5):
            await check(store, await count(store, n), right=False)
    await store.start_resets([reset(90)])
    assert await try_one(store, 90) == AttemptWait(WAIT_MIN_MS)
    at = WAIT_MIN_MS
    assert await check(store, await count(store, 90, at=at), at=at) is Settled.ACCEPTED
    assert await store.contact_failures(SVC, email(1)) == WAIT_FROM
    await check(store, await count(store, 90, at=at), right=False, at=at)
    assert isinstance(await try_one(store, 90, at=at), AttemptWait)


async def test_many_checks_at_once_are_all_right(store: Store) -> None:
    await store.start_resets([reset(n, by=n) for n in range(4)])
    said: list[Settled] = []

    async def one(n: int) -> None:
        said.append(await check(store, await count(store, n)))

    async with trio.open_nursery() as nursery:
        for n in range(4):
            for _ in range(5):
                nursery.start_soon(one, n)
    assert said == [Settled.ACCEPTED] * 20
    assert [(await process(store, n)).attempts for n in range(4)] == [0] * 4
    assert await store.contact_failures(SVC, email(1)) == 0


# Upkeep.


async def test_a_reset_is_forgotten_with_its_process(store: Store) -> None:
    await store.start_resets([reset(1), reset(2, by=2, at=1)])
    assert await store.sweep_processes(T0, forget_before_ms=T0 + 1) == 1
    assert await store.find_resets([secret(1), secret(2)]) == [None, reset(2, by=2, at=1).reset]
    await store.start_resets([reset(1, by=3, at=2)])  # both are free again
    assert await store.find_resets([secret(1)]) == [reset(1, by=3, at=2).reset]


async def test_the_starts_of_resets_and_decoys_are_in_the_journal_and_notices_are_not(
    store: Store,
) -> None:
    await store.start_resets([reset(1, at=1), reset(2, of=None, at=2)])
    await start(store, notice(1, at=3), new_process(3, at=4, to=None, mail=1, of=plan(EMAIL)))
    assert await store.starts_since(T0) == [
        StartRecord(SVC, 0, email(1), T0 + 1),
        StartRecord(SVC, 0, email(99), T0 + 2),
        StartRecord("acme", 1, email(1), T0 + 4),
    ]


async def test_a_notice_goes_out_and_takes_no_attempt(store: Store) -> None:
    await start(store, notice(1))
    [leased] = await lease(store, EMAIL)
    assert leased.plan.max_attempts == 0
    assert await try_one(store, 10_001) is AttemptRefusal.EXHAUSTED
    assert await store.sweep_processes(T0 + LEASE, forget_before_ms=0) == 0


async def test_a_check_of_a_user_that_is_there_needs_nothing_of_it(store: Store) -> None:
    await add_user(store)
    await store.start_resets([reset(1)])
    await check(store, await count(store, 1))
    assert await store.find_password(uid(1)) == "hash 0"
    assert await store.find_sessions([session(0).digest], T0) == [None]
