"""Guards against SMS fraud, enforcing and recording (requirement 85)."""

from __future__ import annotations

import pytest
from trio.testing import MockClock

from otp_server.domain.process_outcome import Accepted, ProcessRefused, StartAnswer
from otp_server.services import guards as guards_module
from otp_server.services.guards import (
    PATIENCE_MS,
    PERIOD_MS,
    STARTS_MIN,
    GuardRules,
    SmsGuards,
    UnverifiedShare,
)
from tests.support.process_world import EMAIL, MAIL, SMS, ProcessWorld, init, kinds
from tests.support.world import PLENTY

BLOCK = "acme +491701234"
FEW = ((3, 3_600_000),)


def phones(count: int) -> list[str]:
    return [f"+49170123{n:04}" for n in range(count)]


async def test_many_starts_of_one_block_are_refused(mock_clock: MockClock) -> None:
    world = ProcessWorld(guard_rules=GuardRules(prefix=FEW, enforce=True))
    await world.add_type(routes=[(SMS, 1), (MAIL, 1)])
    outcomes = await world.starts.start_many([init(phone=phone) for phone in phones(5)])
    assert kinds(outcomes) == ["startanswer"] * 3 + ["rate_limited"] * 2
    refused = outcomes[4]
    assert isinstance(refused, ProcessRefused)
    assert (refused.violated, refused.retry_after_ms) == (("sms-prefix",), 3_600_000)
    others = [init(phone="+491701244567"), init(email=EMAIL)]  # another block, and no SMS
    assert kinds(await world.starts.start_many(others)) == ["startanswer"] * 2
    mock_clock.jump(3600)
    assert isinstance(await world.start(init(phone=phones(5)[4])), StartAnswer)


async def test_a_guard_that_only_records_refuses_nothing_and_says_so(
    mock_clock: MockClock,
) -> None:
    world = ProcessWorld(guard_rules=GuardRules(prefix=FEW, enforce=False))
    await world.add_type()
    outcomes = await world.starts.start_many([init(phone=phone) for phone in phones(5)])
    assert kinds(outcomes) == ["startanswer"] * 5
    await world.upkeep.flush_hits()
    assert await world.trail("otp.limit") == [("client:client", "sms-prefix", "recorded:2")]
    text = world.metrics.render().decode()
    assert 'otp_process_limit_hits_total{outcome="recorded",policy="sms-prefix"} 2.0' in text


async def test_codes_never_entered_hold_their_block_back(mock_clock: MockClock) -> None:
    rules = GuardRules(prefix=PLENTY, unverified_share=0.5, enforce=True)
    world = ProcessWorld(guard_rules=rules)
    await world.add_type()
    for n, phone in enumerate(phones(12)):
        answer = await world.start(init(phone=phone))
        if n < 5:
            assert isinstance(await world.try_right(answer.uuid), Accepted)
    mock_clock.jump(PATIENCE_MS / 1000 - 1)
    await world.start(init(phone=phones(13)[12]))  # nothing is judged yet
    mock_clock.jump(1)
    outcomes = await world.starts.start_many([init(phone=phones(1)[0])])
    assert kinds(outcomes) == ["rate_limited"]
    refused = outcomes[0]
    assert isinstance(refused, ProcessRefused)
    assert refused.violated == ("sms-unverified",)
    assert 0 < refused.retry_after_ms <= PERIOD_MS
    assert isinstance(await world.start(init(phone="+33612345678")), StartAnswer)


async def test_codes_that_are_entered_speak_for_their_block(mock_clock: MockClock) -> None:
    rules = GuardRules(prefix=PLENTY, unverified_share=0.5, enforce=True)
    world = ProcessWorld(guard_rules=rules)
    await world.add_type()
    for n, phone in enumerate(phones(12)):
        answer = await world.start(init(phone=phone))
        if n < 6:
            assert isinstance(await world.try_right(answer.uuid), Accepted)
    mock_clock.jump(PATIENCE_MS / 1000)
    assert isinstance(await world.start(init(phone=phones(1)[0])), StartAnswer)


