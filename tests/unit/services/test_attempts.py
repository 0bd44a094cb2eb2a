"""Attempts: counted before compared, accepted once, refused for a reason (11-24, 71, 92)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import MockClock

from otp_server.domain.challenge_type import CodeType
from otp_server.domain.outcome import Reason
from otp_server.domain.process import ProcessStatus
from otp_server.domain.process_outcome import Accepted, ProcessRefused, Wrong
from otp_server.errors import ConfigError, ErrorKind, StoreUnavailable
from otp_server.services.ports.outbox import MessageState
from otp_server.stores.memory import MemoryStore
from tests.support.process_world import (
    EMAIL,
    MAIL,
    OPERATOR,
    OTHER_PHONE,
    PHONE,
    SMS,
    TENANT,
    UNLIMITED,
    ProcessWorld,
    at_once,
    attempt,
    init,
    kinds,
    wrong,
)
from tests.support.world import KEY

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from otp_server.domain.process_outcome import AttemptOutcome
    from otp_server.services.ports import Store
    from otp_server.services.ports.processes import CountOutcome, NewAttempt, Settled, Verdict


async def world_with(
    store: Store | None = None, *, max_attempts: int = 5, **changed: object
) -> tuple[ProcessWorld, str]:
    """A world with one process for PHONE."""
    world = ProcessWorld(store=store or MemoryStore(), **changed)
    await world.add_type(routes=[(SMS, max_attempts)], max_attempts=max_attempts)
    return world, (await world.start()).uuid


async def failures(world: ProcessWorld, phone: str = PHONE) -> int:
    return await world.store.contact_failures(TENANT, world.vault.index(TENANT, SMS, phone))


async def test_wrong_then_right_then_over() -> None:
    world, uuid = await world_with()
    assert isinstance(await world.try_wrong(uuid), Wrong)
    assert isinstance(await world.try_right(uuid), Accepted)
    again = await world.try_right(uuid)
    assert isinstance(again, ProcessRefused)
    assert again.kind is ErrorKind.OTP_ALREADY_ACCEPTED
    process = await world.process(uuid)
    assert (process.status, process.attempts) == (ProcessStatus.ACCEPTED, 1)


@pytest.mark.parametrize("together", [True, False])
async def test_500_right_ones_at_once_and_one_is_accepted(store: Store, together: bool) -> None:
    world, uuid = await world_with(store)
    attempts = [attempt(uuid, await world.code_of(uuid))] * 500
    if together:
        outcomes = await world.attempts.attempt_many(attempts)
    else:
        outcomes = await at_once(world.attempts.attempt_many, attempts)
    words = kinds(outcomes)
    assert words.count("accepted") == 1
    assert set(words) <= {"accepted", "otp_already_accepted", "otp_attempts_exhausted"}
    assert (await world.process(uuid)).status is ProcessStatus.ACCEPTED


@pytest.mark.parametrize("together", [True, False])
async def test_500_wrong_ones_at_once_and_exactly_5_are_compared(
    store: Store, together: bool
) -> None:
    world, uuid = await world_with(store)
    attempts = [attempt(uuid, wrong(await world.code_of(uuid)))] * 500
    if together:
        outcomes = await world.attempts.attempt_many(attempts)
    else:
        outcomes = await at_once(world.attempts.attempt_many, attempts)
    words = kinds(outcomes)
    assert words.count("wrong") == 5
    assert words.count("otp_attempts_exhausted") == 495
    assert await failures(world) == 5


async def test_the_right_code_on_the_last_allowed_attempt() -> None:
    world, uuid = await world_with(max_attempts=3)
    assert kinds([await world.try_wrong(uuid) for _ in range(2)]) == ["wrong", "wrong"]
    assert isinstance(await world.try_right(uuid), Accepted)


async def test_after_its_end_the_right_code_is_refused_and_told_why(
    mock_clock: MockClock,
) -> None:
    world = ProcessWorld()
    await world.add_type(routes=[(SMS, 1)], max_attempts=1, ttl=60)
    await world.add_type("long", routes=[(SMS, 1)])
    exhausted = (await world.start()).uuid
    await world.try_wrong(exhausted)
    superseded = (await world.start(init("long"))).uuid
    await world.start(init("long"))
    undeliverable = (await world.start(init("long", phone=OTHER_PHONE))).uuid
    await world.hand_over(SMS, MessageState.FAILED)
    expired = (await world.start()).uuid
    code = await world.code_of(expired)
    mock_clock.jump(60)
    outcomes = [
        await world.try_right(uuid) for uuid in (exhausted, superseded, undeliverable, expired)
    ]
    outcomes.append(await world.try_code("0" * 8 + "-0000" * 3 + "-" + "0" * 12, code))
    assert kinds(outcomes) == [
        "otp_attempts_exhausted",
        "otp_superseded",
        "otp_undeliverable",
        "otp_expired",
        "otp_not_found",
    ]


async def test_a_code_lives_to_the_last_millisecond_and_not_beyond(mock_clock: MockClock) -> None:
    world, uuid = await world_with()
    code = await world.code_of(uuid)
    mock_clock.jump(3600)
    assert kinds([await world.try_code(uuid, code)]) == ["otp_expired"]
    world.clock.shift_ms = -1
    assert kinds([await world.try_code(uuid, code)]) == ["accepted"]


async def test_a_process_of_the_future_is_over() -> None:
    """The wall clock went back an hour across a restart: a code's age cannot be told (17)."""
    store = MemoryStore()
    world, uuid = await world_with(store)
    code = await world.code_of(uuid)
    after = ProcessWorld(store=store)
    after.clock.shift_ms = -3_600_000
    assert kinds([await after.try_code(uuid, code)]) == ["otp_expired"]
    after.clock.shift_ms = -1_000
    assert kinds([await after.try_code(uuid, code)]) == ["accepted"]


