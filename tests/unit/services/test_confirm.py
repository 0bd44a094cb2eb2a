"""Confirming: exactly once, limits that compose, one refusal (requirements 13-17, 45-52)."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import MockClock

from otp_server.core import Passcode
from otp_server.domain.challenge import Route
from otp_server.domain.outcome import Confirmed, Issued, Reason, Refused
from otp_server.errors import ErrorKind
from otp_server.services.confirm import Attempt
from otp_server.stores.memory import MemoryStore
from tests.support.world import PLENTY, World

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otp_server.domain.challenge import DeviceCode
    from otp_server.services.ports import Guess


async def issue(world: World, device_id: str | None = None) -> Issued:
    if device_id is None:
        device, _ = await world.devices.add(None, "")
        device_id = device.device_id
    [outcome] = await world.issue.issue_many([device_id])
    assert isinstance(outcome, Issued)
    return outcome


def right(code: Issued, address: str = "a", org_id: int | None = None) -> Attempt:
    route = Route.V1 if org_id is None else Route.V2
    return Attempt(code.passcode, route, address, org_id)


def wrong(code: Issued, address: str = "a", org_id: int | None = None) -> Attempt:
    digits = str((int(code.passcode.reveal()) + 1) % 10**6).zfill(6)
    return Attempt(Passcode.from_text(digits, "numeric"), Route.V1, address, org_id)


async def test_once() -> None:
    world = World()
    code = await issue(world)
    first, second = [(await world.confirm.confirm_many([right(code)]))[0] for _ in range(2)]
    assert isinstance(first, Confirmed)
    assert first.device.device_id == code.device_id
    assert second == Refused(ErrorKind.INVALID_CODE, Reason.CONFIRMED)


async def test_500_at_once_in_one_batch_and_in_500_tasks() -> None:
    world = World()
    code = await issue(world)
    batch = await world.confirm.confirm_many([right(code)] * 500)
    assert sum(isinstance(outcome, Confirmed) for outcome in batch) == 1

    code = await issue(world)
    won: list[Confirmed] = []

    async def one() -> None:
        [outcome] = await world.confirm.confirm_many([right(code)])
        if isinstance(outcome, Confirmed):
            won.append(outcome)

    async with trio.open_nursery() as nursery:
        for _ in range(500):
            nursery.start_soon(one)
    assert len(won) == 1


async def test_every_refusal_has_one_face_and_its_own_reason(
    mock_clock: MockClock,
) -> None:
    world = World(requests=PLENTY)
    confirmed, superseded, revoked, void, expired = [await issue(world) for _ in range(5)]
    await world.confirm.confirm_many([right(confirmed)])
    await issue(world, superseded.device_id)
    await world.devices.revoke(revoked.device_id)
    await world.issue.void([void.challenge_id])
    cases = [right(c) for c in (confirmed, superseded, revoked, void)] + [wrong(expired)]
    outcomes = await world.confirm.confirm_many(cases)
    mock_clock.jump(300)
    outcomes += await world.confirm.confirm_many([right(expired)])
    refusals = [outcome for outcome in outcomes if isinstance(outcome, Refused)]
    assert [refusal.reason for refusal in refusals] == [
        Reason.CONFIRMED,
        Reason.SUPERSEDED,
        Reason.REVOKED,
        Reason.VOID,
        Reason.UNKNOWN,
        Reason.EXPIRED,
    ]
    assert {(refusal.kind, refusal.retry_after_ms) for refusal in refusals} == {
        (ErrorKind.INVALID_CODE, 0)
    }


async def test_the_right_code_on_the_last_allowed_attempt() -> None:
    world = World(per_address=[(3, 60_000)])
    code = await issue(world)
    attempts = [wrong(code), wrong(code), right(code)]
    outcomes = [(await world.confirm.confirm_many([attempt]))[0] for attempt in attempts]
    assert isinstance(outcomes[2], Confirmed)


async def test_success_gives_back_its_own_charge_and_no_other() -> None:
    world = World(per_address=[(3, 60_000)], requests=PLENTY)
    code = await issue(world)
    await world.confirm.confirm_many([wrong(code)])
    await world.confirm.confirm_many([wrong(code)])
    for _ in range(5):  # successes alone never fill the window
        code = await issue(world, code.device_id)
        assert isinstance((await world.confirm.confirm_many([right(code)]))[0], Confirmed)
    await world.confirm.confirm_many([wrong(code)])
    [outcome] = await world.confirm.confirm_many([wrong(code)])
    assert isinstance(outcome, Refused)
    assert outcome.reason is Reason.ADDRESS_LIMIT  # the two of before still count


async def test_parallel_wrong_attempts_pass_the_limit_exactly() -> None:
    world = World(per_address=[(10, 60_000)])
    code = await issue(world)
    outcomes = await world.confirm.confirm_many([wrong(code)] * 500)
    kinds = [outcome.kind for outcome in outcomes if isinstance(outcome, Refused)]
    assert kinds.count(ErrorKind.INVALID_CODE) == 10
    assert kinds.count(ErrorKind.RATE_LIMITED) == 490


@pytest.mark.parametrize("limited", list(itertools.product([False, True], repeat=3)))
async def test_no_limiter_switches_another_off(limited: Sequence[bool]) -> None:
    """Every pair of limiters on and off (requirement 45)."""
    limits = [[(3, 60_000)] if on else PLENTY for on in limited]
    world = World(per_address=limits[0], per_organisation=limits[1], in_all=limits[2])
    code = await issue(world)
    outcomes = await world.confirm.confirm_many([wrong(code, org_id=1)] * 5)
    passed = [o for o in outcomes if isinstance(o, Refused) and o.reason is Reason.UNKNOWN]
    assert len(passed) == (3 if any(limited) else 5)


async def test_a_refusal_by_one_limiter_charges_no_other() -> None:
    world = World(per_address=[(1, 60_000)], in_all=[(3, 60_000)])
    code = await issue(world)
    await world.confirm.confirm_many([wrong(code, "a")] * 10)
    outcomes = await world.confirm.confirm_many([wrong(code, a) for a in ("b", "c", "d")])
    reasons = [outcome.reason for outcome in outcomes if isinstance(outcome, Refused)]
    assert reasons == [Reason.UNKNOWN, Reason.UNKNOWN, Reason.GLOBAL_LIMIT]


async def test_the_refusal_says_when(mock_clock: MockClock) -> None:
    world = World(per_address=[(1, 60_000)], in_all=[(1, 90_000)])
    code = await issue(world)
    await world.confirm.confirm_many([wrong(code)])
    mock_clock.jump(10)
    [refused] = await world.confirm.confirm_many([right(code)])
    assert isinstance(refused, Refused)
    assert refused.retry_after_ms == 80_000  # the longest of all that refuse
    mock_clock.jump(80)
    assert isinstance((await world.confirm.confirm_many([right(code)]))[0], Confirmed)


async def test_a_guess_stays_counted_across_a_restart() -> None:
    store = MemoryStore()
    before = World(store=store, per_address=[(3, 60_000)])
    code = await issue(before)
    await before.confirm.confirm_many([wrong(code)] * 2)
    after = World(store=store, per_address=[(3, 60_000)])
    assert await after.confirm.restore(60_000) == 2
    await after.confirm.confirm_many([wrong(code)])
    [outcome] = await after.confirm.confirm_many([right(code)])
    assert isinstance(outcome, Refused)
    assert outcome.reason is Reason.ADDRESS_LIMIT


async def test_guesses_of_a_future_the_clock_left_count_from_now(mock_clock: MockClock) -> None:
    store = MemoryStore()
    before = World(store=store)
    before.clock.shift_ms = 3_600_000
    code = await issue(before)
    await before.confirm.confirm_many([wrong(code)] * 3)
    after = World(store=store, per_address=[(3, 60_000)])
    await after.confirm.restore(60_000)
    [outcome] = await after.confirm.confirm_many([wrong(code)])
    assert isinstance(outcome, Refused)
    assert outcome.reason is Reason.ADDRESS_LIMIT
    mock_clock.jump(60)
    [outcome] = await after.confirm.confirm_many([wrong(code)])
    assert isinstance(outcome, Refused)
    assert outcome.reason is Reason.UNKNOWN  # one window later they are forgotten


async def test_a_code_of_the_future_is_dead() -> None:
    """The wall clock went back an hour across a restart (requirement 17)."""
    store = MemoryStore()
    before = World(store=store)
    before.clock.shift_ms = 3_600_000
    code = await issue(before)
    [outcome] = await World(store=store).confirm.confirm_many([right(code)])
    assert isinstance(outcome, Refused)


class SlowCounting(MemoryStore):
    """Lets a test cancel before the guess is counted."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = trio.Event()
        self.go_on = trio.Event()

    async def count_guesses(
        self, batch: Sequence[tuple[Guess, Sequence[bytes]]]
    ) -> list[DeviceCode | None]:
        self.asked.set()
        await self.go_on.wait()
        return await super().count_guesses(batch)


