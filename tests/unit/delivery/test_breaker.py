"""The circuit breaker on virtual time (requirement 79)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otp_server.delivery.breaker import BreakerOptions, CircuitBreaker, is_fault
from otp_server.services.ports.delivery import NotSent, SendOutcome, SendProblem, Sent, Uncertain

DOWN = NotSent(SendProblem.UNREACHABLE, 0)
EXPIRED = NotSent(SendProblem.EXPIRED)


class Stage:
    """A breaker and the time it sees."""

    def __init__(self, faults: int = 3) -> None:
        self.now = 100.0
        options = BreakerOptions(faults=faults, open_s=10, open_max_s=35)
        self.breaker = CircuitBreaker(options, now=lambda: self.now)

    def seen(self) -> tuple[float | None, float, int]:
        return self.breaker.down_since, self.breaker.wait_s, self.breaker.room

    def try_once(self, outcome: SendOutcome | None) -> None:
        assert self.breaker.room
        self.breaker.begin()
        self.breaker.end(outcome)


def opened() -> Stage:
    stage = Stage()
    for _ in range(3):
        stage.try_once(DOWN)
    return stage


def test_faults_in_a_row_open_it() -> None:
    stage = Stage()
    stage.try_once(DOWN)
    stage.try_once(DOWN)
    stage.try_once(Sent())
    stage.try_once(DOWN)
    stage.try_once(DOWN)
    assert (stage.breaker.wait_s, stage.breaker.down_since) == (0, None)
    stage.try_once(DOWN)
    assert (stage.breaker.wait_s, stage.breaker.down_since) == (10, 100)
    assert stage.breaker.room == 0


def test_half_open_lets_one_probe_at_a_time() -> None:
    stage = opened()
    stage.now += 9.9
    assert stage.breaker.room == 0
    stage.now += 0.1
    assert (stage.breaker.room, stage.breaker.wait_s) == (1, 0)
    stage.breaker.begin()
    assert stage.breaker.room == 0
    assert stage.breaker.down_since == 100
    stage.breaker.end(Sent())
    assert stage.breaker.down_since is None
    assert stage.breaker.room > 1000


def test_each_failed_probe_doubles_the_wait_up_to_its_bound() -> None:
    stage = opened()
    waits = []
    for _ in range(4):
        waits.append(stage.breaker.wait_s)
        stage.now += stage.breaker.wait_s
        stage.try_once(DOWN)
    assert waits == [10, 20, 35, 35]
    assert stage.breaker.down_since == 100
    stage.now += 35
    stage.try_once(Sent())
    for _ in range(3):
        stage.try_once(DOWN)
    assert stage.breaker.wait_s == 10


def test_those_that_were_under_way_when_it_opened_do_not_prolong_it() -> None:
    stage = Stage()
    for _ in range(5):
        stage.breaker.begin()
    for _ in range(5):
        stage.now += 1
        stage.breaker.end(DOWN)
    assert stage.breaker.down_since == 103
    assert stage.breaker.wait_s == 8


def test_a_probe_that_was_cut_off_says_nothing_and_makes_room_for_the_next() -> None:
    stage = opened()
    stage.now += 10
    stage.try_once(None)
    assert (stage.breaker.room, stage.breaker.down_since) == (1, 100)


@given(
    st.lists(
        st.tuples(st.sampled_from([Sent(), DOWN, EXPIRED, None]), st.integers(1, 4)), max_size=9
    ),
    st.lists(st.sampled_from([0, 1, 10, 20]), min_size=9, max_size=9),
)
def test_many_at_once_are_as_one_after_the_other(
    told: list[tuple[SendOutcome | None, int]], waits: list[int]
) -> None:
    at_once, singly = Stage(), Stage()
    for (outcome, count), wait in zip(told, waits, strict=False):
        at_once.now = singly.now = at_once.now + wait
        at_once.breaker.begin(count)
        for _ in range(count):
            singly.breaker.begin()
        assert at_once.seen() == singly.seen()
        at_once.breaker.end(outcome, count)
        for _ in range(count):
            singly.breaker.end(outcome)
        assert at_once.seen() == singly.seen()


@pytest.mark.parametrize(
    ("outcome", "fault"),
    [
        (Sent(), False),
        *((NotSent(problem), False) for problem in ("invalid_recipient", "opted_out")),
        *((NotSent(problem), False) for problem in ("rejected", "rate_limited")),
        *((NotSent(problem), True) for problem in ("auth", "unreachable", "timeout", "unknown")),
        (NotSent(SendProblem.PROVIDER_DOWN), True),
        (Uncertain(SendProblem.TIMEOUT), True),
        (NotSent(SendProblem.EXPIRED), None),
    ],
    ids=repr,
)
def test_only_the_providers_own_faults_count(outcome: SendOutcome, *, fault: bool | None) -> None:
    assert is_fault(outcome) is fault