async def test_the_code_of_another_process_is_a_counted_failure() -> None:
    world, first = await world_with()
    second = (await world.start(init(phone=OTHER_PHONE))).uuid
    outcome = await world.try_code(second, await world.code_of(first))
    assert isinstance(outcome, Wrong)
    assert (await world.process(second)).attempts == 1
    assert (await world.process(first)).attempts == 0


async def test_another_tenants_process_is_not_there() -> None:
    world, uuid = await world_with()
    outcome = await world.try_code(uuid, await world.code_of(uuid), tenant="other")
    assert kinds([outcome]) == ["otp_not_found"]
    assert (await world.process(uuid)).attempts == 0


@pytest.mark.parametrize(
    "spelled",
    [
        lambda uuid: uuid.replace("-", ""),
        lambda uuid: "{" + uuid + "}",
        lambda uuid: f"urn:uuid:{uuid}",
        lambda uuid: uuid[:-1],
        lambda uuid: uuid + "\n",
        lambda _: "1",
        lambda _: "",
    ],
)
async def test_only_one_spelling_names_a_process(spelled: Callable[[str], str]) -> None:
    world, uuid = await world_with()
    code = await world.code_of(uuid)
    assert kinds([await world.try_code(spelled(uuid), code)]) == ["otp_not_found"]
    assert kinds([await world.try_code(uuid.upper(), code)]) == ["accepted"]


async def test_codes_are_read_as_people_type_them() -> None:
    world = ProcessWorld()
    await world.add_type("digits")
    await world.add_type("letters", code_type=CodeType.UNAMBIGUOUS)
    uuid = (await world.start(init("digits"))).uuid
    code = await world.code_of(uuid)
    wide = "".join(chr(ord("\uff10") + int(digit)) for digit in code)
    assert isinstance(await world.try_code(uuid, f"  {wide[:3]}-{wide[3:]}\n"), Accepted)
    uuid = (await world.start(init("letters"))).uuid
    code = await world.code_of(uuid)
    assert isinstance(await world.try_code(uuid, code.lower()), Accepted)


