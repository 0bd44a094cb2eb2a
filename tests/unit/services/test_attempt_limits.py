"""Attempts meet limits, lose races of routes, and leave a trail (24, 43-45, 87)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import MockClock

from otp_server.domain.process_outcome import Accepted, ProcessRefused
from otp_server.services.ports.processes import AttemptWait
from otp_server.stores.memory import MemoryStore
from tests.support.process_world import (
    EMAIL,
    MAIL,
    PHONE,
    SMS,
    UNLIMITED,
    ProcessWorld,
    attempt,
    init,
    kinds,
    wrong,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otp_server.services.ports import Store
    from otp_server.services.ports.processes import CountOutcome, NewAttempt


async def world_with(
    store: Store | None = None, *, max_attempts: int = 5, **changed: object
) -> tuple[ProcessWorld, str]:
    """A world with one process for PHONE."""
    world = ProcessWorld(store=store or MemoryStore(), **changed)
    await world.add_type(routes=[(SMS, max_attempts)], max_attempts=max_attempts)
    return world, (await world.start()).uuid


@pytest.mark.parametrize("limit", ["wrong_address", "wrong_client"])
async def test_wrong_codes_have_a_limit_and_right_ones_none(
    mock_clock: MockClock, limit: str
) -> None:
    windows = replace(UNLIMITED, **{limit: ((3, 60_000),)})
    world, uuid = await world_with(windows=windows, max_attempts=20)
    for n in range(5):
        phone = f"+4917012345{n:02}"
        assert isinstance(
            await world.try_right((await world.start(init(phone=phone))).uuid), Accepted
        )
    outcomes = [await world.try_wrong(uuid) for _ in range(4)]
    assert kinds(outcomes) == ["wrong"] * 3 + ["rate_limited"]
    refused = outcomes[3]
    assert isinstance(refused, ProcessRefused)
    assert refused.violated == (f"{limit.replace('_', '-')}-60",)
    assert refused.retry_after_ms == 60_000
    assert kinds([await world.try_right(uuid)]) == ["rate_limited"]
    assert (await world.process(uuid)).attempts == 3  # what was refused counts nowhere


async def test_success_gives_back_its_own_charge_and_no_other() -> None:
    windows = replace(UNLIMITED, wrong_address=((3, 60_000),))
    world, uuid = await world_with(windows=windows)
    await world.try_wrong(uuid)
    await world.try_wrong(uuid)
    assert isinstance(await world.try_right(uuid), Accepted)
    uuid = (await world.start()).uuid
    outcomes = [await world.try_wrong(uuid) for _ in range(2)]
    assert kinds(outcomes) == ["wrong", "rate_limited"]


async def test_refusals_of_the_store_charge_no_wrong_code() -> None:
    windows = replace(UNLIMITED, wrong_address=((1, 60_000),))
    world, uuid = await world_with(windows=windows)
    code = await world.code_of(uuid)
    await world.try_code(uuid, code)
    outcomes = [await world.try_code(uuid, code) for _ in range(5)]
    assert set(kinds(outcomes)) == {"otp_already_accepted"}


async def test_an_address_is_shut_out_for_its_own_tenant_only() -> None:
    """Tenants behind one proxy do not pay for each other's wrong codes."""
    world, uuid = await world_with(windows=replace(UNLIMITED, wrong_address=((2, 60_000),)))
    await world.add_type(tenant="other")
    theirs = (await world.start(init(tenant="other", client_id="other"))).uuid
    them = {"tenant": "other", "client_id": "other"}
    bad = wrong(await world.code_of(theirs, "other"))
    outcomes = [await world.try_code(theirs, bad, **them) for _ in range(3)]
    assert kinds(outcomes) == ["wrong", "wrong", "rate_limited"]
    assert isinstance(await world.try_right(uuid), Accepted)


@pytest.mark.parametrize("limit", ["wrong_address", "wrong_client"])
async def test_right_codes_at_once_are_put_off_for_a_second_and_no_longer(
    mock_clock: MockClock, limit: str
) -> None:
    world, first = await world_with(windows=replace(UNLIMITED, **{limit: ((3, 60_000),)}))
    uuids = [first]
    uuids += [(await world.start(init(phone=f"+4917012345{n:02}"))).uuid for n in range(4)]
    burst = [attempt(uuid, await world.code_of(uuid)) for uuid in uuids]
    outcomes = await world.attempts.attempt_many(burst)
    assert kinds(outcomes) == ["accepted"] * 3 + ["rate_limited"] * 2
    for refused in outcomes[3:]:
        assert isinstance(refused, ProcessRefused)
        assert refused.retry_after_ms == 1000
        assert {q.reset_ms for q in refused.quotas or () if not q.remaining} == {1000}
    mock_clock.jump(1)
    assert kinds(await world.attempts.attempt_many(burst[3:])) == ["accepted"] * 2
    assert [(await world.process(uuid)).attempts for uuid in uuids] == [0] * 5


async def test_wrong_codes_that_were_judged_are_told_by_their_real_time() -> None:
    world, uuid = await world_with(
        windows=replace(UNLIMITED, wrong_address=((1, 60_000),)), max_attempts=5
    )
    assert kinds([await world.try_wrong(uuid)]) == ["wrong"]
    refused = await world.try_right(uuid)
    assert isinstance(refused, ProcessRefused)
    assert 59_000 < refused.retry_after_ms <= 60_000


async def test_attempts_at_nothing_are_in_the_trail_once_a_second() -> None:
    world, _ = await world_with()
    nothing = "00000000-0000-0000-0000-000000000000"
    guesses = [attempt(nothing, "123456")] * 50 + [attempt("no uuid", "123456")] * 3
    assert set(kinds(await world.attempts.attempt_many(guesses))) == {"otp_not_found"}
    await world.upkeep.flush_hits()
    assert await world.trail("otp.limit") == [("client:client", "unknown-process", "refused:53")]


class Cornered(MemoryStore):
    """Its routes have no attempt left while one is compared."""

    async def count_attempts(self, batch: Sequence[NewAttempt]) -> list[CountOutcome]:
        await trio.lowlevel.checkpoint()
        return [AttemptWait(250, route=True) for _ in batch]


async def test_an_attempt_beside_the_last_of_a_route_comes_again() -> None:
    world, uuid = await world_with(store=Cornered())
    refused = await world.try_code(uuid, "000000")
    assert isinstance(refused, ProcessRefused)
    assert (refused.violated, refused.retry_after_ms) == (("route-attempts",), 250)


async def test_a_wrong_code_moves_to_a_route_that_has_a_provider() -> None:
    world = ProcessWorld(provided=frozenset({MAIL}))
    await world.add_type(routes=[(MAIL, 1), (SMS, 1), (MAIL, 1)])
    uuid = (await world.start(init(phone=PHONE, email=EMAIL))).uuid
    await world.try_wrong(uuid)
    assert (await world.process(uuid)).route == 2
