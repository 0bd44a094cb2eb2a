"""Issuing: batches, limits, crowding, collisions, cancellation (requirements 46, 47, 50, 53)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from trio.testing import MockClock

from otp_server.core import Passcode
from otp_server.domain.challenge import Route
from otp_server.domain.outcome import Issued, Reason, Refused
from otp_server.domain.policy import CodePolicy
from otp_server.errors import ErrorKind, StoreUnavailable
from otp_server.services import issue as issue_module
from otp_server.services.confirm import Attempt
from otp_server.stores.memory import MemoryStore
from tests.support.world import World

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otp_server.services.ports import IssueRefusal, NewDeviceCode


async def devices(world: World, count: int) -> list[str]:
    added = [await world.devices.add(None, "") for _ in range(count)]
    return [device.device_id for device, _ in added]


def confirmable(code: Issued) -> Attempt:
    return Attempt(code.passcode, Route.V1, "address")


async def test_one_code_for_each_device_in_the_order_asked(mock_clock: MockClock) -> None:
    world = World()
    ids = await devices(world, 50)
    outcomes = await world.issue.issue_many(ids)
    assert all(isinstance(outcome, Issued) for outcome in outcomes)
    assert [outcome.device_id for outcome in outcomes if isinstance(outcome, Issued)] == ids
    codes = {outcome.passcode.reveal() for outcome in outcomes if isinstance(outcome, Issued)}
    assert len(codes) == 50
    assert all(len(code) == 6 for code in codes)
    [first, *_] = outcomes
    assert isinstance(first, Issued)
    assert first.expires_at_ms == world.clock.now_ms() + 300_000


async def test_a_new_request_supersedes() -> None:
    world = World()
    [device] = await devices(world, 1)
    outcomes = await world.issue.issue_many([device, device, device])
    codes = [outcome for outcome in outcomes if isinstance(outcome, Issued)]
    confirmed = await world.confirm.confirm_many([confirmable(code) for code in codes])
    assert [isinstance(outcome, Refused) for outcome in confirmed] == [True, True, False]
    assert isinstance(confirmed[0], Refused)
    assert confirmed[0].reason is Reason.SUPERSEDED


async def test_the_limit_of_a_device_is_its_own(mock_clock: MockClock) -> None:
    world = World()
    assert [world.issue.admit("a") for _ in range(6)] == [None] * 6
    refused = world.issue.admit("a")
    assert refused is not None
    assert (refused.kind, refused.reason) == (ErrorKind.RATE_LIMITED, Reason.DEVICE_LIMIT)
    assert refused.retry_after_ms == 60_000
    assert world.issue.admit("b") is None
    mock_clock.jump(60)
    assert world.issue.admit("a") is None


async def test_codes_grow_with_the_crowd_and_then_are_refused() -> None:
    policy = CodePolicy(6, 7, 300_000, guess_risk=0.001, failures_allowed=500)  # 2, then 20
    world = World(policy=policy)
    ids = await devices(world, 23)
    outcomes = [(await world.issue.issue_many([device]))[0] for device in ids]
    lengths = [len(o.passcode) if isinstance(o, Issued) else o.reason for o in outcomes]
    assert lengths == [6] * 2 + [7] * 20 + [Reason.CROWDED]


async def test_room_returns_when_codes_end() -> None:
    world = World(policy=CodePolicy(6, 6, 300_000, guess_risk=0.001, failures_allowed=500))
    ids = await devices(world, 3)
    outcomes = await world.issue.issue_many(ids[:2])
    assert isinstance((await world.issue.issue_many([ids[2]]))[0], Refused)
    codes = [outcome for outcome in outcomes if isinstance(outcome, Issued)]
    await world.confirm.confirm_many([confirmable(codes[0])])
    await world.live.refresh(world.store, world.clock.now_ms())
    assert isinstance((await world.issue.issue_many([ids[2]]))[0], Issued)


async def test_a_tiny_universe_never_gives_a_code_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forced collisions: 10 codes, 12 devices (requirement 46)."""
    monkeypatch.setattr(issue_module, "SPARES", 100)
    policy = CodePolicy(1, 1, 300_000, guess_risk=1e9, failures_allowed=1)
    world = World(policy=policy)
    ids = await devices(world, 12)
    outcomes = await world.issue.issue_many(ids)
    issued = [outcome for outcome in outcomes if isinstance(outcome, Issued)]
    assert len({code.passcode.reveal() for code in issued}) == len(issued) == 10
    refused = [outcome for outcome in outcomes if isinstance(outcome, Refused)]
    assert [outcome.reason for outcome in refused] == [Reason.COLLISION] * 2
    assert [outcome.kind for outcome in refused] == [ErrorKind.CROWDED] * 2


async def test_unknown_and_revoked_devices_get_nothing() -> None:
    world = World()
    [device] = await devices(world, 1)
    await world.devices.revoke(device)
    outcomes = await world.issue.issue_many([device, "nobody"])
    assert outcomes == [
        Refused(ErrorKind.UNAUTHORIZED, Reason.REVOKED),
        Refused(ErrorKind.UNAUTHORIZED, Reason.DEVICE_UNKNOWN),
    ]


class BrokenStore(MemoryStore):
    async def issue_device_codes(self, batch: Sequence[NewDeviceCode]) -> list[int | IssueRefusal]:
        raise StoreUnavailable("the disk is full")


async def test_a_broken_store_refuses_and_says_so() -> None:
    world = World(store=BrokenStore())
    [device] = await devices(world, 1)
    outcomes = await world.issue.issue_many([device])
    assert outcomes == [Refused(ErrorKind.UNAVAILABLE, Reason.STORE)]


async def test_codes_of_an_old_key_still_confirm_and_stay_unique() -> None:
    """Rotation loses no live code; uniqueness holds under every key (requirement 8, 46)."""
    store = MemoryStore()
    old = World(store=store, keys=[("old", b"o" * 32)])
    [device] = await devices(old, 1)
    [code] = await old.issue.issue_many([device])
    assert isinstance(code, Issued)
    new = World(store=store, keys=[("new", b"n" * 32), ("old", b"o" * 32)])
    stranger = World(store=store, keys=[("new", b"n" * 32)])
    again = Attempt(Passcode.from_text(code.passcode.reveal(), "numeric"), Route.V1, "a")
    assert isinstance((await stranger.confirm.confirm_many([again]))[0], Refused)
    assert not isinstance((await new.confirm.confirm_many([again]))[0], Refused)


async def test_challenge_ids_are_128_random_bits(mock_clock: MockClock) -> None:
    world = World()
    outcomes = await world.issue.issue_many(await devices(world, 20))
    ids = [outcome.challenge_id for outcome in outcomes if isinstance(outcome, Issued)]
    assert len(set(ids)) == 20
    assert len({challenge_id[6:] for challenge_id in ids}) == 20
    assert {len(challenge_id[6:]) for challenge_id in ids} == {16}
    assert {int.from_bytes(challenge_id[:6]) for challenge_id in ids} == {world.clock.now_ms()}