@pytest.mark.parametrize("text", ["", " - ", "\u2013", "1" * 129, "123456" + " " * 123])
async def test_what_cannot_be_a_code_counts_nowhere(text: str) -> None:
    world, uuid = await world_with(windows=replace(UNLIMITED, wrong_client=((1, 60_000),)))
    for _ in range(3):
        refused = await world.try_code(uuid, text)
        assert isinstance(refused, ProcessRefused)
        assert refused.kind is ErrorKind.INVALID_FIELDS
        assert list(refused.fields) == ["code"]
    assert (await world.process(uuid)).attempts == 0


@pytest.mark.parametrize("text", ["1", "1234567", "ABCDEF", "12345\u00e9", "x" * 128])
async def test_a_text_of_another_form_is_a_counted_failure(text: str) -> None:
    world, uuid = await world_with()
    assert isinstance(await world.try_code(uuid, text), Wrong)
    assert (await world.process(uuid)).attempts == 1


# Routes and budgets.


async def test_the_next_route_has_a_new_code_and_the_old_attempts() -> None:
    world = ProcessWorld()
    await world.add_type(routes=[(SMS, 1), (MAIL, 2)], max_attempts=3)
    uuid = (await world.start(init(phone=PHONE, email=EMAIL))).uuid
    old = await world.code_of(uuid)
    assert isinstance(await world.try_wrong(uuid), Wrong)
    process = await world.process(uuid)
    assert (process.route, process.attempts, process.route_attempts) == (1, 1, 0)
    assert old != await world.code_of(uuid)
    assert isinstance(await world.try_code(uuid, old), Wrong)  # void, and counted
    assert isinstance(await world.try_wrong(uuid), Wrong)
    assert kinds([await world.try_right(uuid)]) == ["otp_attempts_exhausted"]


async def test_a_resend_keeps_the_failure_budget_and_only_success_resets_it() -> None:
    world, uuid = await world_with()
    for _ in range(3):
        await world.try_wrong(uuid)
        uuid = (await world.start()).uuid
    await world.add_type("payment")
    other = (await world.start(init("payment"))).uuid
    await world.try_wrong(other)
    assert await failures(world) == 4  # over processes and types
    assert isinstance(await world.try_right(uuid), Accepted)
    assert await failures(world) == 0


async def test_near_the_cap_a_contact_waits_and_at_it_it_is_locked(
    mock_clock: MockClock,
) -> None:
    world = ProcessWorld()
    await world.add_type(routes=[(SMS, 20)], max_attempts=20, ttl=86_400)
    waits: list[int] = []
    uuid = (await world.start()).uuid
    for failed in range(100):
        if failed % 20 == 0:
            uuid = (await world.start()).uuid
        outcome = await world.try_wrong(uuid)
        while isinstance(outcome, ProcessRefused):
            assert outcome.kind is ErrorKind.RATE_LIMITED
            assert outcome.reason is Reason.FAILURES_WAIT
            assert outcome.violated == ("contact-failures",)
            waits.append(outcome.retry_after_ms)
            assert kinds([await world.try_right(uuid)]) == ["rate_limited"]  # right ones too
            mock_clock.jump(outcome.retry_after_ms / 1000)
            outcome = await world.try_wrong(uuid)
        assert isinstance(outcome, Wrong), (failed, outcome)
    assert (len(waits), waits[0], waits[-1]) == (50, 30_000, 3_600_000)
    assert waits == sorted(waits)
    uuid = (await world.start()).uuid
    mock_clock.jump(3600)
    assert kinds([await world.try_right(uuid)]) == ["contact_locked"]
    index = world.vault.index(TENANT, SMS, PHONE)
    await world.store.forgive_contact(TENANT, index, OPERATOR, world.clock.now_ms())
    assert isinstance(await world.try_right(uuid), Accepted)


async def test_success_ends_the_siblings_of_type_and_contact() -> None:
    world = ProcessWorld()
    await world.add_type(routes=[(SMS, 5), (MAIL, 5)])
    by_phone = (await world.start(init(phone=PHONE))).uuid
    by_mail = (await world.start(init(email=EMAIL))).uuid
    both = (await world.start(init(phone=PHONE, email=EMAIL))).uuid
    assert (
        kinds([await world.try_right(each) for each in (by_phone, by_mail)])
        == ["otp_superseded"] * 2
    )
    assert isinstance(await world.try_right(both), Accepted)


