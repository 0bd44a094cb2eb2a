"""Sliding windows against their definition, with clocks that stand still and step back."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otp_server.core import SlidingWindows
from otp_server.errors import LimiterFull

CONTRACT = [(6, 60_000), (18, 3_600_000), (24, 86_400_000)]


class Oracle:
    """Every stamp of every key is kept, and every window is counted."""

    def __init__(self, windows: list[tuple[int, int]]) -> None:
        self._windows = windows
        self._stamps: dict[str, list[int]] = {}

    def judged_at_ms(self, key: str, now_ms: int) -> int:
        return max([now_ms, *self._stamps.get(key, [])])

    def wait_ms(self, key: str, now_ms: int) -> int:
        stamps = self._stamps.get(key, [])
        leaving = [at_ms + period_ms for at_ms in stamps for _, period_ms in self._windows]
        instants = [now_ms, *(at_ms for at_ms in leaving if at_ms > now_ms)]
        return min(at_ms for at_ms in instants if self._grants(key, at_ms)) - now_ms

    def charge(self, key: str, at_ms: int) -> None:
        self._stamps.setdefault(key, []).append(at_ms)

    def refund(self, key: str, at_ms: int) -> None:
        self._stamps[key].remove(at_ms)

    def _grants(self, key: str, now_ms: int) -> bool:
        end_ms = self.judged_at_ms(key, now_ms)
        return all(
            sum(end_ms - period_ms < at_ms <= end_ms for at_ms in self._stamps.get(key, [])) < limit
            for limit, period_ms in self._windows
        )


pairs = st.lists(st.tuples(st.integers(1, 5), st.integers(1, 100)), min_size=1, max_size=3)
keys = st.sampled_from(["a", "b", "c"])
forward_ms = st.one_of(st.just(0), st.integers(0, 30), st.integers(0, 400))
any_step_ms = st.one_of(forward_ms, st.integers(-150, 0))


@settings(max_examples=300, deadline=None)
@given(pairs, st.lists(st.tuples(keys, any_step_ms, st.booleans()), max_size=60))
def test_answers_follow_the_definition(
    windows: list[tuple[int, int]], acts: list[tuple[str, int, bool]]
) -> None:
    table, oracle, now_ms = SlidingWindows(windows, 3), Oracle(windows), 10_000
    for key, step_ms, asks in acts:
        now_ms += step_ms
        expected = oracle.wait_ms(key, now_ms)
        assert table.wait_ms(key, now_ms) == expected
        if not asks:
            table.record(key, now_ms)
            oracle.charge(key, now_ms)
        else:
            assert table.reserve(key, now_ms) == expected
            if expected == 0:
                oracle.charge(key, oracle.judged_at_ms(key, now_ms))


@settings(max_examples=300, deadline=None)
@given(pairs, st.lists(st.tuples(keys, any_step_ms, st.booleans()), max_size=60))
def test_there_is_room_in_every_window_exactly_where_nobody_waits(
    windows: list[tuple[int, int]], acts: list[tuple[str, int, bool]]
) -> None:
    """So it is enough to ask for the wait, which costs less."""
    table, now_ms = SlidingWindows(windows, 3), 10_000
    for key, step_ms, records in acts:
        now_ms += step_ms
        if records:
            table.record(key, now_ms)
        elif not table.reserve(key, now_ms):
            table.refund(key, now_ms)
        room = [remaining for remaining, _ in table.room(key, now_ms)]
        assert (table.wait_ms(key, now_ms) == 0) is all(room)


@settings(max_examples=300, deadline=None)
@given(pairs, st.lists(st.tuples(keys, forward_ms, st.booleans()), max_size=60))
def test_refunds_follow_the_definition(
    windows: list[tuple[int, int]], acts: list[tuple[str, int, bool]]
) -> None:
    table, oracle, now_ms = SlidingWindows(windows, 3), Oracle(windows), 0
    newest: list[tuple[str, int]] = []
    for key, step_ms, gives_back in acts:
        now_ms += step_ms
        if gives_back and newest:
            # A charge that has been forgotten is in no window: both go on agreeing.
            if table.refund(*newest[-1]):
                oracle.refund(*newest[-1])
            newest.pop()
        expected = oracle.wait_ms(key, now_ms)
        assert table.reserve(key, now_ms) == expected
        if expected == 0:
            oracle.charge(key, now_ms)
            newest.append((key, now_ms))


def test_the_three_windows_of_the_contract() -> None:
    table = SlidingWindows(CONTRACT, 10)
    granted = [second for second in range(90_000) if table.reserve("one", second * 1000) == 0]
    assert granted[:7] == [0, 1, 2, 3, 4, 5, 60]
    assert granted[17:19] == [125, 3600]
    assert granted[23:25] == [3605, 86_400]


def test_a_journal_read_back_gives_the_same_answers() -> None:
    table = SlidingWindows(CONTRACT, 10)
    asked = range(0, 4_000_000, 7000)
    journal = [at_ms for at_ms in asked if table.reserve("one", at_ms) == 0]
    again = SlidingWindows(CONTRACT, 10)
    for at_ms in journal:
        again.record("one", at_ms)
    for second in range(4000, 90_000, 501):
        assert again.wait_ms("one", second * 1000) == table.wait_ms("one", second * 1000)


def test_time_that_steps_back_grants_nothing_extra_and_can_be_refunded() -> None:
    table = SlidingWindows([(2, 1000)], 10)
    assert table.reserve("key", 5000) == 0
    assert table.reserve("key", 100) == 0
    assert table.reserve("key", 100) == 5900
    assert table.refund("key", 100)
    assert table.wait_ms("key", 5000) == 0


def test_a_full_table_refuses_rather_than_forgets() -> None:
    table = SlidingWindows([(1, 1000)], 2)
    assert [table.reserve(key, 0) for key in "ab"] == [0, 0]
    for charge in (table.reserve, table.record):
        with pytest.raises(LimiterFull):
            charge("c", 999)
    assert table.wait_ms("c", 999) == 0
    assert table.reserve("a", 999) == 1
    assert table.reserve("c", 1000) == 0
    assert len(table) == 1, "both expired keys went at once"


def test_a_refund_without_a_charge_says_so() -> None:
    table = SlidingWindows([(1, 1000)], 2)
    assert not table.refund("key", 0)
    table.reserve("key", 5)
    assert not table.refund("key", 6)
    assert table.refund("key", 5)
    assert len(table) == 0


@pytest.mark.parametrize(
    ("windows", "keys_max"),
    [
        ([], 1),
        ([(0, 1)], 1),
        ([(1, 0)], 1),
        ([(1, 1), (-1, 1)], 1),
        ([(1, -(2**70))], 1),
        ([(1, 1)], 0),
        ([(1, 1)], -(2**70)),
    ],
)
def test_senseless_limits_are_refused(windows: list[tuple[int, int]], keys_max: int) -> None:
    with pytest.raises(ValueError, match="at least"):
        SlidingWindows(windows, keys_max)


def test_keys_are_not_shown() -> None:
    table = SlidingWindows([(1, 1000)], 2)
    table.reserve("person@example.org", 0)
    assert repr(table) == "<SlidingWindows keys=1>"
