"""The server's clock: never back, near elapsed time whatever the wall does (requirement 17)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otp_server.clock import SLEW, SteadyClock
from otp_server.core import Passcode
from otp_server.domain.challenge import Route
from otp_server.domain.outcome import Confirmed, Issued, Refused
from otp_server.domain.policy import CodePolicy
from otp_server.services.confirm import Attempt, ConfirmService
from otp_server.services.issue import IssueService
from tests.support.world import START_MS, World

S = 1_000_000_000
HOUR = 3600 * S
START = START_MS * 1_000_000
TTL_MS = 300_000


class Times:
    """A wall and a monotonic clock, set by hand, in nanoseconds."""

    def __init__(self) -> None:
        self.wall, self.monotonic = START, 5 * S

    def pass_(self, ns: int) -> None:
        self.wall += ns
        self.monotonic += ns

    def clock(self) -> SteadyClock:
        return SteadyClock(lambda: self.wall, lambda: self.monotonic)


# What happens between two readings: time passes, and somebody sets the wall.
events = st.lists(
    st.tuples(
        st.integers(0, 100 * S),
        st.one_of(st.just(0), st.integers(-2 * HOUR, 2 * HOUR), st.sampled_from([-HOUR, HOUR])),
    ),
    min_size=1,
    max_size=60,
)


@given(events)
def test_never_back_and_within_the_slew_over_any_span(happened: list[tuple[int, int]]) -> None:
    times = Times()
    clock = times.clock()
    readings = [(times.monotonic, clock.now_ms())]
    for elapsed, step in happened:
        times.pass_(elapsed)
        times.wall += step
        readings.append((times.monotonic, clock.now_ms()))
    for n, (then, read_then) in enumerate(readings):
        for now, read_now in readings[n + 1 :]:
            passed_ms = (now - then) / 1e6
            assert read_now >= read_then
            assert abs((read_now - read_then) - passed_ms) <= passed_ms * SLEW + 1


@given(st.lists(st.integers(-10 * S, 10 * S), min_size=1, max_size=30))
def test_a_monotonic_clock_that_went_back_stops_time_at_worst(steps: list[int]) -> None:
    times = Times()
    clock = times.clock()
    last = clock.now_ms()
    for step in steps:
        times.monotonic += step
        now = clock.now_ms()
        assert now >= last
        last = now


def test_follows_a_wall_that_was_put_right() -> None:
    times = Times()
    clock = times.clock()
    times.wall += 2 * S
    for _ in range(400):  # 2 s at 0.5 % are 400 s
        times.pass_(S)
        clock.now_ms()


def test_starts_at_the_wall() -> None:
    assert Times().clock().now_ms() == START_MS


class SteppedWorld:
    """Issue and confirm on the real clock, whose times are set by hand."""

    def __init__(self) -> None:
        self.times = Times()
        world = World()
        self.devices = world.devices
        self.clock = self.times.clock()
        self.issue = IssueService(
            world.store,
            keyring=world.keyring,
            clock=self.clock,
            policy=CodePolicy(6, 10, TTL_MS, 0.1, 500),
            limiter=world.issue._limiter,
            live=world.live,
        )
        self.confirm = ConfirmService(
            world.store, keyring=world.keyring, clock=self.clock, limits=world.limits
        )

    async def issued(self) -> Passcode:
        device, _ = await self.devices.add(None, "")
        [outcome] = await self.issue.issue_many([device.device_id])
        assert isinstance(outcome, Issued)
        return outcome.passcode

    async def confirmed(self, passcode: Passcode) -> bool:
        [outcome] = await self.confirm.confirm_many([Attempt(passcode, Route.V1, "192.0.2.1")])
        assert isinstance(outcome, Confirmed | Refused)
        return isinstance(outcome, Confirmed)

    def run_for(self, seconds: float) -> None:
        """Time passes as in a server, where the clock is read all the time."""
        for _ in range(10):
            self.times.pass_(int(seconds * S / 10))
            self.clock.now_ms()


SKEW_S = TTL_MS / 1000 * SLEW


@pytest.mark.parametrize("step", [-HOUR, HOUR, -24 * HOUR, 24 * HOUR])
async def test_a_wall_step_kills_no_code(step: int) -> None:
    world = SteppedWorld()
    passcode = await world.issued()
    world.run_for(1)
    world.times.wall += step
    world.run_for(TTL_MS / 1000 - 1 - SKEW_S - 0.1)
    assert await world.confirmed(passcode)


@pytest.mark.parametrize("step", [-HOUR, HOUR, -24 * HOUR, 24 * HOUR])
async def test_a_wall_step_revives_no_code(step: int) -> None:
    world = SteppedWorld()
    passcode = await world.issued()
    world.run_for(1)
    world.times.wall += step
    world.run_for(TTL_MS / 1000 - 1 + SKEW_S + 0.1)
    assert not await world.confirmed(passcode)
    world.times.wall -= 2 * step
    assert not await world.confirmed(passcode)