async def test_who_knows_only_the_contact_can_burn_no_attempt() -> None:
    """Attempts name a process by its 128 random bits; guesses of those touch nobody (92)."""
    world, uuid = await world_with()
    guesses = [attempt(f"{n:08x}-0000-0000-0000-{n:012x}", "123456") for n in range(500)]
    assert set(kinds(await world.attempts.attempt_many(guesses))) == {"otp_not_found"}
    assert (await world.process(uuid)).attempts == 0
    assert await failures(world) == 0
    assert isinstance(await world.try_right(uuid), Accepted)


# Idempotency.


async def test_a_repeated_attempt_is_answered_as_the_first_and_not_counted() -> None:
    windows = replace(UNLIMITED, wrong_address=((2, 60_000),))
    world, uuid = await world_with(windows=windows)
    code = await world.code_of(uuid)
    for _ in range(5):
        outcome = await world.try_code(uuid, wrong(code), claim_key="first")
        assert isinstance(outcome, Wrong)
    assert outcome.replayed
    assert (await world.process(uuid)).attempts == 1
    outcomes = [await world.try_code(uuid, code, claim_key='"second"') for _ in range(3)]
    assert all(isinstance(outcome, Accepted) for outcome in outcomes)
    assert [getattr(outcome, "replayed", None) for outcome in outcomes] == [False, True, True]
    assert kinds([await world.try_code(uuid, code, claim_key="third")]) == ["otp_already_accepted"]


async def test_a_key_used_for_something_else_is_a_mismatch() -> None:
    world, uuid = await world_with()
    other = (await world.start(init(phone=OTHER_PHONE))).uuid
    code = await world.code_of(uuid)
    await world.try_code(uuid, wrong(code), claim_key="key")
    outcomes = [
        await world.try_code(uuid, code, claim_key="key"),
        await world.try_code(other, wrong(code), claim_key="key"),
        await world.try_code(uuid, wrong(code), claim_key="key", client_id="another"),
    ]
    assert kinds(outcomes) == ["idempotency_mismatch"] * 2 + ["wrong"]
    assert (await world.process(uuid)).attempts == 2


async def test_a_key_that_cannot_be_one_is_refused_before_anything() -> None:
    world, uuid = await world_with()
    refused = await world.try_code(uuid, "123456", claim_key="ü")
    assert isinstance(refused, ProcessRefused)
    assert list(refused.fields) == ["Idempotency-Key"]
    assert (await world.process(uuid)).attempts == 0


# Stores that fail, callers that leave.