def share(unverified: int, verified: int, *, allowed: float = 0.5) -> UnverifiedShare:
    """After so many codes, all judged at the instant PATIENCE_MS."""
    watched = UnverifiedShare(allowed)
    for n in range(unverified + verified):
        watched.started(n.to_bytes(16), BLOCK, 0)
    for n in range(verified):
        watched.verified(n.to_bytes(16), 1)
    return watched


@pytest.mark.parametrize(
    ("unverified", "verified", "held"),
    [
        (STARTS_MIN - 1, 0, False),
        (STARTS_MIN, 0, True),
        (STARTS_MIN, STARTS_MIN, False),
        (STARTS_MIN + 1, STARTS_MIN, True),
        (0, STARTS_MIN, False),
    ],
)
def test_the_share_and_the_least_number(unverified: int, verified: int, held: bool) -> None:
    assert bool(share(unverified, verified).wait_ms(BLOCK, PATIENCE_MS)) is held


def test_a_share_of_nothing_does_not_look() -> None:
    assert share(100, 0, allowed=0.0).wait_ms(BLOCK, PATIENCE_MS) == 0


def test_it_is_forgotten_within_two_periods() -> None:
    watched = share(STARTS_MIN, 0)
    wait_ms = watched.wait_ms(BLOCK, PATIENCE_MS)
    assert wait_ms == PERIOD_MS - PATIENCE_MS
    assert watched.wait_ms(BLOCK, PATIENCE_MS + wait_ms) == PERIOD_MS
    assert watched.wait_ms(BLOCK, PATIENCE_MS + wait_ms + PERIOD_MS) == 0
    watched = share(STARTS_MIN, 0)
    assert watched.wait_ms(BLOCK, PATIENCE_MS)
    assert watched.wait_ms(BLOCK, PATIENCE_MS + 5 * PERIOD_MS) == 0


def test_a_start_that_was_withdrawn_counts_nowhere() -> None:
    guards = SmsGuards(GuardRules(prefix=((1, 60_000),), unverified_share=0.1))
    for n in range(50):
        guards.started(n.to_bytes(16), BLOCK, 0)
        assert guards.hits(BLOCK, 0)
        guards.withdrawn(n.to_bytes(16), BLOCK, 0)
    assert guards.hits(BLOCK, PATIENCE_MS) == []


def test_a_code_entered_twice_counts_once_and_too_late_as_never_entered() -> None:
    watched = share(0, STARTS_MIN)
    for n in range(STARTS_MIN):
        watched.verified(n.to_bytes(16), 2)
    watched.started(b"late", BLOCK, 2)
    watched.verified(b"late", PATIENCE_MS + 2)
    counts = watched._counts[BLOCK]
    assert (counts.verified, counts.unverified) == (STARTS_MIN, 1)


def test_each_is_judged_at_its_own_time() -> None:
    watched, after = UnverifiedShare(0.5), 10
    for n in range(after):
        watched.started(n.to_bytes(16), BLOCK, n)
    assert not watched.wait_ms(BLOCK, PATIENCE_MS - 1)  # and has seen whose turn is next
    watched.withdrawn((0).to_bytes(16))
    for n in range(1, after):
        watched.wait_ms(BLOCK, PATIENCE_MS + n - 1)
        assert len(watched._waiting) == after - n
        watched.wait_ms(BLOCK, PATIENCE_MS + n)
        assert watched._counts[BLOCK].unverified == n


def test_its_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guards_module, "_WAITING_MAX", 10)
    monkeypatch.setattr(guards_module, "_BLOCKS_MAX", 10)
    watched = UnverifiedShare(0.5)
    for n in range(100):
        watched.started(n.to_bytes(16), f"acme {n}", n * PATIENCE_MS)
    assert len(watched._waiting) <= 10
    assert len(watched._counts) == 10
    guards = SmsGuards(GuardRules(prefix=PLENTY))
    for n in range(100):  # a full table of blocks is a sign less, and no error
        guards.started(n.to_bytes(16), str(n), 0)