async def test_a_leaving_client_does_not_uncount_its_guess() -> None:
    store = SlowCounting()
    world = World(store=store, per_address=[(1, 60_000)])
    code = await issue(world)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.confirm.confirm_many, [wrong(code)])
        await store.asked.wait()
        nursery.cancel_scope.cancel()
        store.go_on.set()
    assert len(await store.guesses_since(0)) == 1
    [outcome] = await world.confirm.confirm_many([right(code)])
    assert isinstance(outcome, Refused)
    assert outcome.reason is Reason.ADDRESS_LIMIT


async def test_organisations() -> None:
    world = World(requests=PLENTY)
    first, key = await world.devices.add_organisation("first")
    second, _ = await world.devices.add_organisation("second")
    assert await world.devices.organisation_of_key(key) == first
    assert await world.devices.organisation_of_key(key[:-2] + "AA") is None
    code = await issue(world)
    [linked] = await world.confirm.confirm_many([right(code, org_id=first.org_id)])
    assert isinstance(linked, Confirmed)
    assert linked.device.org_id == first.org_id
    code = await issue(world, code.device_id)
    [other] = await world.confirm.confirm_many([right(code, org_id=second.org_id)])
    assert other == Refused(ErrorKind.LINKED_ELSEWHERE, Reason.LINKED_ELSEWHERE)
    [again] = await world.confirm.confirm_many([right(code, org_id=first.org_id)])
    assert isinstance(again, Confirmed)  # the refusal left the code


async def test_a_store_that_does_not_answer_is_given_up(
    autojump_clock: MockClock,
) -> None:
    store = SlowCounting()
    world = World(store=store)
    code = await issue(world)
    [outcome] = await world.confirm.confirm_many([right(code)])
    assert outcome == Refused(ErrorKind.UNAVAILABLE, Reason.STORE)