class Gated(MemoryStore):
    """Lets a test stop before a step, or make it fail."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = trio.Event()
        self.go_on = trio.Event()
        self.fails: set[str] = set()
        self.waits: set[str] = set()

    async def _pass(self, step: str) -> None:
        if step in self.fails:
            raise StoreUnavailable("the disk is full")
        if step in self.waits:
            self.asked.set()
            await self.go_on.wait()

    async def count_attempts(self, batch: Sequence[NewAttempt]) -> list[CountOutcome]:
        await self._pass("count")
        return await super().count_attempts(batch)

    async def settle_attempts(self, batch: Sequence[Verdict]) -> list[Settled]:
        await self._pass("settle")
        return await super().settle_attempts(batch)


@pytest.mark.parametrize("step", ["count", "settle"])
async def test_a_leaving_client_does_not_uncount_its_attempt(step: str) -> None:
    store = Gated()
    world, uuid = await world_with(store)
    store.waits.add(step)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.try_wrong, uuid)
        await store.asked.wait()
        nursery.cancel_scope.cancel()
        store.go_on.set()
    assert (await world.process(uuid)).attempts == 1
    assert await failures(world) == 1
    assert ("client:client", uuid, "wrong") in await world.trail("otp.attempt")


async def test_a_store_that_cannot_count_refuses_and_charges_nothing() -> None:
    store = Gated()
    world, uuid = await world_with(store, windows=replace(UNLIMITED, wrong_address=((1, 60_000),)))
    store.fails.add("count")
    outcomes = [await world.try_wrong(uuid) for _ in range(3)]
    assert set(kinds(outcomes)) == {"unavailable"}
    store.fails.clear()
    assert isinstance(await world.try_wrong(uuid), Wrong)


async def test_an_attempt_that_is_not_settled_stays_counted() -> None:
    store = Gated()
    world, uuid = await world_with(store, windows=replace(UNLIMITED, wrong_address=((2, 60_000),)))
    store.fails.add("settle")
    outcomes = [await world.try_right(uuid), await world.try_wrong(uuid)]
    assert set(kinds(outcomes)) == {"unavailable"}
    store.fails.clear()
    assert (await world.process(uuid)).attempts == 2
    assert kinds([await world.try_right(uuid)]) == ["rate_limited"]  # both stay charged


@pytest.mark.parametrize("step", ["count", "settle"])
async def test_a_store_that_does_not_answer_is_given_up(
    autojump_clock: MockClock, step: str
) -> None:
    store = Gated()
    world, uuid = await world_with(store)
    store.waits.add(step)
    assert kinds([await world.try_right(uuid)]) == ["unavailable"]


async def test_a_right_code_that_loses_a_race_hears_why() -> None:
    """Counted, and before it is settled the process ends or has a new code."""
    store = Gated()
    world = ProcessWorld(store=store)
    await world.add_type(routes=[(SMS, 2), (MAIL, 2)])

    async def accepted(uuid: str) -> None:
        store.waits.clear()
        assert isinstance(await world.try_right(uuid), Accepted)

    async def superseded(_: str) -> None:
        await world.start(init(phone=PHONE, email=EMAIL))

    async def moved(_: str) -> None:
        await world.hand_over(SMS, MessageState.FAILED)

    heard: list[str] = []
    for meanwhile in (accepted, superseded, moved):
        store.asked, store.go_on = trio.Event(), trio.Event()
        uuid = (await world.start(init(phone=PHONE, email=EMAIL))).uuid
        outcomes: list[AttemptOutcome] = []

        async def late(uuid: str = uuid, outcomes: list[AttemptOutcome] = outcomes) -> None:
            outcomes.append(await world.try_right(uuid))

        async with trio.open_nursery() as nursery:
            store.waits.add("settle")
            nursery.start_soon(late)
            await store.asked.wait()
            await meanwhile(uuid)
            store.go_on.set()
        heard += kinds(outcomes)
    assert heard == ["otp_already_accepted", "otp_superseded", "wrong"]


async def test_one_batch_answers_each_item_for_itself() -> None:
    world, uuid = await world_with()
    code = await world.code_of(uuid)
    batch = [
        attempt(uuid, ""),
        attempt(uuid, wrong(code)),
        attempt("nobody", code),
        attempt(uuid, code),
        attempt(uuid, code),
    ]
    assert kinds(await world.attempts.attempt_many(batch)) == [
        "invalid_fields",
        "wrong",
        "otp_not_found",
        "accepted",
        "otp_already_accepted",
    ]


# Keys.


async def test_codes_survive_a_rotation_of_keys() -> None:
    store = MemoryStore()
    world, uuid = await world_with(store)
    code = await world.code_of(uuid)
    rotated = ProcessWorld(store=store, keys=[("k2", KEY[::-1]), ("k1", KEY)])
    await rotated.attempts.check_keys()
    assert isinstance(await rotated.try_code(uuid, code), Accepted)
    assert (await rotated.process((await rotated.start()).uuid)).key_id == "k2"


async def test_a_missing_key_of_an_open_process_is_named_at_start() -> None:
    store = MemoryStore()
    world, uuid = await world_with(store)
    rotated = ProcessWorld(store=store, keys=[("k2", KEY[::-1])])
    with pytest.raises(ConfigError, match="'k1'"):
        await rotated.attempts.check_keys()
    outcomes = await rotated.attempts.attempt_many([attempt(uuid, "123456")])
    assert kinds(outcomes) == ["internal"]
    await world.try_right(uuid)
    await rotated.attempts.check_keys()  # no open process needs it any more


async def test_an_attempt_shows_no_code() -> None:
    assert "123456" not in repr(attempt("uuid", "123456"))
